"""A FAISS index that lost segments is mended from the stored chunks: over moto, and by the functions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws.chunk_scan import ChunkScan
from parley.aws.faiss_store import FaissStore
from parley.aws.knowledge_table import KnowledgeTable
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.copying import Copying
from parley.knowledge.documents import Document
from parley.knowledge.index_slots import IndexAddress, Indexes, Phase
from parley.knowledge.repair import Repair

from tests.unit.knowledge_doubles import WordEmbedder, bag_of_words
from tests.unit.knowledge_function_doubles import BUCKET, TABLE, Cloud, bucket_event, client_error, cloud

__all__ = ["cloud"]

PREFIX = "indexes/faiss/a/"
FOREVER: Callable[[], float] = lambda: float("inf")  # noqa: E731 - a constant function


class World:
    """Documents of some chunks, each document in a segment of its own."""

    def __init__(self, s3: Any, dynamodb: Any) -> None:
        self.s3, self.dynamodb = s3, dynamodb
        self.table = KnowledgeTable(TABLE, dynamodb, pause=lambda _: None)
        self.embedder = WordEmbedder()
        self.repair = Repair(Copying(ChunkScan(TABLE, dynamodb), self.embedder))

    def index(self) -> FaissStore:
        """The index as a new process has it."""
        return FaissStore(self.s3, BUCKET, PREFIX)

    def put(self, name: str, texts: Sequence[str]) -> None:
        document = Document(owner="shared", document_id=name, name=name, key=f"documents/shared/{name}/{name}.txt")
        claimed = self.table.claim(self.table.put_new(document), "v1", 9)
        assert claimed is not None
        chunks = [Chunk(number, text) for number, text in enumerate(texts)]
        self.table.put_chunks(claimed, "v1", chunks)
        self.index().add(
            [IndexedChunk(ChunkId("shared", name, "v1", c.number), bag_of_words(c.text), c.text) for c in chunks]
        )
        self.table.finish(claimed, "v1", len(chunks))

    def segments(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/").get("Contents", [])
        return [item["Key"] for item in sorted(listed, key=lambda item: item["LastModified"])]

    def lose(self, *places: int) -> None:
        segments = self.segments()
        for place in places:
            self.s3.delete_object(Bucket=BUCKET, Key=segments[place])

    def spoil(self, place: int) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=self.segments()[place], Body=b"nonsense")

    def held(self) -> set[tuple[str, int]]:
        covered = self.index().covered()
        assert covered.damaged == ()
        return {(name, number) for (_, name, _), numbers in covered.chunks.items() for number in numbers}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3, dynamodb = boto3.client("s3"), boto3.client("dynamodb")
        s3.create_bucket(Bucket=BUCKET)
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        world = World(s3, dynamodb)
        for name in ("ants", "bees", "wasps"):
            world.put(name, [f"{name} {number}" for number in range(3)])
        yield world


ALL = {(name, number) for name in ("ants", "bees", "wasps") for number in range(3)}


def test_a_sound_index_is_left_alone(world: World) -> None:
    before = world.segments()

    assert world.repair.mend(world.index(), seconds_left=FOREVER) == 0
    assert world.segments() == before
    assert world.embedder.asked == []


@pytest.mark.parametrize("places", [(0,), (1, 2), (0, 1, 2)])
def test_what_lost_segments_held_is_embedded_again_and_nothing_else(world: World, places: tuple[int, ...]) -> None:
    world.lose(*places)

    assert world.repair.mend(world.index(), seconds_left=FOREVER) == len(places)
    assert world.held() == ALL
    assert len(world.embedder.asked) == 3 * len(places)


def test_a_segment_that_was_overwritten_is_made_again(world: World) -> None:
    world.spoil(1)

    assert world.repair.mend(world.index(), seconds_left=FOREVER) == 1
    assert world.held() == ALL


def test_chunks_of_documents_that_are_gone_do_not_come_back(world: World) -> None:
    world.table.mark_deleted("shared", "bees")
    world.lose(0, 1, 2)

    world.repair.mend(world.index(), seconds_left=FOREVER)

    assert world.held() == {chunk for chunk in ALL if chunk[0] != "bees"}


def test_a_document_deleted_while_it_is_embedded_does_not_come_back(world: World) -> None:
    world.lose(0, 1, 2)
    embed = world.embedder.embed

    def deleting(texts: Sequence[str]) -> list[list[float]]:
        world.table.mark_deleted("shared", "bees")
        return embed(texts)

    world.embedder.embed = deleting  # type: ignore[method-assign]  # something happens meanwhile
    world.repair.mend(world.index(), seconds_left=FOREVER)

    assert world.held() == {chunk for chunk in ALL if chunk[0] != "bees"}


def test_a_repair_whose_time_is_up_is_carried_on_by_the_next(world: World) -> None:
    world.put("long", [f"chapter {number}" for number in range(300)])
    world.lose(0, 1, 2, 3)
    turns = 0
    while world.repair.mend(world.index(), seconds_left=lambda: 20.0) is None:
        turns += 1
        # Each turn adds a batch, and no chunk is embedded twice.
        assert len(world.embedder.asked) == len(set(world.embedder.asked)) == 128 * turns

    assert turns == 2
    assert world.held() == ALL | {("long", number) for number in range(300)}


def test_with_hardly_any_time_left_no_page_is_begun(world: World) -> None:
    world.put("long", [f"chapter {number}" for number in range(600)])
    world.lose(0)

    assert world.repair.mend(world.index(), seconds_left=lambda: 1.0) is None


def test_two_repairs_at_once_do_no_harm(world: World) -> None:
    world.lose(0, 2)
    embed = world.embedder.embed
    again = [True]

    def meanwhile(texts: Sequence[str]) -> list[list[float]]:
        if again.pop() if again else False:
            assert world.repair.mend(world.index(), seconds_left=FOREVER) == 2
        return embed(texts)

    world.embedder.embed = meanwhile  # type: ignore[method-assign]  # something happens meanwhile
    world.repair.mend(world.index(), seconds_left=FOREVER)

    assert world.held() == ALL


def markers(cloud: Cloud) -> list[str]:
    listed = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="indexes/faiss/damaged/").get("Contents", [])
    return [item["Key"] for item in listed]


@pytest.fixture
def damaged(cloud: Cloud) -> Cloud:
    """Two documents are found; then both segments are lost, and new processes begin."""
    cloud.add("bees.txt", "Bees hum in May.")
    cloud.settle()
    cloud.add("more.txt", "Bees hum in June.")
    cloud.settle()
    assert len(cloud.ask("bees hum")) == 2
    for item in cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/")["Contents"]:
        cloud.s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    cloud.retrieval.retrieval.cache_clear()
    cloud.ingestion.ingestion.cache_clear()
    return cloud


def test_retrieval_leaves_a_marker_and_ingestion_mends_the_index(damaged: Cloud) -> None:
    assert damaged.ask("bees hum") == []
    [marker] = markers(damaged)
    assert damaged.ask("bees hum") == []
    assert markers(damaged) == [marker]

    assert damaged.deliver(bucket_event(marker), bucket_event(marker)) == []

    assert {passage["text"] for passage in damaged.ask("bees hum")} == {"Bees hum in May.", "Bees hum in June."}
    assert markers(damaged) == []
    assert damaged.deliver(bucket_event(marker, "Object Deleted")) == []


def test_a_repair_that_fails_is_delivered_again(damaged: Cloud) -> None:
    damaged.ask("bees hum")
    [marker] = markers(damaged)
    damaged.titan.failure = client_error("ThrottlingException", 429)
    assert damaged.deliver(bucket_event(marker)) == ["m0"]
    damaged.titan.failure = None
    assert damaged.deliver(bucket_event(marker), attempt=2) == []
    assert len(damaged.ask("bees hum")) == 2


def test_a_repair_without_time_is_queued_anew(damaged: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged.ask("bees hum")
    [marker] = markers(damaged)
    monkeypatch.setattr(Repair, "mend", lambda *_, **__: None)
    assert damaged.deliver(bucket_event(marker)) == []
    assert [event["detail"]["object"]["key"] for event in damaged.queued("DOCUMENTS_QUEUE")] == [marker]
    assert markers(damaged) == [marker]


def test_an_index_that_is_no_longer_used_is_not_mended(damaged: Cloud) -> None:
    damaged.ask("bees hum")
    [marker] = markers(damaged)
    repairs = damaged.ingestion.repairs()
    unused = Indexes(active=IndexAddress("faiss", "b"), other=IndexAddress("faiss", "a"), phase=Phase.EMPTYING)
    assert repairs._record.swap(repairs._record.read(), unused) is not None

    assert damaged.deliver(bucket_event(marker)) == []
    assert markers(damaged) == []
    assert FaissStore(damaged.s3, BUCKET, PREFIX).count() == 0


def test_a_marker_that_cannot_be_written_fails_no_search(damaged: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise client_error("AccessDenied", 403)

    monkeypatch.setattr("parley.aws.documents_bucket.DocumentsBucket.write", refuse)
    assert damaged.ask("bees hum") == []
