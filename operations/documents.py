"""Files into the knowledge base: each becomes one document, however often it is sent and wherever that stops.

Before a file is sent, the memory holds the id that its document will have, and the API makes no second document of one
id. So a run that was killed is made good by the next one, which compares the memory with the documents that the API
lists and sends what is not known to have arrived.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from parley.knowledge.documents import (
    BINARY_FORMATS,
    FORMATS,
    MAX_DOCUMENT_BYTES,
    MAX_INLINE_BYTES,
    extension,
    new_document_id,
)

from operations.api import Api, Refused
from operations.environment import OperationError
from operations.memory import Memory

CONCURRENCY = 4
"""Files sent at once."""

PATIENCE = 600.0
"""Seconds to wait for the next document to be indexed."""

_PATH = "/knowledge/documents"
_FIRST_LOOK, _LONGEST_BETWEEN_LOOKS = 0.3, 3.0
_IDS = 3


class Outcome(StrEnum):
    """What became of a file. `sent` means: it is indexed without anybody waiting for it."""

    INDEXED = "indexed"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    SENT = "sent"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """One file's end: `reason` says why it was skipped or failed."""

    path: Path
    outcome: Outcome
    reason: str | None = None
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What stands under the paths that were given."""

    files: Sequence[Path]
    """To be sent, by their absolute paths."""
    others: Sequence[Result]
    """Not to be sent."""


def find(paths: Iterable[Path]) -> Found:
    """The files under `paths`, each once. Folders are searched, links to folders are not followed.

    In folders, hidden files and unknown formats are skipped; a file that was named by itself fails then.
    Raises OperationError for a path where nothing is.
    """
    files: dict[Path, None] = {}
    others: dict[Path, Result] = {}
    for given in paths:
        # A file that is a link is not resolved: it keeps its document when it points elsewhere.
        path = given.resolve() if given.is_dir() else given.parent.resolve() / given.name
        if path.is_dir():
            for inner in _walk(path):
                if reason := _unwanted(inner):
                    others[inner] = Result(inner, Outcome.SKIPPED, reason)
                else:
                    files[inner] = None
        elif not path.exists():
            raise OperationError(f"There is no file or folder {given}.")
        elif extension(path.name) in FORMATS:
            files[path] = None
        else:
            others[path] = Result(path, Outcome.FAILED, _format_reason(path))
    return Found(list(files), [other for path, other in others.items() if path not in files])


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, and the hidden folders, which are not searched."""
    for parent, folders, files in os.walk(folder):
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(set(folders).difference(hidden))
        yield from (Path(parent, name) for name in sorted(files + hidden))


def _unwanted(path: Path) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if not path.is_file():
        return "not a file"
    return None if extension(path.name) in FORMATS else _format_reason(path)


