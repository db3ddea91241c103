"""A new index is built beside the active one while documents come, change and go: over moto's DynamoDB."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws.chunk_scan import ChunkScan
from parley.aws.index_record import IndexRecordItem
from parley.aws.knowledge_table import KnowledgeTable
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import Document
from parley.knowledge.index_slots import CurrentIndex, IndexAddress, Indexes, Phase
from parley.knowledge.ingest import Ingestion, Outcome
from parley.knowledge.reembedding import Reembedding
from parley.knowledge.reindexing import WRITE_SECONDS, Progress, ReindexError, Reindexing, Result

from tests.unit.knowledge_doubles import DictFiles, ListIndex, WordEmbedder, bag_of_words

TABLE = "knowledge"
A, B = IndexAddress("faiss", "a"), IndexAddress("faiss", "b")
MOVED = IndexAddress("s3vectors", "a")


class Index(ListIndex):
    """Counts its chunks; `meanwhile` happens once, just before the next write."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None
        self.failures: list[Exception] = []
        self.hidden = 0

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        if self.failures:
            raise self.failures.pop(0)
        super().add(chunks)

    def clear(self) -> None:
        self.rows.clear()

    def forget(self, owner: str) -> None:
        self.rows = {id_: row for id_, row in self.rows.items() if id_.owner != owner}

    def count(self) -> int:
        return len(self.rows) - self.hidden


class Killed(BaseException):
    """What no code gets to see: the process is gone."""


