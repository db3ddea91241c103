"""Stored chunks on their way into a vector index again, while their documents come, change and go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import Document
from parley.knowledge.filters import filterable
from parley.knowledge.ports import Embedder, VectorIndex


@dataclass(frozen=True, slots=True)
class ChunkPage:
    """Some stored chunks, of whatever version, and where the next ones begin: None after the last."""

    chunks: Mapping[ChunkId, Chunk]
    end: Mapping[str, str] | None


class StoredChunks(Protocol):
    """All chunks of the knowledge table. Raises StoreUnavailable."""

    def page(self, after: Mapping[str, str] | None, *, limit: int) -> ChunkPage:
        """The next chunks of all, at most `limit`: every one that was stored before the first page was asked for."""

    def count_current(self) -> int:
        """How many chunks the versions have that can be retrieved now."""

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        """See KnowledgeStore."""

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore; never from a cache."""


@dataclass(frozen=True, slots=True)
class Copying:
    """Embeds stored chunks and adds them to an index."""

    stored: StoredChunks
    embedder: Embedder

    def add(self, index: VectorIndex, found: Mapping[ChunkId, Chunk]) -> int:
        """Add those of these chunks that are retrieved, or will be, as they stand when all is done; how many.

        Repeating it does no harm. Raises KnowledgeUnavailable and StoreUnavailable.
        """
        waiting = self.living(found)
        count = len(waiting)
        while waiting:
            vectors = self.embedder.embed([chunk.embedded_text() for chunk in waiting.values()])
            index.add(
                [
                    IndexedChunk(id_, vector, chunk.embedded_text(), filterable(chunk.metadata))
                    for (id_, chunk), vector in zip(waiting.items(), vectors, strict=True)
                ]
            )
            # A document that was replaced or deleted meanwhile was removed from the index before this came.
            living = self.living(waiting)
            if gone := [id_ for id_ in waiting if id_ not in living]:
                index.remove(gone)
            stored = self.stored.chunks(list(living))
            waiting = {id_: stored[id_] for id_, chunk in living.items() if stored.get(id_, chunk) != chunk}
        return count

    def living(self, chunks: Mapping[ChunkId, Chunk]) -> dict[ChunkId, Chunk]:
        """Those of these chunks that are retrieved, or will be when a worker is done with them."""
        documents = self.stored.documents({(id_.owner, id_.document_id) for id_ in chunks})
        return {
            id_: chunk
            for id_, chunk in chunks.items()
            if (document := documents.get((id_.owner, id_.document_id))) is not None and document.holds(id_.version)
        }