def _format_reason(path: Path) -> str:
    ending = extension(path.name)
    return f"the format {ending} is not supported" if ending else "a name without an ending says no format"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A document whose indexing is awaited."""

    path: Path
    outcome: Outcome


class Ingest:
    """One run. `results` grows while it works, so that whoever interrupts it knows what was done."""

    def __init__(
        self,
        api: Api,
        memory: Memory,
        *,
        shared: bool,
        wait: bool = True,
        concurrency: int = CONCURRENCY,
        patience: float = PATIENCE,
        report: Callable[[Result | None], None] = lambda result: None,
    ) -> None:
        """A run for the caller's own documents, or for the `shared` ones.

        `report` is told every result as it comes, and None now and then while there is none.
        """
        self.results: dict[Path, Result] = {}
        self._api = api
        self._memory = memory
        self._shared = shared
        self._wait = wait
        self._concurrency = concurrency
        self._patience = patience
        self._report = report
        self._known: dict[str, Mapping[str, Any]] = {}
        self._waiting: dict[str, _Sent] = {}
        self._sending = True

    @property
    def waiting(self) -> int:
        """How many documents were sent and are not indexed yet."""
        return len(self._waiting)

    async def run(self, files: Sequence[Path]) -> None:
        """Send the files, and wait until each document is ready or has failed. Raises OperationError."""
        self._known = {document["document_id"]: document async for document in self._api.documents()}
        queue = iter(files)
        try:
            async with asyncio.TaskGroup() as group:
                senders = [group.create_task(self._send_all(queue)) for _ in range(self._concurrency)]
                follower = group.create_task(self._follow())
                await asyncio.wait(senders)
                self._sending = False
                await follower
        except* OperationError as errors:
            raise _first(errors) from None

    async def delete(self, path: Path) -> None:
        """Delete the document that a file became, after a run. Raises OperationError."""
        for entry in self._memory.entries(path):
            if not self._is_ours(entry.document_id):
                continue
            try:
                await self._api.call("DELETE", f"{_PATH}/{entry.document_id}")
            except Refused as error:
                if error.code != "not_found":
                    raise OperationError(error.message) from error
            self._memory.forget(path, entry.document_id)

    async def _send_all(self, queue: Iterator[Path]) -> None:
        for path in queue:
            try:
                content = await asyncio.to_thread(_read, path)
                if content:
                    await self._send(path, content)
                else:
                    self._end(Result(path, Outcome.SKIPPED, "empty"))
            except OSError as error:
                self._end(Result(path, Outcome.FAILED, f"It cannot be read: {error.strerror or error}."))
            except Refused as error:
                if error.code == "forbidden":
                    raise OperationError(error.message) from error
                self._end(Result(path, Outcome.FAILED, error.message))

    async def _send(self, path: Path, content: bytes) -> None:
        """Make the document of a file hold this content, unless it does."""
        digest = hashlib.sha256(content).hexdigest()
        entries = self._memory.entries(path)
        listed = next((entry for entry in entries if self._is_ours(entry.document_id)), None)
        if listed is not None and listed.sha256 == digest:
            document = self._known[listed.document_id]
            if document["state"] == "ready":
                self._end(Result(path, Outcome.UNCHANGED, document_id=listed.document_id))
                return
            if document["state"] != "failed":
                self._await_indexing(listed.document_id, _Sent(path, Outcome.INDEXED))
                return
        replaced = listed is not None and listed.sha256 not in (None, digest)
        # One that was about to be sent and is not listed never arrived, or arrives just now: the same id again.
        planned = next((e for e in entries if e.sha256 is None and e.document_id not in self._known), None)
        entry = listed or planned
        document_id = await self._deliver(
            path, content, document_id=entry.document_id if entry else new_document_id(), exists=listed is not None
        )
        self._memory.arrived(path, document_id, digest)
        self._await_indexing(document_id, _Sent(path, Outcome.REPLACED if replaced else Outcome.INDEXED))

    async def _deliver(self, path: Path, content: bytes, *, document_id: str, exists: bool) -> str:
        """Add or replace the document; returns its id, which is another one if it was deleted."""
        body = {"name": path.name, **_inline_or_size(path, content)}
        for _ in range(_IDS):
            self._memory.sending(path, document_id)
            try:
                if exists:
                    document = await self._api.call("PUT", f"{_PATH}/{document_id}", json=body)
                else:
                    new = {**body, "shared": self._shared, "document_id": document_id}
                    document = await self._api.call("POST", _PATH, json=new)
            except Refused as error:
                if error.code == "conflict" and not exists:
                    exists = True
                elif error.code == "not_found":
                    self._memory.forget(path, document_id)
                    document_id, exists = new_document_id(), False
                else:
                    raise
                continue
            self._known[document_id] = document
            if document.get("upload"):
                await self._api.upload(document["upload"], path.name, content)
            return document_id
        raise Refused("conflict", "Somebody else adds and deletes this document at the same time.")

    def _is_ours(self, document_id: str) -> bool:
        document = self._known.get(document_id)
        return document is not None and document["shared"] == self._shared

    def _await_indexing(self, document_id: str, sent: _Sent) -> None:
        if self._wait:
            self._waiting[document_id] = sent
            self._report(None)
        else:
            self._end(Result(sent.path, Outcome.SENT, document_id=document_id))

    async def _follow(self) -> None:
        """Look at what was sent until all of it is ready or failed, or nothing more happens."""
        pause, idle_since = _FIRST_LOOK, _now()
        while self._sending or self._waiting:
            await asyncio.sleep(pause)
            ended = await self._look() if self._waiting else 0
            if ended or self._sending:
                pause, idle_since = _FIRST_LOOK, _now()
            else:
                pause = min(pause * 1.5, _LONGEST_BETWEEN_LOOKS)
            if _now() - idle_since > self._patience:
                for document_id in list(self._waiting):
                    self._settle(document_id, Outcome.FAILED, f"It was not indexed within {self._patience:.0f} s.")
            self._report(None)

    async def _look(self) -> int:
        """Settle what is ready or failed; returns how many."""
        missing = set(self._waiting)
        before = len(missing)
        async for document in self._api.documents():
            if document["document_id"] in missing:
                missing.discard(document["document_id"])
                self._see(document)
            if not missing:
                break
        for document_id in missing:
            try:
                self._see(await self._api.call("GET", f"{_PATH}/{document_id}"))
            except Refused as error:
                self._settle(document_id, Outcome.FAILED, error.message)
        return before - len(self._waiting)

    def _see(self, document: Mapping[str, Any]) -> None:
        document_id = document["document_id"]
        if document["state"] == "ready":
            self._settle(document_id)
        elif document["state"] == "failed":
            self._settle(document_id, Outcome.FAILED, document["reason"] or "It failed for no known reason.")

    def _settle(self, document_id: str, outcome: Outcome | None = None, reason: str | None = None) -> None:
        sent = self._waiting.pop(document_id)
        self._end(Result(sent.path, outcome or sent.outcome, reason, document_id))

    def _end(self, result: Result) -> None:
        self.results[result.path] = result
        self._report(result)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _read(path: Path) -> bytes:
    """A file's content. Raises OSError, and Refused for a file that is too large."""
    size = path.stat().st_size
    if size > MAX_DOCUMENT_BYTES:
        raise Refused("payload_too_large", f"It has {size:,} bytes; at most {MAX_DOCUMENT_BYTES:,} are taken.")
    return path.read_bytes()


def _inline_or_size(path: Path, content: bytes) -> dict[str, str | int]:
    """A small text itself, or the size of what will be uploaded."""
    if len(content) <= MAX_INLINE_BYTES and extension(path.name) not in BINARY_FORMATS:
        try:
            return {"text": content.decode()}
        except UnicodeDecodeError:
            # UTF-16, or a page that declares its encoding: for the reader to see.
            pass
    return {"size": len(content)}


def _first(errors: BaseExceptionGroup[OperationError]) -> OperationError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