class World:
    """A knowledge base with two slots for each of two stores."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.table = KnowledgeTable(TABLE, client, pause=lambda _: None)
        self.record = IndexRecordItem(TABLE, client, initial=A)
        self.embedder = WordEmbedder()
        self.files = DictFiles()
        self.indexes = {address: Index() for address in (A, B, MOVED)}
        self.pauses: list[float] = []
        self.seen: list[Progress] = []

    def current(self) -> CurrentIndex:
        """What one process has."""
        return CurrentIndex(self.record, ("faiss", "s3vectors"), self.indexes.__getitem__)

    def ingestion(self) -> Ingestion:
        return Ingestion(files=self.files, records=self.table, embedder=self.embedder, index=self.current())

    def put(self, name: str, text: str) -> Outcome:
        key = f"documents/shared/{name}/{name}.txt"
        self.files.write(key, text.encode(), "text/plain")
        return self.ingestion().reconcile(key)

    def delete(self, name: str) -> Outcome:
        key = f"documents/shared/{name}/{name}.txt"
        self.files.files.pop(key)
        return self.ingestion().reconcile(key)

    def reindexing(self, **options: Any) -> Reindexing:
        options = {"stores": ("faiss", "s3vectors"), "beat_seconds": 60.0, "batch_chunks": 2, **options}
        return Reindexing(
            record=self.record,
            stored=ChunkScan(TABLE, self.client),
            embedder=self.embedder,
            open=self.indexes.__getitem__,
            on_progress=options.pop("on_progress", self.seen.append),
            pause=options.pop("pause", self.pauses.append),
            **options,
        )

    def run(self, store: str = "faiss", **options: Any) -> Result:
        return self.reindexing(**options).run(store)

    def found(self, question: str) -> list[str]:
        """What a new process finds."""
        index = self.current()
        index.prepare()
        hits = index.search(bag_of_words(question), owners=["shared"], limit=9)
        records = self.table.documents({(hit.id.owner, hit.id.document_id) for hit in hits})
        current = [hit.id for hit in hits if records[hit.id.owner, hit.id.document_id].version == hit.id.version]
        return [chunk.text for chunk in self.table.chunks(current).values()]

    def agrees(self, address: IndexAddress) -> bool:
        """Does an index hold just what the table has, in its present words?"""
        stored = {id_: self.table.chunks([id_])[id_] for id_ in self.stored_ids()}
        return dict(self.indexes[address].rows) == {
            id_: bag_of_words(chunk.embedded_text()) for id_, chunk in stored.items()
        }

    def stored_ids(self) -> list[ChunkId]:
        names = {key.split("/")[2] for key in self.files.files}
        return [id_ for name in names for id_ in self.table.chunk_ids("shared", name)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        world = World(client)
        for number in range(5):
            world.put(f"bees{number}", f"Bees of hive {number} dance.")
        yield world


def test_the_new_index_holds_every_chunk_and_takes_the_old_one_s_place(world: World) -> None:
    result = world.run()

    assert result == Result(active=B, previous=A, copied=5, expected=5, found=5)
    assert world.agrees(B)
    assert world.indexes[A].rows == {}
    assert world.record.read().active == B
    assert world.record.read().phase is None
    assert world.found("hive 3") == ["Bees of hive 3 dance.", *world.found("hive 3")[1:]]
    assert [(it.phase, it.index) for it in world.seen][-2:] == [(Phase.RETIRING, A), (Phase.EMPTYING, A)]
    assert max(it.copied for it in world.seen) == max(it.total for it in world.seen) == 5


def test_the_next_run_goes_back_to_the_first_slot(world: World) -> None:
    world.run()
    world.put("wasps", "Wasps sting.")

    assert world.run().active == A
    assert world.agrees(A)


def test_a_write_that_had_begun_when_the_old_index_was_given_up_is_emptied_with_it(world: World) -> None:
    late = ChunkId("shared", "late", "v1", 0)

    def land(seconds: float) -> None:
        if seconds == WRITE_SECONDS:
            world.indexes[A].rows[late] = bag_of_words("Too late.")

    world.run(pause=land)

    assert world.seen[-1].phase is Phase.EMPTYING
    assert world.indexes[A].rows == {}


def test_it_moves_to_another_store_and_back(world: World) -> None:
    assert world.run("s3vectors").active == MOVED
    assert world.agrees(MOVED)
    assert world.indexes[A].rows == {}
    assert world.run("faiss").active == A
    assert world.agrees(A)


def test_a_lost_index_is_made_again_because_the_old_one_plays_no_part(world: World) -> None:
    world.indexes[A].rows.clear()

    world.run()

    assert world.agrees(B)


def test_what_an_earlier_run_left_in_the_slot_is_gone(world: World) -> None:
    world.indexes[B].add([IndexedChunk(ChunkId("shared", "ghost", "v0", 0), bag_of_words("ghosts"))])

    world.run()

    assert world.agrees(B)


def test_keep_old_leaves_the_old_index_as_it_is(world: World) -> None:
    before = dict(world.indexes[A].rows)

    world.reindexing().run("faiss", keep_old=True)

    assert world.indexes[A].rows == before
    assert world.record.read() == Indexes(active=B, revision=world.record.read().revision)


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.put("wasps", "Wasps sting."),
        lambda world: world.put("bees0", "Bees of hive 0 have left."),
        lambda world: world.put("bees4", "Bees of hive 4 have left."),
        lambda world: world.delete("bees1"),
        lambda world: world.delete("bees3"),
    ],
    ids=["added", "replaced-first", "replaced-last", "deleted-second", "deleted-fourth"],
)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_document_that_changes_while_a_step_is_under_way_is_as_it_should_be(
    world: World, change: Callable[[World], object], step: int
) -> None:
    steps = 0

    def on_progress(progress: Progress) -> None:
        nonlocal steps
        steps += progress.phase is Phase.BUILDING
        if steps == step and progress.phase is Phase.BUILDING:
            world.indexes[B].meanwhile = lambda: change(world)

    world.run(on_progress=on_progress)
    change_happened = world.indexes[B].meanwhile is None

    assert change_happened
    assert world.agrees(B)


def test_a_chunk_that_is_changed_by_hand_between_reading_and_adding_is_there_in_its_new_words(world: World) -> None:
    def change() -> None:
        [id_] = world.table.chunk_ids("shared", "bees2")
        world.client.update_item(
            TableName=TABLE,
            Key={"pk": {"S": "shared#bees2"}, "sk": {"S": f"chunk#{id_.version}#000000"}},
            UpdateExpression="SET #text = :text",
            ExpressionAttributeNames={"#text": "text"},
            ExpressionAttributeValues={":text": {"S": "Hornets."}},
        )
        reembedding = Reembedding(records=world.table, embedder=world.embedder, index=world.current())
        assert reembedding.renew([id_]).renewed == [id_]

    world.indexes[B].meanwhile = change
    # One step, so that the chunk is in the hands of the run when it is changed.
    world.run(batch_chunks=50)

    assert world.agrees(B)


def test_an_ingestion_that_asked_before_the_building_began_goes_to_the_new_index_all_the_same(world: World) -> None:
    """It reads the record, the run begins and goes through the table, and only then it stores and adds its chunks."""
    ingestion = world.ingestion()
    written = world.indexes[A].add

    def add(chunks: Sequence[IndexedChunk]) -> None:
        world.indexes[A].add = written  # type: ignore[method-assign]  # the first time only
        turn = world.record.read()
        begun = world.record.swap(turn, Indexes(active=A, other=B, phase=Phase.BUILDING))
        assert begun is not None
        written(chunks)

    world.indexes[A].add = add  # type: ignore[method-assign]  # a write that takes long
    key = "documents/shared/wasps/wasps.txt"
    world.files.write(key, b"Wasps sting.", "text/plain")
    ingestion.reconcile(key)

    assert [id_.document_id for id_ in world.indexes[B].rows] == ["wasps"]


def test_a_document_half_indexed_when_the_building_began_is_whole_in_the_new_index(world: World) -> None:
    """Its worker died after some batches; the next one goes on behind them, and they are only in the old index."""
    document = Document(
        owner="shared", document_id="long", name="long.txt", key="documents/shared/long/long.txt", size=9
    )
    chunks = [Chunk(number, f"Part {number}.") for number in range(4)]
    record = world.table.put_new(document)
    claimed = world.table.claim(record, "v9", 9)
    assert claimed is not None
    world.table.put_chunks(claimed, "v9", chunks[:2])
    first = [IndexedChunk(ChunkId("shared", "long", "v9", c.number), bag_of_words(c.text)) for c in chunks[:2]]
    world.current().add(first)
    world.table.checkpoint(claimed, "v9", 2)

    world.run()
    world.table.put_chunks(claimed, "v9", chunks[2:])
    world.current().add(
        [IndexedChunk(ChunkId("shared", "long", "v9", c.number), bag_of_words(c.text)) for c in chunks[2:]]
    )
    world.table.finish(claimed, "v9", 4)

    assert {id_.number for id_ in world.indexes[B].rows if id_.document_id == "long"} == {0, 1, 2, 3}


@pytest.mark.parametrize("step", range(8))
def test_a_run_that_was_killed_at_any_point_is_carried_on(world: World, step: int) -> None:
    with pytest.raises(Killed):
        _killed_at(world, step)
    world.put("wasps", "Wasps sting.")
    world.delete("bees0")

    result = world.run()

    assert world.record.read() == Indexes(active=result.active, revision=world.record.read().revision)
    assert world.agrees(result.active)
    assert world.indexes[result.active.sibling()].rows == {}


def _killed_at(world: World, step: int) -> None:
    """A run that is killed after some changes of the record, and so does not clean up."""
    record, changes = world.record, 0

    class Dying(IndexRecordItem):
        def swap(self, expected: Indexes, new: Indexes) -> Indexes | None:
            nonlocal changes
            changes += 1
            if changes > step + 1:
                raise Killed
            return record.swap(expected, new)

    world.record = Dying(TABLE, world.client, initial=A)
    try:
        world.run()
    finally:
        world.record = record


def test_it_repeats_no_step_that_was_done_before_it_was_killed(world: World) -> None:
    with pytest.raises(Killed):
        _killed_at(world, 6)  # taken, preparing, building, four pages of the table
    world.embedder.asked.clear()

    result = world.run()

    assert 0 < len(world.embedder.asked) < 5
    assert (result.copied, result.found) == (5, 5)


def test_a_second_run_is_refused_while_the_first_shows_that_it_is_alive(world: World) -> None:
    second = world.reindexing(pause=lambda _: _beat(world))

    def on_progress(progress: Progress) -> None:
        if progress.copied == 2:
            with pytest.raises(ReindexError, match=r"^Another reindex is running; wait for it to end\.$"):
                second.run("faiss")
            world.pauses.append(-1)

    # A change by the run's own heart, where `_beat` plays it, is no other run.
    result = world.run(on_progress=on_progress)

    assert -1 in world.pauses
    assert result.active == B
    assert world.agrees(B)


def _beat(world: World) -> None:
    now = world.record.read()
    assert now.runner is not None
    assert world.record.swap(now, now) is not None


def test_two_that_start_at_the_same_moment_are_one(world: World) -> None:
    class Late(IndexRecordItem):
        def read(self) -> Indexes:
            found = super().read()
            other = IndexRecordItem(TABLE, world.client, initial=A)
            if found.runner is None:
                other.swap(found, Indexes(active=A, runner="other"))
            return found

    world.record = Late(TABLE, world.client, initial=A)
    with pytest.raises(ReindexError, match="just been started"):
        world.run()


def test_a_run_that_was_taken_for_dead_stops(world: World) -> None:
    def on_progress(progress: Progress) -> None:
        if progress.copied == 2:
            now = world.record.read()
            assert world.record.swap(now, Indexes(active=A, other=B, phase=Phase.BUILDING, runner="other"))

    with pytest.raises(ReindexError, match="taken over"):
        world.run(on_progress=on_progress)
    assert world.record.read().runner == "other"


def test_the_heart_beats_and_stops_with_the_run(world: World) -> None:
    revisions: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.copied == 2 and not revisions:
            revisions.append(world.record.read().revision)
            while world.record.read().revision < revisions[0] + 3:
                pass

    world.run(on_progress=on_progress, beat_seconds=0.001)
    revision = world.record.read().revision

    assert revisions
    assert world.record.read().revision == revision


def test_what_is_throttled_is_tried_again_after_growing_pauses(world: World) -> None:
    world.indexes[B].failures = [StoreUnavailable(), KnowledgeUnavailable(), StoreUnavailable()]

    world.run()

    assert world.agrees(B)
    assert 0.5 <= world.pauses[0] <= 1
    assert 2 <= world.pauses[2] <= 4


def test_a_service_that_stays_away_ends_the_run_and_the_next_carries_on(world: World) -> None:
    world.indexes[B].failures = [StoreUnavailable() for _ in range(8)]
    with pytest.raises(StoreUnavailable):
        world.run()
    assert world.record.read().runner is None
    assert world.record.read().active == A

    assert world.run().active == B
    assert world.agrees(B)


def test_an_index_that_holds_too_little_does_not_become_active(world: World) -> None:
    world.indexes[B].hidden = 2
    with pytest.raises(ReindexError, match=r"holds 3 chunks where there should be 5, so the old one stays active"):
        world.run()
    assert world.record.read().active == A
    world.indexes[B].hidden = 0
    world.embedder.asked.clear()

    assert world.run().found == 5
    assert len(world.embedder.asked) == 5


def test_an_unfinished_run_to_another_store_is_named_and_can_be_given_up(world: World) -> None:
    with pytest.raises(Killed):
        _killed_at(world, 3)
    with pytest.raises(ReindexError, match=r"faiss/b was interrupted: carry it on with --to faiss, or .* --cancel"):
        world.run("s3vectors")

    assert world.reindexing().cancel().active == A
    assert world.indexes[B].rows == {}
    assert world.record.read().phase is None
    with pytest.raises(ReindexError, match="no unfinished reindex"):
        world.reindexing().cancel()
    assert world.run("s3vectors").active == MOVED


def test_a_store_that_is_not_deployed_is_refused(world: World) -> None:
    with pytest.raises(
        ReindexError, match="opensearch is not deployed in this environment; deployed: faiss, s3vectors"
    ):
        world.run("opensearch")


def test_an_old_index_in_a_store_that_is_gone_is_left_alone(world: World) -> None:
    assert world.run("s3vectors", stores=("s3vectors",)).active == MOVED
    assert world.agrees(MOVED)
    assert len(world.indexes[A].rows) == 5


def test_chunks_of_documents_that_are_gone_or_replaced_are_not_copied(world: World) -> None:
    gone = Document(owner="shared", document_id="gone", name="gone.txt", key="documents/shared/gone/gone.txt")
    world.table.put_chunks(gone, "v1", [Chunk(0, "Nobody has me.")])

    assert world.run().copied == 5
    assert [id_ for id_ in world.indexes[B].rows if id_.document_id == "gone"] == []
