"""What this machine remembers of the documents it has sent: which file became which document."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.environment import OperationError

FILE = "documents.sqlite3"
"""The memory's name in an environment's folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that a file became, or is about to become."""

    document_id: str
    sha256: str | None
    """Of the content that arrived last as a whole; None while there is none, or another one is on its way."""


class Memory:
    """A table of paths and documents, each change of it on the disk before the next request is sent.

    It may hold several documents of one path: another user's, or a shared one beside one's own. Whose they are, the
    API says, by listing them or not. Every method raises OperationError.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file = file
        self._connection = connection
        self._execute(
            "CREATE TABLE IF NOT EXISTS documents"
            "(path TEXT, document_id TEXT, sha256 TEXT, PRIMARY KEY (path, document_id))"
        )

    @classmethod
    @contextmanager
    def open(cls, file: Path) -> Iterator["Memory"]:
        """The memory in `file`, made if there is none, for this process alone. Raises OperationError."""
        with ExitStack() as stack:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_only_one(file))
                connection = stack.enter_context(closing(sqlite3.connect(file, autocommit=True)))
            except (OSError, sqlite3.Error) as error:
                raise _unusable(file, error) from error
            yield cls(file, connection)

    def entries(self, path: Path) -> list[Entry]:
        """The documents of a path."""
        rows = self._execute("SELECT document_id, sha256 FROM documents WHERE path = ?", str(path))
        return [Entry(*row) for row in rows]

    def sending(self, path: Path, document_id: str) -> None:
        """A content is about to be sent: until it has arrived, nobody knows what the document holds."""
        self._write(path, document_id, None)

    def arrived(self, path: Path, document_id: str, sha256: str) -> None:
        """The content with this digest has arrived as a whole."""
        self._write(path, document_id, sha256)

    def forget(self, path: Path, document_id: str) -> None:
        """The document is gone."""
        self._execute("DELETE FROM documents WHERE path = ? AND document_id = ?", str(path), document_id)

    def paths(self) -> list[Path]:
        """Every path that has a document."""
        return [Path(row[0]) for row in self._execute("SELECT DISTINCT path FROM documents ORDER BY path")]

    def _write(self, path: Path, document_id: str, sha256: str | None) -> None:
        self._execute("REPLACE INTO documents VALUES (?, ?, ?)", str(path), document_id, sha256)

    def _execute(self, statement: str, *values: str | None) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _unusable(self._file, error) from error


def _unusable(file: Path, error: Exception) -> OperationError:
    return OperationError(f"{file}, which remembers what was sent, cannot be used: {error}")


@contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Hold the memory's lock, which ends with the process: two runs at once would send each file twice."""
    descriptor = os.open(file.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperationError("Another ingest is sending to this environment: wait until it is done.") from None
        yield
    finally:
        os.close(descriptor)
