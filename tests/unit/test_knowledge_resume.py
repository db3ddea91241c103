"""A worker that stops in the middle of a large document, and the one that goes on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from parley.errors import KnowledgeUnavailable
from parley.knowledge import ingest, limits
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Checkpoint, Document, DocumentState
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.ingest import Ingestion, Outcome, Result

from tests.unit.knowledge_doubles import DictFiles, DictRecords, ListIndex, WordEmbedder

OWNER, ID = "user-ada", "d1"
KEY = f"documents/{OWNER}/{ID}/words.md"
SECTIONS = 10
BATCH = 3
STEPS = ("embed", "put_chunks", "add", "checkpoint", "finish")


class Killed(BaseException):
    """The function was stopped: nothing of it runs on."""


class Worker:
    """Ingestion over stores that outlive it, in which something may happen before any step."""

    def __init__(self) -> None:
        self.files, self.records, self.embedder, self.index = DictFiles(), DictRecords(), WordEmbedder(), ListIndex()
        self.before: Callable[[str, int], object] = lambda step, number: None
        self._steps = 0
        for target, steps in (
            (self.embedder, ("embed",)),
            (self.records, ("put_chunks", "checkpoint", "finish")),
            (self.index, ("add",)),
        ):
            for step in steps:
                setattr(target, step, self._watched(step, getattr(target, step)))
        self.write()

    def _watched(self, step: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._steps += 1
            self.before(step, self._steps)
            return method(*arguments)

        return call

    def write(self, word: str = "Word") -> None:
        text = "\n\n".join(f"# Title {n}\n\n{word} {n}." for n in range(SECTIONS))
        self.files.write(KEY, text.encode(), "text/markdown")

    def work(self) -> Outcome:
        self._steps = 0
        return Ingestion(self.files, self.records, self.embedder, self.index).reconcile(KEY)

    def killed_before(self, step: str, time: int) -> bool:
        """One delivery that is killed before a step's n-th time; False when it never came to that."""
        times = 0

        def kill(now: str, _: int) -> None:
            nonlocal times
            times += now == step
            if times == time:
                raise Killed

        self.before = kill
        try:
            self.work()
        except Killed:
            return True
        finally:
            self.before = lambda step, number: None
        return False

    @property
    def record(self) -> Document:
        return self.records.records[OWNER, ID]

    def embedded(self) -> list[str]:
        """What was embedded since this was last asked."""
        asked, self.embedder.asked = self.embedder.asked, []
        return asked

    def is_whole(self) -> bool:
        ids = {ChunkId(OWNER, ID, self.record.version or "", n) for n in range(SECTIONS)}
        return self.record.state is DocumentState.READY and set(self.records.texts) == set(self.index.rows) == ids


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(ingest, "BATCH_CHUNKS", BATCH)
    return Worker()


def test_what_is_done_is_not_embedded_again(worker: Worker) -> None:
    assert worker.killed_before("embed", 3)
    assert len(worker.embedded()) == 2 * BATCH
    assert worker.record.state is DocumentState.INDEXING
    assert worker.work() is Outcome.INDEXED
    assert len(worker.embedded()) == SECTIONS - 2 * BATCH
    assert worker.is_whole()
    assert worker.record.checkpoint is None


@pytest.mark.parametrize("time", [1, 2, 3, 4])
@pytest.mark.parametrize("step", STEPS)
def test_killed_anywhere_the_next_delivery_makes_it_whole(worker: Worker, step: str, time: int) -> None:
    came_to_it = worker.killed_before(step, time)
    assert came_to_it == (time <= {"finish": 1, "checkpoint": 3}.get(step, 4))
    worker.work()
    assert worker.is_whole()
    # At most the batch in which it was killed is embedded twice.
    assert len(worker.embedded()) <= SECTIONS + BATCH


def test_killed_again_and_again_it_still_comes_to_the_end(worker: Worker) -> None:
    deliveries = 1
    while worker.killed_before("checkpoint", 2):
        deliveries += 1
    assert worker.is_whole()
    assert deliveries == 3
    assert len(worker.embedded()) == SECTIONS + 2 * BATCH


def test_a_throttled_model_costs_only_its_batch(worker: Worker) -> None:
    def throttle(step: str, number: int) -> None:
        if step == "embed" and number > 4:
            raise KnowledgeUnavailable

    worker.before = throttle
    with pytest.raises(KnowledgeUnavailable):
        worker.work()
    assert worker.record.state is DocumentState.INDEXING
    assert worker.record.checkpoint == Checkpoint("v1", BATCH)
    worker.before = lambda step, number: None
    worker.embedded()
    assert worker.work() is Outcome.INDEXED
    assert len(worker.embedded()) == SECTIONS - BATCH
    assert worker.is_whole()


