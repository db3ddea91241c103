"""A chunk changed in the knowledge table is embedded again: over moto's DynamoDB, and through the function."""

import importlib
import json
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws.knowledge_table import KnowledgeTable, changed_chunk
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import Document
from parley.knowledge.reembedding import Reembedding

from tests.unit.knowledge_doubles import ListIndex, WordEmbedder, bag_of_words

TABLE = "knowledge"
DOCUMENT = Document(owner="user-ada", document_id="d1", name="Bees.md", key="documents/user-ada/d1/Bees.md", size=9)
CHUNKS = [Chunk(0, "Bees dance.", "Bees"), Chunk(1, "Honey is sweet.", "Bees"), Chunk(2, "Winter is long.")]


def chunk_id(number: int, version: str = "v1") -> ChunkId:
    return ChunkId("user-ada", "d1", version, number)


class Embedder(WordEmbedder):
    """Refuses some texts for good, as Bedrock refuses an empty or an endless one, or is throttled."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.throttled = False

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors = super().embed(texts)
        if self.throttled:
            raise KnowledgeUnavailable
        if self.refused & set(texts):
            raise ClientError({"Error": {"Code": "ValidationException"}}, "InvokeModel")
        return vectors


class Index(ListIndex):
    """Remembers each write; `meanwhile` happens just before one."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[IndexedChunk]] = []
        self.meanwhile: Any = lambda: None
        self.fails = False

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        self.meanwhile()
        if self.fails:
            raise StoreUnavailable
        self.writes.append(list(chunks))
        super().add(chunks)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
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
        yield client


@pytest.fixture
def table(client: Any) -> KnowledgeTable:
    """One document as ingestion leaves it."""
    table = KnowledgeTable(TABLE, client, pause=lambda _: None)
    table.put_new(DOCUMENT)
    claimed = table.claim(DOCUMENT, "v1", 9)
    assert claimed is not None
    table.put_chunks(claimed, "v1", CHUNKS)
    table.finish(claimed, "v1", len(CHUNKS))
    return table


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def reembedding(table: KnowledgeTable, embedder: Embedder, index: Index) -> Reembedding:
    return Reembedding(records=table, embedder=embedder, index=index)


def change(client: Any, number: int, text: str, version: str = "v1") -> ChunkId:
    """What a person does to a chunk in the table."""
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "user-ada#d1"}, "sk": {"S": f"chunk#{version}#{number:06d}"}},
        UpdateExpression="SET #text = :text",
        ExpressionAttributeNames={"#text": "text"},
        ExpressionAttributeValues={":text": {"S": text}},
    )
    return chunk_id(number, version)


def test_a_changed_chunk_gets_a_new_entry_in_the_index(
    client: Any, reembedding: Reembedding, index: Index, table: KnowledgeTable
) -> None:
    id_ = change(client, 1, "Wax is soft.")
    renewal = reembedding.renew([id_, id_])
    assert (renewal.renewed, renewal.failures) == ([id_], {})
    assert index.writes == [[IndexedChunk(id_, bag_of_words("Bees\nWax is soft."), "Bees\nWax is soft.")]]
    assert table.chunks([id_])[id_].text == "Wax is soft."


def test_what_ingestion_wrote_is_not_embedded_twice(reembedding: Reembedding, embedder: Embedder, index: Index) -> None:
    renewal = reembedding.renew([chunk_id(number) for number in range(3)])
    assert (renewal.renewed, renewal.failures) == ([], {})
    assert (embedder.asked, index.writes) == ([], [])


def test_its_own_mark_comes_back_through_the_stream_and_ends_there(
    client: Any, reembedding: Reembedding, embedder: Embedder
) -> None:
    id_ = change(client, 0, "Bees sing.")
    reembedding.renew([id_])
    reembedding.renew([id_])
    assert embedder.asked == ["Bees\nBees sing."]


def test_a_chunk_whose_other_attributes_changed_needs_nothing(
    client: Any, reembedding: Reembedding, embedder: Embedder
) -> None:
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "user-ada#d1"}, "sk": {"S": "chunk#v1#000000"}},
        UpdateExpression="SET note = :note",
        ExpressionAttributeValues={":note": {"S": "reviewed"}},
    )
    reembedding.renew([chunk_id(0)])
    assert embedder.asked == []


