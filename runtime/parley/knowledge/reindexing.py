"""Reindexing: a new vector index is built beside the active one from the stored chunks, and then takes its place.

The old index plays no part in it, so a lost or damaged one, or one of another store or embedding model, can be
replaced. One pass over the knowledge table is enough: what is written from the moment the building begins also goes
into the new index, and what was written before is found by the pass (see `index_slots`). A chunk that is changed or
goes away while it is being copied is noticed by looking at it again afterwards.

All progress stands in the record of the indexes. A run that was killed is carried on by the next one; two do not run
at once, because each shows that it is alive by changing the record's revision, and changes it only if nobody else has.
"""

import random
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import Document
from parley.knowledge.filters import filterable
from parley.knowledge.index_slots import IndexAddress, Indexes, IndexRecord, MaintainedIndex, Phase
from parley.knowledge.ports import Embedder

BEAT_SECONDS = 4.0
"""How often a run shows that it is alive."""

WATCH_SECONDS = 3 * BEAT_SECONDS
"""A run that shows no life for so long has been killed."""

GRACE_SECONDS = 35.0
"""How long the old index is kept up to date after the switch. A process reads it for 5 s at most until it looks again,
and a search that has begun ends within 20 s."""

BATCH_CHUNKS = 500
"""Chunks of one step: read, embedded and added together; a run that is killed repeats at most one step."""

ATTEMPTS = 8
"""Tries of one step, with pauses that grow to half a minute: what is throttled for minutes is tried again later."""

VERIFY_ATTEMPTS = 40
VERIFY_PAUSE_SECONDS = 5.0
"""A store may show what was written only after some minutes."""


class ReindexError(Exception):
    """Ends a run with one sentence; everything is as it was, or is carried on by the next run."""


@dataclass(frozen=True, slots=True)
class ChunkPage:
    """Some stored chunks, of whatever version, and where the next ones begin: None after the last."""

    chunks: Mapping[ChunkId, Chunk]
    end: Mapping[str, str] | None


class StoredChunks(Protocol):
    """What reindexing reads of the knowledge table. Raises StoreUnavailable."""

    def page(self, after: Mapping[str, str] | None, *, limit: int) -> ChunkPage:
        """The next chunks of all, at most `limit`: every one that was stored before the first page was asked for."""

    def count_current(self) -> int:
        """How many chunks the versions have that can be retrieved now."""

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        """See KnowledgeStore."""

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore; never from a cache."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    phase: Phase
    index: IndexAddress
    """The one that is worked on."""
    copied: int = 0
    total: int = 0
    """Chunks that there were when the run began; some may come and go meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to."""

    active: IndexAddress
    previous: IndexAddress | None
    """The index that was active before; None when nothing was switched."""
    copied: int
    """Chunks added, those that an interrupted run before this one added among them."""
    expected: int
    found: int
    """Chunks that can be retrieved, and chunks in the new index before the switch."""