def test_a_newer_file_is_embedded_from_its_beginning(worker: Worker) -> None:
    worker.killed_before("embed", 3)
    worker.write("Newer")
    worker.embedded()
    assert worker.work() is Outcome.INDEXED
    assert len(worker.embedded()) == SECTIONS
    assert worker.is_whole()


def test_chunks_that_were_cut_elsewhere_are_embedded_again(worker: Worker) -> None:
    worker.killed_before("embed", 3)
    first = ChunkId(OWNER, ID, "v1", 0)
    worker.records.texts[first] = replace(worker.records.texts[first], text="Cut by another splitter.")
    worker.embedded()
    worker.work()
    assert len(worker.embedded()) == SECTIONS - 2 * BATCH + 1
    assert worker.records.texts[first] == Chunk(number=0, text="Word 0.", heading="Title 0")


def test_a_worker_overtaken_at_a_checkpoint_leaves_nothing(worker: Worker) -> None:
    def overtaken(step: str, _: int) -> None:
        if step == "checkpoint":
            worker.before = lambda step, number: None
            worker.write("Newer")
            assert worker.work() is Outcome.INDEXED

    worker.before = overtaken
    assert worker.work() is Outcome.SUPERSEDED
    assert worker.record.version == "v2"
    assert worker.is_whole()


def test_a_second_worker_on_the_same_file_hides_nothing(worker: Worker) -> None:
    """Both looked before either had finished; the slower one comes to its claim when all is done."""
    records = worker.records
    claim = records.claim

    def late(document: Document, version: str, size: int) -> Document | None:
        records.claim = claim  # type: ignore[method-assign]  # only the first claim is late
        assert worker.work() is Outcome.INDEXED
        return claim(document, version, size)

    records.claim = late  # type: ignore[method-assign]  # a double of a double
    assert worker.work() is Outcome.SUPERSEDED
    assert worker.is_whole()
    assert len(worker.embedded()) == SECTIONS


def test_a_document_of_too_many_chunks_is_refused_before_any_is_embedded(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Sentences without end. " * 2_000
    worker.files.write(KEY, text.encode(), "text/markdown")
    monkeypatch.setattr(ingest, "MAX_PARTS", 5)
    monkeypatch.setattr(limits, "MAX_PARTS", 5)
    with pytest.raises(UnreadableDocument, match="more than 5 parts"):
        worker.work()
    assert worker.embedded() == []
    assert not worker.records.texts


def test_a_file_that_grew_too_large_since_it_was_described_is_not_held(worker: Worker) -> None:
    """The newer one is described again, and refused by its size."""
    small = worker.files.files[KEY]
    huge = replace(small[0], version="v9", size=10**12)
    described = iter([small[0]])
    worker.files.describe = lambda key: next(described, huge)  # type: ignore[method-assign]  # grows in between
    worker.files.files[KEY] = huge, b""
    with pytest.raises(UnreadableDocument, match="larger than"):
        worker.work()
    assert worker.record.claim == "v9"


def test_stored_chunks_are_asked_for_only_up_to_the_checkpoint(worker: Worker) -> None:
    asked: list[int] = []
    chunks = worker.records.chunks

    def counted(ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        asked.append(len(ids))
        return chunks(ids)

    worker.records.chunks = counted  # type: ignore[method-assign]  # counts
    worker.killed_before("embed", 2)
    assert asked == []
    worker.work()
    assert asked == [BATCH]


def test_a_document_that_needs_many_turns_gets_on_in_each(worker: Worker) -> None:
    ingestion = Ingestion(worker.files, worker.records, worker.embedder, worker.index)
    results: list[Result] = []
    while not results or results[-1] is Outcome.UNFINISHED:
        results.append(ingestion.reconcile_all([KEY], seconds_left=lambda: 1.0)[KEY])
    assert results == [*[Outcome.UNFINISHED] * 3, Outcome.INDEXED]
    assert len(worker.embedded()) == SECTIONS
    assert worker.is_whole()


def test_a_document_that_was_whole_but_for_its_last_step_is_not_embedded_again(worker: Worker) -> None:
    assert worker.killed_before("finish", 1)
    worker.records.checkpoint(worker.record, "v1", SECTIONS)
    worker.embedded()
    assert worker.work() is Outcome.INDEXED
    assert worker.embedded() == []
    assert worker.is_whole()
