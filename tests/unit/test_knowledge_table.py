from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws.knowledge_table import BATCH_ATTEMPTS, DELETED_RECORD_SECONDS, KnowledgeTable
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Checkpoint, Document, DocumentState
from parley.knowledge.errors import Superseded

TABLE = "knowledge"
NEW = Document(owner="user-ada", document_id="d1", name="Notes.txt", key="documents/user-ada/d1/Notes.txt", size=7)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(client: Any, clock: Clock) -> KnowledgeTable:
    return KnowledgeTable(TABLE, client, clock=clock, pause=lambda _: None)


def item(client: Any) -> Any:
    [found] = client.scan(TableName=TABLE)["Items"]
    return found


def test_a_new_record_is_pending_and_dated(table: KnowledgeTable) -> None:
    stored = table.put_new(NEW)
    assert stored == table.document("user-ada", "d1")
    assert stored.state is DocumentState.PENDING
    assert stored.created_at == stored.updated_at == "2027-01-15T08:00:00.000+00:00"


def test_a_record_is_never_overwritten_by_a_new_one(table: KnowledgeTable) -> None:
    first = table.put_new(NEW)
    second = Document(owner="user-ada", document_id="d1", name="Other.txt", key="other")
    assert table.put_new(second) == first


def test_a_record_that_nobody_used_vanishes(table: KnowledgeTable, client: Any, clock: Clock) -> None:
    table.put_new(NEW, unless_used_within_seconds=60)
    assert item(client)["expires_at"] == {"N": str(int(clock.now) + 60)}
    clock.now += 61
    assert table.document("user-ada", "d1") is None
    assert table.list_documents("user-ada", limit=5, before=None) == []


def test_a_claim_keeps_a_record(table: KnowledgeTable, client: Any) -> None:
    table.claim(table.put_new(NEW, unless_used_within_seconds=60), "v1", 7)
    assert "expires_at" not in item(client)


def test_a_version_is_claimed_then_finished(table: KnowledgeTable) -> None:
    claimed = table.claim(table.put_new(NEW), "v1", 9)
    assert claimed is not None
    assert (claimed.state, claimed.claim, claimed.version, claimed.size) == (DocumentState.INDEXING, "v1", None, 9)
    table.finish(claimed, "v1", 3)
    ready = table.document("user-ada", "d1")
    assert ready is not None
    assert (ready.state, ready.version, ready.chunk_count) == (DocumentState.READY, "v1", 3)


