"""A deleted user's documents in the vector indexes: not hidden, but gone from every file and every version of it."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws import clients
from parley.aws.faiss_segment import encode_chunks
from parley.aws.faiss_store import FaissStore
from parley.aws.items import to_item
from parley.aws.opensearch_http import Collection
from parley.aws.opensearch_store import OpenSearchStore
from parley.aws.personal_files import Files
from parley.aws.s3_vectors_store import S3VectorsStore, vector_key
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import ChunkId, IndexedChunk
from parley.knowledge.documents import SHARED, owner_of

from tests.unit.conversation_doubles import Context
from tests.unit.http_double import serving
from tests.unit.knowledge_doubles import bag_of_words
from tests.unit.opensearch_double import CREDENTIALS, INDEX, VectorCollection

ADA, BOB = owner_of("ada-0001"), owner_of("bob-0002")
BUCKET, PREFIX = "documents", "indexes/faiss/a/"


def document(owner: str, name: str, *texts: str, version: str = "v1") -> list[IndexedChunk]:
    return [
        IndexedChunk(ChunkId(owner, name, version, number), bag_of_words(text), text)
        for number, text in enumerate(texts)
    ]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "t",
        "AWS_SECRET_ACCESS_KEY": "t",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


def versions(s3: Any) -> list[bytes]:
    """The content of every version of every object."""
    found = s3.list_object_versions(Bucket=BUCKET).get("Versions", [])
    return [s3.get_object(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])["Body"].read() for each in found]


def owners_found(index: Any, *owners: str) -> set[str]:
    index.prepare()
    return {hit.id.owner for hit in index.search(bag_of_words("boat harbour"), owners=owners, limit=100)}


def test_no_file_of_the_index_holds_a_forgotten_owner(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    for number in range(5):
        index.add(
            [
                *document(ADA, f"ada-{number}", "the boat of ada in the harbour", "another boat"),
                *document(BOB, f"bob-{number}", "the boat of bob in the harbour"),
            ]
        )
    index.add(document(SHARED, "notice", "a boat in the harbour"))
    index.add(document(ADA, "alone", "nothing but ada's boat in the harbour"))
    index.remove([chunk.id for chunk in document(ADA, "ada-1", "x")])
    index.remove([chunk.id for chunk in document(BOB, "bob-1", "x")])
    assert owners_found(index, ADA, BOB, SHARED) == {ADA, BOB, SHARED}

    index.forget(ADA)

    fresh = FaissStore(s3, BUCKET, PREFIX)
    assert owners_found(fresh, ADA, BOB, SHARED) == {BOB, SHARED}
    assert fresh.count() == 4 + 1
    # The bucket keeps what was replaced and deleted, until that goes too.
    assert any(ADA.encode() in content for content in versions(s3))
    assert sum(Files(BUCKET, s3).erase("indexes/faiss/", current=False)) > 5
    assert not any(ADA.encode() in content or b"ada-" in content for content in versions(s3))
    assert s3.list_object_versions(Bucket=BUCKET).get("DeleteMarkers", []) == []
    again = FaissStore(s3, BUCKET, PREFIX)
    assert owners_found(again, ADA, BOB, SHARED) == {BOB, SHARED}
    # Bob's removal still counts: his segments know of it.
    again.prepare()
    found = again.search(bag_of_words("boat harbour"), owners=[BOB], limit=100)
    assert {hit.id.document_id for hit in found} == {"bob-0", "bob-2", "bob-3", "bob-4"}


def test_forgetting_nobody_known_writes_nothing(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.forget(ADA)
    index.add(document(BOB, "bob", "a boat"))
    before = versions(s3)
    index.forget(ADA)
    assert versions(s3) == before


def test_what_is_added_while_an_owner_is_forgotten_stays(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index, other = FaissStore(s3, BUCKET, PREFIX), FaissStore(s3, BUCKET, PREFIX)
    index.add([*document(ADA, "ada", "the boat of ada"), *document(BOB, "bob", "the boat of bob")])
    write = FaissStore._write
    happened = False

    def meanwhile(self: Any, content: bytes, rows: int) -> Any:
        nonlocal happened
        if self is index and not happened:
            happened = True
            other.add(document(SHARED, "new", "a boat"))
            other.add(document(ADA, "late", "a late boat of ada"))
        return write(self, content, rows)

    monkeypatch.setattr(FaissStore, "_write", meanwhile)
    index.forget(ADA)

    assert happened
    assert owners_found(FaissStore(s3, BUCKET, PREFIX), ADA, BOB, SHARED) == {BOB, SHARED}


def test_while_a_segment_is_damaged_nobody_can_say_that_it_forgot(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document(ADA, "ada", "a boat"))
    [key] = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/")["Contents"]]
    content, _ = encode_chunks(document(ADA, "ada", "a boat"))
    s3.put_object(Bucket=BUCKET, Key=key, Body=content[:-1])
    with pytest.raises(StoreUnavailable):
        index.forget(ADA)


def test_a_segment_that_is_gone_is_waited_for_and_no_longer(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document(ADA, "ada", "a boat"))
    [key] = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/")["Contents"]]
    s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(StoreUnavailable):
        index.forget(ADA)


def test_the_deployed_function_takes_an_owners_documents_out(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_METRICS_NAMESPACE": "Parley",
        "POWERTOOLS_SERVICE_NAME": "test",
        "KNOWLEDGE_TABLE": "knowledge",
        "DOCUMENTS_BUCKET": BUCKET,
        "EMBEDDING_MODEL": "amazon.titan-embed-text-v2:0",
        "VECTOR_STORE": "faiss",
    }.items():
        monkeypatch.setenv(name, value)
    clients.dynamodb.cache_clear()
    clients.s3.cache_clear()
    table = clients.dynamodb()
    table.create_table(
        TableName="knowledge",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    index = FaissStore(s3, BUCKET, PREFIX)
    for owner in (ADA, BOB):
        record = {"pk": owner, "sk": "document#d", "name": "d.md", "key": "k", "state": "ready", "version": "v1"}
        table.put_item(TableName="knowledge", Item=to_item(record))
        chunk = {"pk": f"{owner}#d", "sk": "chunk#v1#000000", "text": "a boat"}
        table.put_item(TableName="knowledge", Item=to_item(chunk))
        index.add(document(owner, "d", "a boat in the harbour"))
    module = importlib.import_module("parley.functions.forgetting")
    module.forgetting.cache_clear()

    assert module.handler({"owner": ADA, "correlation_id": "c-1"}, Context()) == {"forgotten": True}

    assert not any(ADA.encode() in content for content in versions(s3))
    assert owners_found(FaissStore(s3, BUCKET, PREFIX), ADA, BOB) == {BOB}
    items = {item["pk"]["S"]: item for item in table.scan(TableName="knowledge")["Items"] if "deleted" in item}
    # Whoever deletes the user deletes the record too; until then it bars what comes late.
    assert set(items) == {ADA}
    module.forgetting.cache_clear()


def test_s3_vectors_deletes_every_vector_of_an_owner_whatever_the_table_knows() -> None:
    class Client:
        def __init__(self) -> None:
            self.keys = [vector_key(ChunkId(owner, "d", "v", n)) for owner in (ADA, BOB) for n in range(600)]

        def get_paginator(self, operation: str) -> Any:
            assert operation == "list_vectors"
            return self

        def paginate(self, *, indexArn: str) -> Iterator[Any]:
            keys = list(self.keys)
            for start in range(0, len(keys), 250):
                yield {"vectors": [{"key": key} for key in keys[start : start + 250]]}

        def delete_vectors(self, *, indexArn: str, keys: Sequence[str]) -> None:
            assert 1 <= len(keys) <= 500
            self.keys = [key for key in self.keys if key not in set(keys)]

    client: Any = Client()
    S3VectorsStore("arn", for_searches=lambda: client, for_writes=lambda: client).forget(ADA)
    assert {key.split("/")[0] for key in client.keys} == {BOB}
    assert len(client.keys) == 600


def test_opensearch_deletes_every_copy_of_an_owners_chunks() -> None:
    collection = VectorCollection()
    with serving(collection.answer) as server:
        http = Collection(f"{server.url}/", credentials=CREDENTIALS, region="us-east-1", pause=lambda _: None)
        store = OpenSearchStore(lambda: http, INDEX)
        store.add([*document(ADA, "ada", "a boat", "two boats"), *document(BOB, "bob", "a boat")])
        store.forget(ADA)
        store.forget(ADA)
        assert owners_found(store, ADA, BOB) == {BOB}
        assert store.count() == 1
