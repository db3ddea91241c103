"""The project's own documentation as the assistant's first knowledge."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sandbox.client import Client
from sandbox.state import PROJECT, SandboxError, State, read_json, write_json

INDEXING_PATIENCE = 90.0
UPLOADS = 3


def ingest(state: State, client: Client, deployment: str, report: Callable[[str], None]) -> int:
    """Make `docs/` the shared documents: new ones added, changed ones replaced, removed ones deleted.

    Returns how many changed, all of them indexed. What was ingested is remembered for this `deployment` only.
    """
    remembered = read_json(state.documents_file)
    known: dict[str, dict[str, str]] = remembered.get("documents", {})
    if remembered.get("deployment") != deployment:
        known = {}
    wanted = {path.relative_to(PROJECT / "docs").as_posix(): path for path in sorted((PROJECT / "docs").rglob("*.md"))}
    texts = {name: text for name, path in wanted.items() if (text := path.read_text()).strip()}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    current = {name: known[name] for name in texts if known.get(name, {}).get("sha256") == digests[name]}
    changed = sorted(texts.keys() - current.keys())

    def upload(name: str) -> dict[str, str]:
        if name in known:
            client.call("DELETE", f"/knowledge/documents/{known[name]['id']}")
        body = {"name": name, "text": texts[name], "shared": True}
        document = client.call("POST", "/knowledge/documents", json=body)
        report(f"uploaded {name}")
        return {"id": document["document_id"], "sha256": digests[name]}

    with ThreadPoolExecutor(max_workers=UPLOADS) as pool:
        current |= dict(zip(changed, pool.map(upload, changed), strict=True))
    for name in known.keys() - wanted.keys():
        client.call("DELETE", f"/knowledge/documents/{known[name]['id']}")
    _wait(client, {current[name]["id"]: name for name in changed}, report)
    write_json(state.documents_file, {"deployment": deployment, "documents": current})
    return len(changed)


def _wait(client: Client, waiting: dict[str, str], report: Callable[[str], None]) -> None:
    total, deadline = len(waiting), time.monotonic() + INDEXING_PATIENCE
    while waiting:
        for document in _all(client):
            name = waiting.get(document["document_id"])
            if name and document["state"] == "failed":
                raise SandboxError(f"docs/{name} could not be indexed: {document.get('reason', 'no reason given')}.")
            if name and document["state"] == "ready":
                del waiting[document["document_id"]]
        report(f"indexing: {total - len(waiting)} of {total} documents ready")
        if waiting and time.monotonic() > deadline:
            names = ", ".join(sorted(waiting.values()))
            raise SandboxError(f"Not indexed within {INDEXING_PATIENCE:.0f} s: {names}.")
        if waiting:
            time.sleep(0.3)


def _all(client: Client) -> list[dict[str, Any]]:
    """Every shared document; the list comes in pages when it is long."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = client.call("GET", "/knowledge/documents", params={"cursor": cursor} if cursor else {})
        found.extend(page["documents"])
        cursor = page.get("cursor")
        if not cursor:
            return found