def test_a_chunk_put_by_hand_is_embedded_too(client: Any, reembedding: Reembedding, index: Index) -> None:
    client.put_item(
        TableName=TABLE,
        Item={"pk": {"S": "user-ada#d1"}, "sk": {"S": "chunk#v1#000007"}, "text": {"S": "Drones are idle."}},
    )
    assert reembedding.renew([chunk_id(7)]).renewed == [chunk_id(7)]
    assert set(index.rows) == {chunk_id(7)}
    assert reembedding.renew([chunk_id(7)]).renewed == []


def test_a_chunk_that_went_or_lost_its_text_needs_nothing(
    client: Any, reembedding: Reembedding, table: KnowledgeTable, embedder: Embedder
) -> None:
    table.delete_chunks([chunk_id(0)])
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "user-ada#d1"}, "sk": {"S": "chunk#v1#000001"}},
        UpdateExpression="REMOVE #text",
        ExpressionAttributeNames={"#text": "text"},
    )
    assert reembedding.renew([chunk_id(0), chunk_id(1)]).renewed == []
    assert embedder.asked == []
    assert set(table.chunks([chunk_id(0), chunk_id(1), chunk_id(2)])) == {chunk_id(2)}


def test_changes_of_versions_that_nobody_retrieves_are_ignored(
    client: Any, reembedding: Reembedding, table: KnowledgeTable, embedder: Embedder
) -> None:
    old = change(client, 0, "Old bees.", version="v0")
    current = change(client, 1, "New honey.")
    table.mark_deleted("user-ada", "d1")
    assert reembedding.renew([old, current]).renewed == []
    assert embedder.asked == []


def test_a_chunk_of_a_version_that_is_still_being_indexed_is_mended(
    client: Any, reembedding: Reembedding, table: KnowledgeTable
) -> None:
    claimed = table.claim(DOCUMENT, "v2", 9)
    assert claimed is not None
    table.put_chunks(claimed, "v2", CHUNKS)
    id_ = change(client, 0, "Bees hum.", version="v2")
    assert reembedding.renew([id_]).renewed == [id_]


def test_a_text_that_the_model_refuses_takes_no_other_with_it(
    client: Any, reembedding: Reembedding, embedder: Embedder, index: Index
) -> None:
    ids = [change(client, number, f"text {number}") for number in range(3)]
    embedder.refused = {"Bees\ntext 1"}
    renewal = reembedding.renew(ids)
    assert renewal.renewed == [ids[0], ids[2]]
    assert list(renewal.failures) == [ids[1]]
    assert set(index.rows) == {ids[0], ids[2]}
    embedder.refused = set()
    assert reembedding.renew(ids).renewed == [ids[1]]


def test_a_throttled_model_is_not_asked_text_by_text(
    client: Any, reembedding: Reembedding, embedder: Embedder, index: Index
) -> None:
    ids = [change(client, number, f"text {number}") for number in range(3)]
    embedder.throttled = True
    renewal = reembedding.renew(ids)
    assert (renewal.renewed, list(renewal.failures)) == ([], ids)
    assert len(embedder.asked) == 3
    assert index.writes == []


def test_a_failing_index_leaves_the_chunk_to_be_embedded_again(
    client: Any, reembedding: Reembedding, index: Index
) -> None:
    id_ = change(client, 0, "Bees hum.")
    index.fails = True
    with pytest.raises(StoreUnavailable):
        reembedding.renew([id_])
    index.fails = False
    assert reembedding.renew([id_]).renewed == [id_]


def test_a_text_that_changed_meanwhile_is_embedded_once_more(
    client: Any, reembedding: Reembedding, index: Index
) -> None:
    id_ = change(client, 0, "first")
    index.meanwhile = lambda: change(client, 0, "second")
    reembedding.renew([id_])
    index.meanwhile = lambda: None
    assert reembedding.renew([id_]).renewed == [id_]
    assert index.rows[id_] == bag_of_words("Bees\nsecond")


