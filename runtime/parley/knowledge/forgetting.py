"""Making the vector indexes forget an owner: no row, no word and no name of theirs stays in any file of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from parley.knowledge.chunks import ChunkId
from parley.knowledge.ports import KnowledgeStore


class ForgettingIndex(Protocol):
    """The vector indexes. Every method raises StoreUnavailable."""

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex."""

    def forget(self, owner: str) -> None:
        """See MaintainedIndex."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Takes an owner's documents out of the indexes."""

    records: KnowledgeStore
    document_ids: Callable[[str], Iterable[str]]
    """All of an owner's, those of deleted documents among them."""
    index: ForgettingIndex
    erase_versions: Callable[[], None]
    """Deletes what the indexes' files were before they were written anew."""

    def forget(self, owner: str) -> None:
        """Nothing of the owner's is retrieved from now on, and nothing of it is in the indexes when this returns.

        The records stay, as deleted ones, and the text of the chunks. Raises StoreUnavailable: then it is to be asked
        again.
        """
        for document_id in self.document_ids(owner):
            # First the record: a worker that is indexing the document gives way, and takes back what it added.
            self.records.mark_deleted(owner, document_id)
            if ids := self.records.chunk_ids(owner, document_id):
                self.index.remove(ids)
        self.index.forget(owner)
        self.erase_versions()
