"""Re-embedding: a stored chunk whose text was changed outside ingestion gets a new vector.

A change only says where to look, as in ingestion. What decides is the chunk as it stands now: it carries the digest of
the text that its vector was made from. Whatever wrote both, ingestion or an earlier run of this, has nothing left to
do here; and whatever changed the text alone, a person or a script, leaves the old digest behind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from parley.errors import KnowledgeUnavailable
from parley.knowledge.chunks import ChunkId, IndexedChunk
from parley.knowledge.filters import filterable
from parley.knowledge.ports import ChunkEmbeddings, Embedder, KnowledgeStore, VectorIndex


class Records(KnowledgeStore, ChunkEmbeddings, Protocol):
    """What re-embedding needs of the store."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What became of some changed chunks; those that needed nothing are in neither."""

    renewed: Sequence[ChunkId]
    failures: dict[ChunkId, Exception]


@dataclass(frozen=True, slots=True)
class Reembedding:
    """Embeds changed chunks again and replaces their entries in the vector index."""

    records: Records
    embedder: Embedder
    index: VectorIndex

    def renew(self, changed: Iterable[ChunkId]) -> Renewal:
        """Bring the index up to date with these chunks. What cannot be embedded is among the failures.

        Repeating it does no harm. Raises StoreUnavailable.
        """
        chunks = self.records.stale_chunks(list(dict.fromkeys(changed)))
        outdated = self._outdated(chunks)
        chunks = {id_: chunk for id_, chunk in chunks.items() if id_ not in outdated}
        made = self._embed([chunk.embedded_text() for chunk in chunks.values()])
        vectors = {id_: vector for id_, vector in zip(chunks, made, strict=True) if not isinstance(vector, Exception)}
        failures = {id_: error for id_, error in zip(chunks, made, strict=True) if isinstance(error, Exception)}
        if vectors:
            self.index.add(
                [
                    IndexedChunk(id_, vector, chunks[id_].embedded_text(), filterable(chunks[id_].metadata))
                    for id_, vector in vectors.items()
                ]
            )
            # A document replaced meanwhile has been removed from the index before this came.
            if gone := self._outdated(vectors):
                self.index.remove(gone)
        for id_ in vectors:
            self.records.mark_embedded(id_, chunks[id_])
        return Renewal(list(vectors), failures)

    def _outdated(self, ids: Iterable[ChunkId]) -> list[ChunkId]:
        """Those that are in no version of their document that is retrieved, or will be."""
        wanted = list(ids)
        records = self.records.documents({(id_.owner, id_.document_id) for id_ in wanted})
        alive = {
            (record.owner, record.document_id, version)
            for record in records.values()
            if not record.deleted
            for version in (record.version, record.claim)
        }
        return [id_ for id_ in wanted if (id_.owner, id_.document_id, id_.version) not in alive]

    def _embed(self, texts: Sequence[str]) -> list[list[float] | Exception]:
        """A vector for each text, or what kept it from one: a text that the model refuses takes no other with it."""
        try:
            return [*self.embedder.embed(texts)]
        except KnowledgeUnavailable as error:
            return [error] * len(texts)
        except Exception as error:
            if len(texts) == 1:
                return [error]
            middle = len(texts) // 2
            return self._embed(texts[:middle]) + self._embed(texts[middle:])
