"""The certificate of the servers that speak TLS on loopback, and the authority that vouches for it."""

import os
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: what clients trust, and the server's own chain with its key."""

    authority: Path
    server: Path


def certificate(folder: Path) -> Certificate:
    """The folder's certificate for 127.0.0.1 and localhost, made when there is none.

    A server that comes back keeps it: its clients go on trusting it.
    """
    found = Certificate(folder / "authority.pem", folder / "server.pem")
    if not (found.authority.exists() and found.server.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA(organization_name="Parley sandbox")
        issued = authority.issue_cert("127.0.0.1", "localhost")
        with open(os.open(found.server, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(issued.private_key_and_cert_chain_pem.bytes())
        authority.cert_pem.write_to_path(str(found.authority))
    return found