def test_a_document_deleted_meanwhile_leaves_nothing_in_the_index(
    client: Any, reembedding: Reembedding, index: Index, table: KnowledgeTable
) -> None:
    id_ = change(client, 0, "Bees hum.")

    def delete() -> None:
        table.mark_deleted("user-ada", "d1")
        index.remove([id_])
        table.delete_chunks([id_])

    index.meanwhile = delete
    reembedding.renew([id_])
    assert index.rows == {}
    assert table.chunk_ids("user-ada", "d1") == [chunk_id(1), chunk_id(2)]


@pytest.mark.parametrize(
    ("sort_key", "number"),
    [("chunk#v1#000012", 12), ("document#d1", None), ("chunk#v1", None), ("chunk#v1#notes", None)],
)
def test_only_chunks_are_followed(sort_key: str, number: int | None) -> None:
    keys = {"pk": {"S": "user-ada#d1"}, "sk": {"S": sort_key}}
    assert changed_chunk(keys) == (None if number is None else chunk_id(number))


class Context:
    function_name = "reembedding"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:reembedding"
    aws_request_id = "request-1"


class TestTheFunction:
    @pytest.fixture
    def function(self, reembedding: Reembedding, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "reembedding")
        monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
        function = importlib.import_module("parley.functions.reembedding")
        monkeypatch.setattr(function, "reembedding", lambda: reembedding)
        return function

    def deliver(self, function: ModuleType, *sort_keys: str) -> list[str]:
        """Stream records of these items; returns the sequence numbers of those that failed."""
        records = [
            {
                "eventID": f"event-{number}",
                "eventName": "MODIFY",
                "eventSource": "aws:dynamodb",
                "dynamodb": {
                    "Keys": {"pk": {"S": "user-ada#d1"}, "sk": {"S": sort_key}},
                    "SequenceNumber": f"{number}",
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            }
            for number, sort_key in enumerate(sort_keys)
        ]
        answer = function.handler({"Records": records}, Context())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def test_it_follows_changes_and_counts_them(
        self, function: ModuleType, client: Any, index: Index, capsys: pytest.CaptureFixture[str]
    ) -> None:
        id_ = change(client, 1, "Wax is soft.")
        assert self.deliver(function, "chunk#v1#000000", "chunk#v1#000001", "document#d1") == []
        assert set(index.rows) == {id_}
        output = capsys.readouterr().out
        measured = [json.loads(line) for line in output.splitlines() if "ChunksReembedded" in line]
        assert measured[0]["ChunksReembedded"] == [1.0]
        assert "Wax" not in output

    def test_only_the_records_that_failed_are_delivered_again(
        self,
        function: ModuleType,
        client: Any,
        embedder: Embedder,
        index: Index,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for number in range(3):
            change(client, number, f"secret {number}")
        embedder.refused = {"Bees\nsecret 1"}
        sort_keys = [f"chunk#v1#{number:06d}" for number in range(3)]
        assert self.deliver(function, *sort_keys) == ["1"]
        assert set(index.rows) == {chunk_id(0), chunk_id(2)}
        output = capsys.readouterr().out
        assert "ReembeddingFailures" in output
        assert "secret" not in output

    def test_every_record_failing_is_reported_record_by_record(
        self, function: ModuleType, client: Any, embedder: Embedder
    ) -> None:
        embedder.throttled = True
        change(client, 0, "text")
        change(client, 1, "text")
        assert self.deliver(function, "chunk#v1#000000", "chunk#v1#000001") == ["0", "1"]


def test_the_function_is_made_of_this_deployments_parts(
    client: Any, monkeypatch: pytest.MonkeyPatch, table: KnowledgeTable
) -> None:
    settings = {"KNOWLEDGE_TABLE": TABLE, "DOCUMENTS_BUCKET": "bucket", "VECTOR_STORE": "faiss", "EMBEDDING_MODEL": "m"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    function = importlib.import_module("parley.functions.reembedding")
    function.reembedding.cache_clear()
    try:
        assert function.reembedding().renew([chunk_id(0)]).renewed == []
    finally:
        function.reembedding.cache_clear()