class Reindexing:
    """Builds a new index and switches to it. `open` gives the index at an address of one of the deployed `stores`."""

    def __init__(
        self,
        *,
        record: IndexRecord,
        stored: StoredChunks,
        embedder: Embedder,
        stores: Collection[str],
        open: Callable[[IndexAddress], MaintainedIndex],
        on_progress: Callable[[Progress], None] = lambda _: None,
        pause: Callable[[float], None] = time.sleep,
        beat_seconds: float = BEAT_SECONDS,
        watch_seconds: float = WATCH_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        batch_chunks: int = BATCH_CHUNKS,
    ) -> None:
        """`pause` waits that many seconds."""
        self._record = record
        self._stored = stored
        self._embedder = embedder
        self._stores = stores
        self._open = open
        self._on_progress = on_progress
        self._pause = pause
        self._beat_seconds = beat_seconds
        self._watch_seconds = watch_seconds
        self._grace_seconds = grace_seconds
        self._batch_chunks = batch_chunks

    def run(self, store: str, *, keep_old: bool = False) -> Result:
        """Build an index in `store` and switch to it; or carry on where an interrupted run stopped.

        With `keep_old` the old index is left as it is at the switch. Raises ReindexError, StoreUnavailable and
        KnowledgeUnavailable; run again, it carries on.
        """
        if store not in self._stores:
            raise ReindexError(
                f"The store {store} is not deployed in this environment; deployed: {', '.join(self._stores)}."
            )
        with self._alone() as turn:
            now = turn.indexes
            if now.phase in (Phase.PREPARING, Phase.BUILDING) and now.other is not None and now.other.store != store:
                raise ReindexError(
                    f"A reindex to {now.other} was interrupted: carry it on with --to {now.other.store}, "
                    "or give it up with --cancel."
                )
            switched = now.active if now.phase in (Phase.RETIRING, Phase.EMPTYING) else None
            result = Result(active=now.active, previous=now.other, copied=now.copied, expected=0, found=0)
            self._retire(turn, keep_old=keep_old)
            if switched is not None and switched.store == store:
                # An earlier run had switched already: it has been carried to its end.
                return result
            if turn.indexes.phase is None:
                turn.change(phase=Phase.PREPARING, other=self._target(turn.indexes.active, store), copied=0)
            target = _other(turn.indexes)
            index = self._open(target)
            if turn.indexes.phase is Phase.PREPARING:
                self._tell(turn.indexes)
                self._patiently(index.clear)
                # From here on, whoever writes writes there too.
                turn.change(phase=Phase.BUILDING, position=None, copied=0)
            copied = self._copy(turn, index)
            expected, found = self._verify(turn, index)
            before = turn.indexes.active
            turn.change(active=target, other=before, phase=Phase.RETIRING, position=None)
            result = Result(active=target, previous=before, copied=copied, expected=expected, found=found)
            self._retire(turn, keep_old=keep_old)
            return result

    def cancel(self) -> Result:
        """Give up an interrupted run: its index is emptied, and the active one stays. Raises ReindexError."""
        with self._alone() as turn:
            if turn.indexes.phase is None:
                raise ReindexError("There is no unfinished reindex to give up.")
            if turn.indexes.phase in (Phase.PREPARING, Phase.BUILDING):
                turn.change(phase=Phase.EMPTYING, position=None)
            self._retire(turn, keep_old=False)
            return Result(active=turn.indexes.active, previous=None, copied=0, expected=0, found=0)

    @staticmethod
    def _target(active: IndexAddress, store: str) -> IndexAddress:
        return active.sibling() if active.store == store else IndexAddress(store, "a")

    def _retire(self, turn: "_Turn", *, keep_old: bool) -> None:
        """Do away with an index that is no longer the active one; with other phases there is nothing to do."""
        if turn.indexes.phase is Phase.RETIRING:
            self._tell(turn.indexes)
            self._pause(self._grace_seconds)
            turn.change(phase=Phase.EMPTYING)
        if turn.indexes.phase is Phase.EMPTYING:
            old = _other(turn.indexes)
            if not keep_old and old.store in self._stores:
                self._tell(turn.indexes)
                self._patiently(self._open(old).clear)
            turn.change(phase=None, other=None, copied=0)

    def _copy(self, turn: "_Turn", index: MaintainedIndex) -> int:
        """Add all stored chunks from the position on; returns how many have been added in all."""
        total = self._patiently(self._stored.count_current)
        while True:
            now = turn.indexes
            self._tell(now, total)
            page = self._patiently(lambda: self._stored.page(now.position, limit=self._batch_chunks))  # noqa: B023 - called at once
            copied = now.copied + self._patiently(lambda: self._add(index, page.chunks))  # noqa: B023 - called at once
            if page.end is None:
                # Nothing is noted: a run that is killed from here on to the switch repeats this page alone.
                self._tell(replace(turn.indexes, copied=copied), total)
                return copied
            turn.change(copied=copied, position=page.end)

    def _add(self, index: MaintainedIndex, found: Mapping[ChunkId, Chunk]) -> int:
        """Add those of these chunks that are retrieved, or will be, as they stand when all is done."""
        waiting = self._living(found)
        count = len(waiting)
        while waiting:
            vectors = self._embedder.embed([chunk.embedded_text() for chunk in waiting.values()])
            index.add(
                [
                    IndexedChunk(id_, vector, chunk.embedded_text(), filterable(chunk.metadata))
                    for (id_, chunk), vector in zip(waiting.items(), vectors, strict=True)
                ]
            )
            # A document that was replaced or deleted meanwhile was removed from the index before this came.
            living = self._living(waiting)
            if gone := [id_ for id_ in waiting if id_ not in living]:
                index.remove(gone)
            stored = self._stored.chunks(list(living))
            waiting = {id_: stored[id_] for id_, chunk in living.items() if stored.get(id_, chunk) != chunk}
        return count

    def _living(self, chunks: Mapping[ChunkId, Chunk]) -> dict[ChunkId, Chunk]:
        documents = self._stored.documents({(id_.owner, id_.document_id) for id_ in chunks})
        return {
            id_: chunk
            for id_, chunk in chunks.items()
            if (document := documents.get((id_.owner, id_.document_id))) is not None and document.holds(id_.version)
        }

    def _verify(self, turn: "_Turn", index: MaintainedIndex) -> tuple[int, int]:
        """How many chunks there should be, and how many there are. Raises ReindexError when these are too few."""
        expected = found = 0
        for attempt in range(VERIFY_ATTEMPTS):
            if attempt:
                self._pause(VERIFY_PAUSE_SECONDS)
            expected = self._patiently(self._stored.count_current)
            found = self._patiently(index.count)
            if found >= expected:
                return expected, found
        # The next run copies everything again.
        turn.change(position=None, copied=0)
        raise ReindexError(
            f"The new index holds {found} chunks where there should be {expected}, so the old one stays active: "
            "run it again, and it copies everything once more."
        )

    def _patiently[T](self, step: Callable[[], T]) -> T:
        """Do a step that can be repeated, again and again while a service is busy."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return step()
            except (StoreUnavailable, KnowledgeUnavailable):
                self._pause(min(2.0**attempt, 30.0) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        return step()

    def _tell(self, indexes: Indexes, total: int = 0) -> None:
        if indexes.phase is not None:
            self._on_progress(Progress(indexes.phase, _other(indexes), indexes.copied, total))

    def _alone(self) -> "_Turn":
        """Become the one run there is. Raises ReindexError when there is another."""
        found = self._patiently(self._record.read)
        if found.runner is not None:
            self._pause(self._watch_seconds)
            later = self._patiently(self._record.read)
            if later.runner is not None and later.revision != found.revision:
                raise ReindexError("Another reindex is running; wait for it to end.")
            found = later
        taken = self._record.swap(found, replace(found, runner=secrets.token_hex(8)))
        if taken is None:
            raise ReindexError("Another reindex has just been started; wait for it to end.")
        return _Turn(self._record, taken, self._beat_seconds)


def _other(indexes: Indexes) -> IndexAddress:
    if indexes.other is None:
        raise ReindexError(
            f"The record of the indexes is not consistent: it has a phase ({indexes.phase}) and no index."
        )
    return indexes.other


@dataclass
class _Turn(AbstractContextManager["_Turn"]):
    """The record of the indexes in the hands of one run, which shows that it is alive until it leaves."""

    record: IndexRecord
    indexes: Indexes
    beat_seconds: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "_Turn":
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._heart.join()
        # Where this fails the next run finds that this one shows no life.
        with suppress(StoreUnavailable):
            self.record.swap(self.indexes, replace(self.indexes, runner=None))

    def change(self, **values: Any) -> None:
        """Change the record. Raises ReindexError when another run has taken it over."""
        with self._lock:
            changed = self.record.swap(self.indexes, replace(self.indexes, **values))
            if changed is None:
                stored = self.record.read()
                if stored.runner == self.indexes.runner:
                    # An earlier change was stored, though its answer got lost.
                    changed = self.record.swap(stored, replace(stored, **values))
            if changed is None:
                raise ReindexError("Another reindex has taken over, because this one seemed to have stopped.")
            self.indexes = changed

    def _beat(self) -> None:
        while not self._left.wait(self.beat_seconds):
            try:
                self.change()
            except StoreUnavailable:
                continue
            except ReindexError:
                # The next step of the run meets it, too.
                return
