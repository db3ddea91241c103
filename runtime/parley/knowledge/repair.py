"""Repair: chunks that a damaged part of a vector index held are made again from the stored ones.

What the sound parts hold stays. The chunks that are missing are added batch by batch, and at the end the damaged parts
are struck out: a repair that stops in the middle is carried on by the next one, which finds less missing. Several at
once do the same work twice, and no harm.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.copying import Copying
from parley.knowledge.ingest import BATCH_CHUNKS, SECONDS_FOR_A_BATCH
from parley.knowledge.ports import VectorIndex

PAGE_CHUNKS = 500
"""Chunks read at once."""

SECONDS_FOR_A_PAGE = 15.0
"""Time that must be left to read one more page."""


class Coverage(Protocol):
    """What an index holds, as seen once."""

    @property
    def damaged(self) -> Sequence[str]:
        """Its damaged parts."""

    @property
    def chunks(self) -> Mapping[tuple[str, str, str], Set[int]]:
        """The numbers of the chunks in the others, by owner, document id and version."""


class RepairableIndex[C: Coverage](VectorIndex, Protocol):
    """A vector index that consists of parts, which can be lost one by one."""

    def covered(self) -> C:
        """What it holds now. Raises StoreUnavailable."""

    def replace_damaged(self, seen: C, batches: Iterable[Sequence[IndexedChunk]]) -> bool:
        """Put these chunks in the place of the parts that are damaged in `seen`; False if these are gone already.

        Raises StoreUnavailable.
        """


@dataclass(frozen=True, slots=True)
class Repair:
    """Mends vector indexes from the stored chunks."""

    copying: Copying

    def mend[C: Coverage](self, index: RepairableIndex[C], *, seconds_left: Callable[[], float]) -> int | None:
        """Mend an index; returns how many parts were damaged, or None when the time was up before all was done.

        Every call gets something done. Raises KnowledgeUnavailable and StoreUnavailable.
        """
        seen = index.covered()
        if not seen.damaged:
            return 0
        missing: dict[ChunkId, Chunk] = {}
        begun = False
        after: Mapping[str, str] | None = None
        while True:
            page = self.copying.stored.page(after, limit=PAGE_CHUNKS)
            missing |= self._missing(page.chunks, seen)
            while len(missing) >= BATCH_CHUNKS or (missing and page.end is None):
                if begun and seconds_left() < SECONDS_FOR_A_BATCH:
                    return None
                batch = dict(islice(missing.items(), BATCH_CHUNKS))
                self.copying.add(index, batch)
                missing = {id_: chunk for id_, chunk in missing.items() if id_ not in batch}
                begun = True
            if page.end is None:
                # What they held has been added, or is gone.
                index.replace_damaged(seen, ())
                return len(seen.damaged)
            if seconds_left() < SECONDS_FOR_A_PAGE:
                return None
            after = page.end

    def _missing(self, chunks: Mapping[ChunkId, Chunk], seen: Coverage) -> dict[ChunkId, Chunk]:
        uncovered = {
            id_: chunk
            for id_, chunk in chunks.items()
            if id_.number not in seen.chunks.get((id_.owner, id_.document_id, id_.version), ())
        }
        return self.copying.living(uncovered) if uncovered else {}
