"""What the knowledge path needs from the world; `parley.aws` implements it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from parley.knowledge.chunks import Chunk, ChunkId, Hit, IndexedChunk
from parley.knowledge.documents import Document
from parley.knowledge.filters import NO_FILTER, Filter
from parley.knowledge.sources import FileLinks


class Embedder(Protocol):
    """Turns text into unit vectors whose inner product is their similarity."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order. Raises KnowledgeUnavailable when the model throttles or fails for good."""


class VectorIndex(Protocol):
    """Finds chunks by meaning. Writes are idempotent."""

    def prepare(self) -> None:
        """Get ready for searches, which then see every write that came before. Raises StoreUnavailable.

        Called before each search, at the same time as the query is embedded.
        """

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """Add chunks; one whose id is known already replaces it. Raises StoreUnavailable."""

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """Remove chunks; unknown ids are ignored. Raises StoreUnavailable."""

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """The best chunks of these owners that pass the filter, best first, each id once. Raises StoreUnavailable.

        With the question's `text` beside its vector a store that can also ranks by the words they share, and fuses
        both rankings: the order is then not the order of the scores. Without it the nearest come first.
        """


class KnowledgeStore(Protocol):
    """Keeps documents' records and the text of their chunks. Every method raises StoreUnavailable."""

    def document(self, owner: str, document_id: str) -> Document | None:
        """One record as it stands now, a deleted one among them."""

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        """The records of these (owner, document id) pairs as they stand now; unknown ones are left out."""

    def list_documents(self, owner: str, *, limit: int, before: str | None) -> list[Document]:
        """An owner's records that are not deleted, newest first, at most `limit`, those older than the id `before`."""

    def put_new(self, document: Document, *, unless_used_within_seconds: int | None = None) -> Document:
        """Store a record unless there is one, and return what is stored.

        With `unless_used_within_seconds` it vanishes after that time unless a worker claims it.
        """

    def replace(self, document: Document, *, keep_version: bool, barred: str | None = None) -> Document | None:
        """Give a record a new name, key and size, and make it pending; None if it is gone or deleted.

        Without `keep_version` its chunks are not retrieved from now on, and the version `barred` cannot be claimed.
        """

    def mark_deleted(self, owner: str, document_id: str) -> Document | None:
        """Mark a record as deleted; its chunks are not retrieved from now on. None if it is gone already."""

    def claim(self, document: Document, version: str, size: int) -> Document | None:
        """Begin to index `version`: its chunks and every older one's are hidden until `finish`.

        None if the document is gone, or that version is barred, or retrieved already. Keeps the checkpoint of
        `version`, and no other version's.
        """

    def checkpoint(self, document: Document, version: str, chunks: int) -> None:
        """Note that the first `chunks` chunks of `version` are done.

        Raises Superseded when another claim came between.
        """

    def finish(self, document: Document, version: str, chunk_count: int) -> None:
        """Make `version` the one that is retrieved. Raises Superseded when another claim came between."""

    def fail(self, document: Document, version: str, reason: str) -> None:
        """Record why `version` was not indexed; does nothing when another claim came between."""

    def put_chunks(self, document: Document, version: str, chunks: Sequence[Chunk]) -> None:
        """Store the text of a version's chunks; repeating it changes nothing."""

    def chunk_ids(self, owner: str, document_id: str) -> list[ChunkId]:
        """Every stored chunk of a document, of whatever version."""

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """The chunks with these ids; unknown ones are left out."""

    def read(
        self, documents: Iterable[tuple[str, str]], chunks: Sequence[ChunkId]
    ) -> tuple[dict[tuple[str, str], Document], dict[ChunkId, Chunk]]:
        """What `documents` and `chunks` give for these keys and ids, in one call where the store can."""

    def delete_chunks(self, ids: Sequence[ChunkId]) -> None:
        """Delete the text of chunks."""


class ChunkEmbeddings(Protocol):
    """Knows which stored chunks say something else than their embeddings were made from. Raises StoreUnavailable."""

    def stale_chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """The chunks among these whose text is not the one that was embedded, as they stand now."""

    def mark_embedded(self, id_: ChunkId, chunk: Chunk) -> None:
        """Record that a chunk's embedding is made from this text; does nothing if it says something else by now."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the documents bucket as it stands now."""

    version: str
    """Differs whenever the content does."""
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with which a browser or curl posts one file to `url`, every field before the field `file`."""

    url: str
    fields: Mapping[str, str]
    expires_in: int
    """Seconds."""


class DocumentsStore(FileLinks, Protocol):
    """Keeps documents' files. Every method raises StoreUnavailable."""

    def describe(self, key: str) -> StoredFile | None:
        """The current file under `key`, if there is one."""

    def read(self, key: str, *, max_bytes: int) -> tuple[StoredFile, bytes] | None:
        """The current file under `key` with its content, if there is one; without it when that is above `max_bytes`."""

    def write(self, key: str, content: bytes, media_type: str) -> None:
        """Put a file under `key`."""

    def upload_form(self, key: str, *, max_bytes: int, media_type: str) -> Upload:
        """A form that may post one file of 1..`max_bytes` bytes to `key`, and nothing else."""

    def delete_folder(self, prefix: str, *, keep: str | None = None) -> None:
        """Delete the files under `prefix`, except `keep`."""
