"""Which vector index is read, and which are written: an index can be rebuilt, or moved, while questions are asked.

An index has an address: its store, and one of the two slots that the store has for it. One record says which address
is *active*, the one that searches read, and whether there is an *other* one at the moment. Whoever writes asks the
record before a write and again after it. So a write that began before an index was to be built either is done, with
its text in the knowledge table, when the building begins, and is found there; or it sees afterwards that there is one
index more, and goes there too. No clock and no waiting is in this argument.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

from parley.errors import StoreUnavailable
from parley.knowledge.chunks import ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import NO_FILTER, Filter
from parley.knowledge.ports import VectorIndex

SLOTS = ("a", "b")
"""The places that a store has for an index: one that is read, and one where the next is built."""

REFRESH_SECONDS = 5.0
"""How long a process reads an index before it asks again which is active: a switch takes effect within this time."""


class MaintainedIndex(VectorIndex, Protocol):
    """A vector index that can be emptied, counted, and made to forget somebody."""

    def clear(self) -> None:
        """Remove everything. What is added at the same time may go or stay. Raises StoreUnavailable."""

    def count(self) -> int:
        """How many chunks it holds, at least those that searches can find. Raises StoreUnavailable."""

    def forget(self, owner: str) -> None:
        """Keep nothing of an owner's chunks in any file, not even what was removed. Raises StoreUnavailable.

        Removing is enough for answers; a store may keep what was removed for a while, and that ends here.
        """


class IndexNotDeployed(StoreUnavailable):
    """The index that is active is in a store that this deployment does not have."""


@dataclass(frozen=True, slots=True)
class IndexAddress:
    """Where an index is: written `store/slot`, as in `faiss/a`."""

    store: str
    slot: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address that `store/slot` names. Raises ValueError for anything else."""
        store, _, slot = text.partition("/")
        if not store or slot not in SLOTS:
            raise ValueError(f"{text!r} is no address of an index.")
        return cls(store, slot)

    def sibling(self) -> Self:
        """The other slot of the same store."""
        return type(self)(self.store, SLOTS[1 - SLOTS.index(self.slot)])

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.store}/{self.slot}"


class Phase(StrEnum):
    """What becomes of the index that is not the active one."""

    PREPARING = "preparing"
    """It is emptied, and will be built."""
    BUILDING = "building"
    """It is being built: it is written beside the active one, and not read."""
    RETIRING = "retiring"
    """It was the active one until lately: it is written, because some process may still read it."""
    EMPTYING = "emptying"
    """It is no longer used, and is emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """The record of the indexes. Every change of it counts its `revision` up."""

    active: IndexAddress
    other: IndexAddress | None = None
    phase: Phase | None = None
    """What the other is for; None when there is no other."""
    runner: str | None = None
    """Who works on the other; it shows that it is alive by changing the revision."""
    position: Mapping[str, str] | None = None
    """How far the building has come in the knowledge table; None at its beginning."""
    copied: int = 0
    """Chunks that the building has added."""
    revision: int = 0
    """0 where nothing is recorded yet."""

    @property
    def written(self) -> tuple[IndexAddress, ...]:
        """Where chunks are added and removed: the active index first."""
        if self.other is not None and self.phase in (Phase.BUILDING, Phase.RETIRING):
            return self.active, self.other
        return (self.active,)


class IndexRecord(Protocol):
    """Keeps the one record of the indexes. Raises StoreUnavailable."""

    def read(self) -> Indexes:
        """The record as it stands now."""

    def swap(self, expected: Indexes, new: Indexes) -> Indexes | None:
        """Put `new` in the place of `expected`, and return it with its revision; None if another change came first."""


@dataclass
class CurrentIndex:
    """The VectorIndex protocol over whichever index is active, written together with the one that is built.

    `open` gives the index at an address of one of the `stores` that are deployed.
    """

    record: IndexRecord
    stores: Collection[str]
    open: Callable[[IndexAddress], MaintainedIndex]
    # Not a monotonic clock: that may stand still while a function is frozen, and an index retires meanwhile.
    clock: Callable[[], float] = time.time
    _active: IndexAddress | None = None
    _read_at: float = 0.0
    _opened: dict[IndexAddress, MaintainedIndex] = field(default_factory=dict)

    @property
    def active_store(self) -> str | None:
        """The store that searches read; None before the first `prepare`."""
        return self._active.store if self._active else None

    def prepare(self) -> None:
        """See VectorIndex. Raises IndexNotDeployed too."""
        self._index(self._current()).prepare()

    def _current(self) -> IndexAddress:
        """The index that searches read, looked up again when that was long ago. Raises IndexNotDeployed."""
        now = self.clock()
        if self._active is None or not 0 <= now - self._read_at < REFRESH_SECONDS:
            active = self.record.read().active
            if active.store not in self.stores:
                raise IndexNotDeployed
            if active != self._active:
                # The old one goes before the new one is loaded: there may not be room for both.
                self._opened.clear()
            self._active, self._read_at = active, now
        return self._active

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """See VectorIndex: searches the index that was prepared."""
        prepared = self._active
        if prepared is None:
            prepared = self._current()
            self._index(prepared).prepare()
        return self._index(prepared).search(vector, owners=owners, limit=limit, text=text, where=where)

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """See VectorIndex. Their text must stand in the knowledge table already. Raises IndexNotDeployed too."""
        self._write(lambda index: index.add(chunks))

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex. Raises IndexNotDeployed too."""
        self._write(lambda index: index.remove(ids))

    def forget(self, owner: str) -> None:
        """See MaintainedIndex. Raises IndexNotDeployed too."""
        self._write(lambda index: index.forget(owner))

    def _write(self, write: Callable[[MaintainedIndex], None]) -> None:
        written: set[IndexAddress] = set()
        while waiting := [address for address in self._written() if address not in written]:
            for address in waiting:
                write(self._index(address))
                written.add(address)

    def _written(self) -> list[IndexAddress]:
        written = [address for address in self.record.read().written if address.store in self.stores]
        if not written:
            raise IndexNotDeployed
        return written

    def _index(self, address: IndexAddress) -> MaintainedIndex:
        if address not in self._opened:
            self._opened[address] = self.open(address)
        return self._opened[address]
