"""The project's own documentation as the assistant's first knowledge."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from sandbox.client import Client
from sandbox.state import PROJECT, SandboxError, State, read_json, write_json

INDEXING_PATIENCE = 60.0


def ingest(state: State, client: Client, deployment: str, report: Callable[[str], None]) -> int:
    """Make `docs/` the shared documents: new ones added, changed ones replaced, removed ones deleted.

    Returns how many changed, all of them indexed. What was ingested is remembered for this `deployment` only.
    """
    remembered = read_json(state.documents_file)
    known: dict[str, dict[str, str]] = remembered.get("documents", {})
    if remembered.get("deployment") != deployment:
        known = {}
    wanted = {path.relative_to(PROJECT / "docs").as_posix(): path for path in sorted((PROJECT / "docs").rglob("*.md"))}
    current: dict[str, dict[str, str]] = {}
    changed: list[str] = []
    for name, path in wanted.items():
        text = path.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        before = known.get(name)
        if before and before["sha256"] == digest:
            current[name] = before
            continue
        if not text.strip():
            continue
        report(f"uploading {name}")
        if before:
            client.call("DELETE", f"/knowledge/documents/{before['id']}")
        document = client.call("POST", "/knowledge/documents", json={"name": name, "text": text, "shared": True})
        current[name] = {"id": document["document_id"], "sha256": digest}
        changed.append(name)
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
