"""Which index is searched and which are written, and moves between the three stores over their protocols' doubles."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws.faiss_store import FaissStore
from parley.aws.opensearch_http import Collection
from parley.aws.opensearch_store import OpenSearchStore
from parley.aws.s3_vectors_store import S3VectorsStore
from parley.functions.knowledge_parts import KnowledgeSettings
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.copying import ChunkPage
from parley.knowledge.documents import Document
from parley.knowledge.index_slots import (
    REFRESH_SECONDS,
    CurrentIndex,
    IndexAddress,
    Indexes,
    IndexNotDeployed,
    MaintainedIndex,
    Phase,
)
from parley.knowledge.reindexing import Reindexing

from tests.unit.conversation_doubles import Clock
from tests.unit.http_double import serving
from tests.unit.knowledge_doubles import ListIndex, bag_of_words
from tests.unit.opensearch_double import CREDENTIALS, VectorCollection
from tests.unit.opensearch_double import INDEX as COLLECTION_INDEX
from tests.unit.test_s3_vectors_store import INDEX as VECTORS_INDEX
from tests.unit.test_s3_vectors_store import Service as VectorsService

A, B = IndexAddress("faiss", "a"), IndexAddress("faiss", "b")


class Record:
    """The record of the indexes in memory."""

    def __init__(self, indexes: Indexes) -> None:
        self.indexes = indexes
        self.reads = 0

    def read(self) -> Indexes:
        self.reads += 1
        return self.indexes

    def swap(self, expected: Indexes, new: Indexes) -> Indexes | None:
        self.indexes = new
        return new


class Index(ListIndex):
    def clear(self) -> None:
        self.rows.clear()

    def forget(self, owner: str) -> None:
        self.rows = {id_: row for id_, row in self.rows.items() if id_.owner != owner}

    def count(self) -> int:
        return len(self.rows)


def chunk(name: str, text: str) -> IndexedChunk:
    return IndexedChunk(ChunkId("shared", name, "v1", 0), bag_of_words(text), text)


@pytest.fixture
def record() -> Record:
    return Record(Indexes(active=A))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slots() -> dict[IndexAddress, Index]:
    return {A: Index(), B: Index()}


@pytest.fixture
def current(record: Record, slots: dict[IndexAddress, Index], clock: Clock) -> CurrentIndex:
    return CurrentIndex(record, ("faiss",), slots.__getitem__, clock)


def found(index: CurrentIndex) -> list[str]:
    index.prepare()
    return [hit.id.document_id for hit in index.search(bag_of_words("bees"), owners=["shared"], limit=5)]


def test_addresses_are_written_as_store_and_slot() -> None:
    assert IndexAddress.parse("faiss/b") == B
    assert str(A.sibling()) == "faiss/b"
    for wrong in ("faiss", "faiss/c", "/a", ""):
        with pytest.raises(ValueError, match="no address"):
            IndexAddress.parse(wrong)


def test_a_switch_is_seen_within_seconds_and_not_asked_for_at_each_search(
    current: CurrentIndex, record: Record, slots: dict[IndexAddress, Index], clock: Clock
) -> None:
    slots[A].add([chunk("old", "bees")])
    slots[B].add([chunk("new", "bees")])
    assert found(current) == found(current) == ["old"]
    assert record.reads == 1
    record.indexes = Indexes(active=B)
    assert found(current) == ["old"]
    clock.now += REFRESH_SECONDS
    assert found(current) == ["new"]
    assert current.active_store == "faiss"


def test_a_clock_that_was_set_back_does_not_keep_an_old_index(
    current: CurrentIndex, record: Record, slots: dict[IndexAddress, Index], clock: Clock
) -> None:
    slots[B].add([chunk("new", "bees")])
    found(current)
    record.indexes = Indexes(active=B)
    clock.now -= 3600
    assert found(current) == ["new"]


def test_a_search_without_preparation_prepares(current: CurrentIndex, slots: dict[IndexAddress, Index]) -> None:
    assert current.active_store is None
    slots[A].add([chunk("old", "bees")])
    assert current.search(bag_of_words("bees"), owners=["shared"], limit=5) != []


@pytest.mark.parametrize("phase", list(Phase))
def test_the_other_index_is_written_while_it_is_built_or_retires(
    current: CurrentIndex, record: Record, slots: dict[IndexAddress, Index], phase: Phase
) -> None:
    record.indexes = Indexes(active=A, other=B, phase=phase)
    current.add([chunk("new", "bees")])
    assert len(slots[A].rows) == 1
    assert len(slots[B].rows) == (phase in (Phase.BUILDING, Phase.RETIRING))
    current.remove([chunk("new", "bees").id])
    assert slots[A].rows == slots[B].rows == {}


def test_a_write_that_began_before_the_building_goes_into_the_new_index_too(
    record: Record, slots: dict[IndexAddress, Index]
) -> None:
    class Slow(Index):
        def add(self, chunks: Any) -> None:
            super().add(chunks)
            record.indexes = Indexes(active=A, other=B, phase=Phase.BUILDING)

    slots[A] = Slow()
    CurrentIndex(record, ("faiss",), slots.__getitem__).add([chunk("new", "bees")])
    assert len(slots[B].rows) == 1


def test_an_index_in_a_store_that_is_not_deployed_is_neither_read_nor_written(
    record: Record, slots: dict[IndexAddress, Index]
) -> None:
    moved = IndexAddress("s3vectors", "a")
    slots[moved] = Index()
    current = CurrentIndex(record, ("s3vectors",), slots.__getitem__)
    with pytest.raises(IndexNotDeployed):
        current.prepare()
    with pytest.raises(IndexNotDeployed):
        current.add([chunk("new", "bees")])
    # A reindex into the store that there is mends it, and what comes meanwhile is in it.
    record.indexes = Indexes(active=A, other=moved, phase=Phase.BUILDING)
    current.add([chunk("new", "bees")])
    assert len(slots[moved].rows) == 1


def test_the_thresholds_are_those_of_the_store_that_is_searched() -> None:
    settings = KnowledgeSettings(
        knowledge_table="t",
        documents_bucket="b",
        embedding_model="amazon.titan-embed-text-v2:0",
        vector_store="s3vectors",
        previous_vector_store="faiss",
    )
    assert settings.vector_stores() == ("s3vectors", "faiss")
    assert settings.calibration("faiss") != settings.calibration() == settings.calibration("s3vectors")


class Stored:
    """Three documents of one chunk."""

    texts = ("Bees hum.", "Wasps sting.", "Ants march.")

    def page(self, after: object, *, limit: int) -> ChunkPage:
        return ChunkPage({self.id(number): self.chunk(number) for number in range(3)}, None)

    def count_current(self) -> int:
        return 3

    def documents(self, keys: Any) -> dict[tuple[str, str], Document]:
        return {
            (owner, id_): Document(owner=owner, document_id=id_, name="", key="", version="v1") for owner, id_ in keys
        }

    def chunks(self, ids: Any) -> dict[ChunkId, Chunk]:
        return {self.id(number): self.chunk(number) for number in range(3) if self.id(number) in ids}

    @staticmethod
    def id(number: int) -> ChunkId:
        return ChunkId("shared", f"d{number}", "v1", 0)

    def chunk(self, number: int) -> Chunk:
        return Chunk(0, self.texts[number])


class Embedder:
    def embed(self, texts: Any) -> list[list[float]]:
        return [bag_of_words(text) for text in texts]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[IndexAddress], MaintainedIndex]]:
    """The real stores: FAISS over moto's S3, the others over HTTP against servers that speak their protocols."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    # Made before moto takes over: these requests go to the server.
    vectors_service, collection = VectorsService(), VectorCollection()
    with serving(vectors_service.answer) as vectors, serving(collection.answer) as documents:
        s3_vectors = boto3.client("s3vectors", endpoint_url=vectors.url)
        http = Collection(documents.url, credentials=CREDENTIALS, region="us-east-1")
        with mock_aws(config={"core": {"passthrough": {"urls": [f"{vectors.url}.*", f"{documents.url}.*"]}}}):
            s3 = boto3.client("s3")
            s3.create_bucket(Bucket="documents-bucket")
            stores: dict[str, Callable[[str], MaintainedIndex]] = {
                "faiss": lambda slot: FaissStore(s3, "documents-bucket", f"indexes/faiss/{slot}/"),
                "s3vectors": lambda _: S3VectorsStore(
                    VECTORS_INDEX, for_searches=lambda: s3_vectors, for_writes=lambda: s3_vectors
                ),
                "opensearch": lambda _: OpenSearchStore(lambda: http, COLLECTION_INDEX),
            }
            yield lambda address: stores[address.store](address.slot)


