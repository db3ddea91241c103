"""Documents: whose they are, what they are called, and what becomes of them."""

import re
import secrets
import time
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from parley.errors import PayloadTooLarge, ValidationFailed

SHARED = "shared"
"""The owner of documents that everyone reads and curators write."""

FORMATS = {
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".html": "text/html",
    ".htm": "text/html",
    ".csv": "text/csv",
    ".json": "application/json",
}
"""File endings that ingestion reads, and the media type each is stored under."""

BINARY_FORMATS = frozenset({".pdf", ".docx"})
"""Those that are no text, and so come as a file only."""

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
"""The largest file: Bedrock's own knowledge bases take as much. How much text may be in it `reading` says."""

MAX_INLINE_BYTES = 200 * 1024
"""The largest text taken in a request's body; more goes straight to the bucket."""

MAX_NAME_LENGTH = 200
"""Characters of a document's name."""

_PREFIX = "documents"
_OWN = "user-"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BIDI_CONTROLS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]+")


class DocumentState(StrEnum):
    """`pending` (no worker has seen it) -> `indexing` -> `ready`, or `failed` with a reason."""

    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the indexing of a version has come: its first `chunks` chunks are stored, embedded and indexed."""

    version: str
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document's record. Times are ISO 8601 in UTC."""

    owner: str
    document_id: str
    name: str
    """The display name, as its owner gave it. Untrusted text."""
    key: str
    """Where its current file stands in the documents bucket."""
    state: DocumentState = DocumentState.PENDING
    version: str | None = None
    """The version whose chunks may be retrieved; None while there is none."""
    claim: str | None = None
    """The version that a worker is indexing, or tried to last."""
    checkpoint: Checkpoint | None = None
    """Where the next worker may go on, when one stopped in the middle."""
    reason: str | None = None
    """Why it failed, in a sentence for its owner."""
    size: int = 0
    """Bytes of its file."""
    chunk_count: int = 0
    created_at: str = ""
    updated_at: str = ""
    deleted: bool = False
    """Its owner deleted it: it is never listed or retrieved again, whatever a store still holds."""

    def holds(self, version: str) -> bool:
        """Are chunks of this version retrieved, or will they be when a worker is done with them?"""
        return not self.deleted and version in (self.version, self.claim)


class Location(NamedTuple):
    """What a key in the documents bucket says: whose document it is a file of."""

    owner: str
    document_id: str
    filename: str


def owner_of(subject: str) -> str:
    """The owner name of a subject's own documents.

    Everything but letters, digits and `_.-~` is percent-encoded, so that no subject can write another's key.
    """
    return f"{_OWN}{quote(subject, safe='')}"


def readable_by(subject: str) -> tuple[str, str]:
    """The owners whose documents a subject may read: its own first, then the shared ones."""
    return owner_of(subject), SHARED


def new_document_id() -> str:
    """A fresh id; ids sort by the time they were made (milliseconds, then 80 random bits)."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_document_id(text: str) -> bool:
    """Could `text` be the id of a document: one made here, or one that an operator gave a file in the bucket?"""
    return _ID.fullmatch(text) is not None


def display_name(name: str) -> str:
    """A document's name as it is shown; see `clean_name`. Raises ValidationFailed also when its format is unknown."""
    text = clean_name(name)
    if extension(text) not in FORMATS:
        raise ValidationFailed(f"`name` ends in one of {', '.join(FORMATS)}; other formats are not supported.")
    return text


def clean_name(name: str) -> str:
    """A file's name as it is shown: without folders, control characters and text-direction overrides.

    Raises ValidationFailed when nothing is left, or it is too long.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    text = _BIDI_CONTROLS.sub("", text)
    text = "".join(" " if _is_unprintable(character) else character for character in text)
    text = " ".join(text.split())
    if not text.strip(". "):
        raise ValidationFailed("`name` is a file's name, such as `handbook.md`.")
    if len(text) > MAX_NAME_LENGTH:
        raise ValidationFailed(f"`name` has at most {MAX_NAME_LENGTH} characters.")
    return text


def check_takes_text(name: str) -> None:
    """Raises ValidationFailed when a document called `name` cannot be written as text in a request."""
    if extension(name) in BINARY_FORMATS:
        raise ValidationFailed(f"A {extension(name)} document is no text: send its `size` and upload the file.")


def check_size(size: int, limit: int = MAX_DOCUMENT_BYTES) -> None:
    """Raises ValidationFailed for an empty document and PayloadTooLarge for one above `limit` bytes."""
    if size < 1:
        raise ValidationFailed("The document is empty.")
    if size > limit:
        raise PayloadTooLarge(f"The document has {size:,} bytes; at most {limit:,} are taken here.")


def extension(name: str) -> str:
    """A file name's ending in lower case, with its dot; empty where it has none."""
    return PurePosixPath(name).suffix.lower()


def document_prefix(owner: str, document_id: str) -> str:
    """The folder of one document's files in the bucket."""
    return f"{_PREFIX}/{owner}/{document_id}/"


def document_key(owner: str, document_id: str, name: str) -> str:
    """The bucket key of a document's file: its name in plain ASCII; the record keeps the display name."""
    stem, ending = PurePosixPath(name).stem, extension(name)
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    safe_stem = _NOT_IN_KEYS.sub("-", ascii_stem).strip("-.")[:80] or "document"
    return f"{document_prefix(owner, document_id)}{safe_stem}{ending}"


def parse_key(key: str) -> Location | None:
    """Whose document a bucket key is a file of; None when it is no document's."""
    match key.split("/"):
        case [prefix, owner, document_id, filename] if prefix == _PREFIX and is_document_id(document_id) and filename:
            if owner == SHARED or owner.startswith(_OWN):
                return Location(owner, document_id, filename)
    return None


def _is_unprintable(character: str) -> bool:
    """Controls and separators, except zero-width (non-)joiners: some scripts cannot be spelt without these."""
    return unicodedata.category(character)[0] in "CZ" and character not in "\u200c\u200d"
