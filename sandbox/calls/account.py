"""MiniStack, with credentials of its own for every function, and recorded when the environment asks for it."""

import gc
import os
import resource
from typing import Literal

import uvicorn

from sandbox.calls import VARIABLE, access_key
from sandbox.calls.recorder import recorded
from sandbox.packages import ZIPFILE

KEEP_ALIVE_SECONDS = 75
"""As MiniStack's own server: longer than SDKs keep a connection that they do not use."""


def _credentials(configuration: dict[str, str]) -> dict[str, str]:
    """What a function of this account signs with: a session of its role, as on AWS.

    MiniStack checks the signatures of links, by the sessions that it knows; those of requests only when told to.
    """
    from ministack.services import sts

    name, role = configuration["FunctionName"], configuration["Role"].rpartition("/")[2]
    key, account = access_key(name), configuration["FunctionArn"].split(":")[4]
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
        "UserId": f"{role}:{name}",
        "SecretAccessKey": "sandbox",
        "SessionToken": "sandbox",
    }
    sts.register_session(key, session)
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def serve() -> None:
    """Serve until SIGINT or SIGTERM; MiniStack's own settings are in the environment."""
    from ministack import app
    from ministack.core import lambda_runtime

    app.app = recorded(app.app)
    # Functions are processes with this one's environment and folder. On AWS they know nothing of a recording, and they
    # must not find this project's own packages.
    os.environ.pop(VARIABLE, None)
    os.chdir(os.environ["TMPDIR"])
    # Its own gives every function of an account the same ones, unless it also checks all signatures and policies.
    lambda_runtime.execution_credentials = _credentials
    lambda_runtime.zipfile = ZIPFILE
    _raise_file_limit()
    gc.callbacks.append(_keep)
    # Not by its own server, which takes twice as long for a request: twenty calls make hundreds a second.
    uvicorn.run(
        app.app,
        host=os.environ["BIND_HOST"],
        port=int(os.environ["GATEWAY_PORT"]),
        log_level="warning",
        server_header=False,
        # It writes the header itself.
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )


def _keep(phase: Literal["start", "stop"], collection: dict[str, int]) -> None:
    """Called around each collection of garbage: what has outlived a full one is not looked at again.

    Nearly all of it is items of tables. A full collection would walk all of them, and answer nobody meanwhile: 0.3 s
    after an hour and a half of speech.
    """
    if phase == "stop" and collection["generation"] == 2:
        gc.freeze()


def _raise_file_limit() -> None:
    """Bursts of connections do not end at the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