def test_the_last_claim_wins(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    table.claim(record, "v1", 7)
    table.claim(record, "v2", 7)
    with pytest.raises(Superseded):
        table.finish(record, "v1", 1)
    table.fail(record, "v1", "Too late to say.")
    current = table.document("user-ada", "d1")
    assert current is not None
    assert (current.state, current.reason) == (DocumentState.INDEXING, None)


def test_a_failure_is_told_and_forgotten_by_the_next_claim(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    table.claim(record, "v1", 7)
    table.fail(record, "v1", "It is empty.")
    failed = table.document("user-ada", "d1")
    assert failed is not None
    assert (failed.state, failed.reason) == (DocumentState.FAILED, "It is empty.")
    again = table.claim(record, "v2", 7)
    assert again is not None
    assert again.reason is None


def test_a_worker_that_fails_beside_one_that_finished_changes_nothing(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    table.claim(record, "v1", 7)
    table.finish(record, "v1", 1)
    table.fail(record, "v1", "The second worker was throttled.")
    current = table.document("user-ada", "d1")
    assert current is not None
    assert current.state is DocumentState.READY


def test_a_checkpoint_is_kept_for_its_version_until_that_is_finished(table: KnowledgeTable) -> None:
    claimed = table.claim(table.put_new(NEW), "v1", 7)
    assert claimed is not None
    table.checkpoint(claimed, "v1", 500)
    table.fail(claimed, "v1", "Throttled.")
    stored = table.document("user-ada", "d1")
    assert stored is not None
    assert stored.checkpoint == Checkpoint("v1", 500)
    again = table.claim(stored, "v1", 7)
    assert again is not None
    assert again.checkpoint == Checkpoint("v1", 500)
    newer = table.claim(again, "v2", 7)
    assert newer is not None
    assert newer.checkpoint is None
    with pytest.raises(Superseded):
        table.checkpoint(again, "v1", 1_000)
    table.checkpoint(newer, "v2", 500)
    table.finish(newer, "v2", 600)
    finished = table.document("user-ada", "d1")
    assert finished is not None
    assert (finished.version, finished.checkpoint) == ("v2", None)


def test_a_version_that_is_retrieved_is_not_claimed_again(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    claimed = table.claim(record, "v1", 7)
    assert claimed is not None
    table.finish(claimed, "v1", 1)
    assert table.claim(record, "v1", 7) is None
    stored = table.document("user-ada", "d1")
    assert stored is not None
    assert (stored.state, stored.version) == (DocumentState.READY, "v1")


def test_a_records_fields_are_kept_with_its_chunk(table: KnowledgeTable) -> None:
    chunk = Chunk(number=0, text="Tea", metadata={"name": "Tea", "price": 3.5, "stock": 12, "organic": True})
    table.put_chunks(NEW, "v1", [chunk])
    assert list(table.chunks([ChunkId("user-ada", "d1", "v1", 0)]).values()) == [chunk]


def test_a_replacement_with_new_text_hides_the_old_at_once(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    table.claim(record, "v1", 7)
    table.finish(record, "v1", 1)
    kept = table.replace(record, keep_version=True)
    assert kept is not None
    assert (kept.state, kept.version) == (DocumentState.PENDING, "v1")
    hidden = table.replace(record, keep_version=False)
    assert hidden is not None
    assert (hidden.version, hidden.claim) == (None, None)


def test_a_deleted_record_takes_no_more_changes(table: KnowledgeTable, client: Any, clock: Clock) -> None:
    record = table.put_new(NEW)
    table.claim(record, "v1", 7)
    deleted = table.mark_deleted("user-ada", "d1")
    assert deleted is not None
    assert deleted.deleted
    assert item(client)["expires_at"] == {"N": str(int(clock.now) + DELETED_RECORD_SECONDS)}
    assert table.claim(record, "v2", 7) is None
    assert table.replace(record, keep_version=True) is None
    with pytest.raises(Superseded):
        table.finish(record, "v1", 1)
    assert table.list_documents("user-ada", limit=5, before=None) == []


def test_what_is_unknown_is_none(table: KnowledgeTable) -> None:
    assert table.document("user-ada", "d1") is None
    assert table.mark_deleted("user-ada", "d1") is None
    assert table.claim(NEW, "v1", 7) is None
    assert table.documents([("user-ada", "d1")]) == {}
    assert table.chunks([ChunkId("user-ada", "d1", "v1", 0)]) == {}
    assert table.read([("user-ada", "d1")], [ChunkId("user-ada", "d1", "v1", 0)]) == ({}, {})
    assert table.read([], []) == ({}, {})


def test_records_and_chunks_are_read_in_one_call(table: KnowledgeTable, client: Any) -> None:
    table.put_new(NEW)
    table.put_chunks(NEW, "v1", [Chunk(number=0, text="One"), Chunk(number=1, text="Two")])
    ids = table.chunk_ids("user-ada", "d1")
    calls: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))

    records, chunks = table.read([("user-ada", "d1"), ("user-ada", "unknown")], ids)

    assert records == {("user-ada", "d1"): table.document("user-ada", "d1")}
    assert chunks == {ids[0]: Chunk(number=0, text="One"), ids[1]: Chunk(number=1, text="Two")}
    assert calls == ["BatchGetItem", "GetItem"]


def test_a_claim_of_a_file_that_is_no_longer_the_documents_is_refused(table: KnowledgeTable) -> None:
    record = table.put_new(NEW)
    renamed = Document(owner="user-ada", document_id="d1", name="b.txt", key="documents/user-ada/d1/b.txt")
    table.replace(renamed, keep_version=True)
    assert table.claim(record, "v1", 7) is None


def test_a_list_skips_deleted_records_without_ending_early(table: KnowledgeTable) -> None:
    for number in range(12):
        table.put_new(Document(owner="user-ada", document_id=f"d{number:02}", name="a.txt", key="k"))
    for number in range(3, 12):
        table.mark_deleted("user-ada", f"d{number:02}")
    listed = [document.document_id for document in table.list_documents("user-ada", limit=2, before=None)]
    assert listed == ["d02", "d01"]
    assert [d.document_id for d in table.list_documents("user-ada", limit=2, before="d01")] == ["d00"]


def test_chunks_are_kept_by_version_and_number(table: KnowledgeTable) -> None:
    chunks = [Chunk(number=number, text=f"Text {number}", heading="H", page=2) for number in range(130)]
    table.put_chunks(NEW, "v#1", chunks)
    table.put_chunks(NEW, "v#1", chunks)
    table.put_chunks(NEW, "v2", [Chunk(number=0, text="Other")])
    ids = table.chunk_ids("user-ada", "d1")
    assert len(ids) == 131
    first = [id_ for id_ in ids if id_.version == "v#1"]
    assert [id_.number for id_ in first] == list(range(130))
    assert table.chunks(first) == dict(zip(first, chunks, strict=True))
    assert table.chunks([ChunkId("user-ada", "d1", "v2", 0)]) == {
        ChunkId("user-ada", "d1", "v2", 0): Chunk(number=0, text="Other")
    }
    table.delete_chunks(first)
    assert table.chunk_ids("user-ada", "d1") == [ChunkId("user-ada", "d1", "v2", 0)]


def test_what_a_batch_leaves_undone_is_tried_again(
    table: KnowledgeTable, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = client.batch_write_item, client.batch_get_item
    calls: list[str] = []

    def write_one(RequestItems: Any) -> Any:
        calls.append("write")
        write(RequestItems={TABLE: RequestItems[TABLE][:1]})
        rest = RequestItems[TABLE][1:]
        return {"UnprocessedItems": {TABLE: rest} if rest else {}}

    def read_one(RequestItems: Any) -> Any:
        calls.append("read")
        keys = RequestItems[TABLE]["Keys"]
        found = read(RequestItems={TABLE: {**RequestItems[TABLE], "Keys": keys[:1]}})
        rest = {TABLE: {**RequestItems[TABLE], "Keys": keys[1:]}} if keys[1:] else {}
        return {"Responses": found["Responses"], "UnprocessedKeys": rest}

    monkeypatch.setattr(client, "batch_write_item", write_one)
    monkeypatch.setattr(client, "batch_get_item", read_one)
    table.put_chunks(NEW, "v1", [Chunk(number=number, text="t") for number in range(3)])
    assert len(table.chunks(table.chunk_ids("user-ada", "d1"))) == 3
    assert calls == ["write"] * 3 + ["read"] * 3


def test_a_batch_that_never_gets_through_is_an_error(
    table: KnowledgeTable, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def refuse(RequestItems: Any) -> Any:
        calls.append(RequestItems)
        return {"UnprocessedItems": RequestItems}

    monkeypatch.setattr(client, "batch_write_item", refuse)
    with pytest.raises(StoreUnavailable):
        table.put_chunks(NEW, "v1", [Chunk(number=0, text="t")])
    assert len(calls) == BATCH_ATTEMPTS


def test_throttling_is_an_outage_and_a_mistake_is_not(table: KnowledgeTable, client: Any) -> None:
    def fail(code: str) -> None:
        def raise_it(**_: object) -> None:
            response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(response, "PutItem")

        client.put_item = client.update_item = raise_it

    fail("ProvisionedThroughputExceededException")
    with pytest.raises(StoreUnavailable):
        table.put_new(NEW)
    with pytest.raises(StoreUnavailable):
        table.mark_deleted("user-ada", "d1")
    fail("ValidationException")
    with pytest.raises(ClientError):
        table.put_new(NEW)
    with pytest.raises(ClientError):
        table.mark_deleted("user-ada", "d1")