@pytest.mark.parametrize(
    ("origin", "store"),
    [
        (origin, store)
        for origin in ("faiss", "s3vectors", "opensearch")
        for store in ("faiss", "s3vectors", "opensearch")
        if origin != store
    ],
)
def test_an_index_moves_between_any_two_stores(
    opened: Callable[[IndexAddress], MaintainedIndex], origin: str, store: str
) -> None:
    stores = (store, origin)
    old = IndexAddress(origin, "a")
    record = Record(Indexes(active=old))
    stale = IndexedChunk(ChunkId("shared", "gone", "v1", 0), bag_of_words("Bees hum."), "Bees hum.")
    CurrentIndex(record, stores, opened).add([stale])
    reindexing = Reindexing(
        record=record, stored=Stored(), embedder=Embedder(), stores=stores, open=opened, pause=lambda _: None
    )

    result = reindexing.run(store)

    assert (str(result.active), str(result.previous), result.found) == (f"{store}/a", f"{origin}/a", 3)
    current = CurrentIndex(record, stores, opened)
    current.prepare()
    hits = current.search(bag_of_words("Bees hum."), owners=["shared"], limit=5, text="bees hum")
    assert hits[0].id == Stored.id(0)
    assert stale.id not in [hit.id for hit in hits]
    assert opened(old).count() == 0
