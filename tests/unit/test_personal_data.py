"""Exports and deletions through the functions that run them: moto's tables, buckets, queue and user pool."""

import importlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients, personal_data_records, personal_files, personal_items
from parley.aws.connection_posts import Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.content_encryption import ContentCipher
from parley.aws.conversation_table import ConversationTable
from parley.aws.credentials import CredentialTable
from parley.aws.idempotency import RequestsOnce, record_id
from parley.aws.items import to_item
from parley.aws.recordings import RecordingTable
from parley.aws.sessions import ConnectionTable, SessionTable
from parley.conversation.store import Exchange
from parley.conversation.turns import RequestKey, Turn, new_id
from parley.errors import StoreUnavailable
from parley.knowledge.documents import owner_of
from parley.privacy.deletion import DeletionState, pseudonym
from parley.speech.recordings import Recording, source_key, transcript_key

from tests.unit.conversation_doubles import Context

ADA, BOB = "ada-0001", "bob-0002"
KEYS: dict[str, tuple[str, ...]] = {
    "conversations": ("pk", "sk"),
    "knowledge": ("pk", "sk"),
    "usage": ("pk", "sk"),
    "idempotency": ("id",),
    "credentials": ("credential_id",),
    "sessions": ("session_id",),
    "connections": ("connection_id",),
    "audio_frames": ("session_id", "seq"),
}
BUCKETS = ("documents", "audio")
TURNS = 26
"""More than one batch holds."""
START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@dataclass
class Patient(Context):
    """An invocation whose time does not end, or ends soon."""

    left: list[float] = field(default_factory=list)

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self.left.pop(0) if self.left else 900))


@dataclass
class UserPool:
    """Cognito, as far as it is asked."""

    accounts: set[str]

    def admin_delete_user(self, *, UserPoolId: str, Username: str) -> None:
        assert UserPoolId == "pool"
        if Username not in self.accounts:
            raise ClientError({"Error": {"Code": "UserNotFoundException"}}, "AdminDeleteUser")
        self.accounts.remove(Username)


@dataclass
class World:
    """One deployment, with what two users left in it."""

    dynamodb: Any
    s3: Any
    sqs: Any
    queue: str
    dead_letters: str
    now: datetime = START
    forgotten: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    connection_failure: Exception | None = None
    conversations: dict[str, str] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)

    def http(self, method: str, path: str, *, subject: str = ADA) -> tuple[int, Any]:
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {},
            "body": None,
            "requestContext": {
                "requestId": "request-1",
                "stage": "$default",
                "http": {"method": method, "path": path, "sourceIp": "203.0.113.7"},
                "authorizer": {"jwt": {"claims": {"sub": subject}}},
            },
        }
        response = importlib.import_module("parley.functions.personal_data").handler(event, Context())
        return response["statusCode"], json.loads(response["body"])

    def messages(self, queue: str | None = None) -> list[dict[str, Any]]:
        found = self.sqs.receive_message(QueueUrl=queue or self.queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=queue or self.queue, ReceiptHandle=message["ReceiptHandle"])
        return list(found)

    def run(self, body: str, *, attempt: int = 1, left: list[float] | None = None) -> list[Any]:
        """One delivery; the failed ones."""
        record = {
            "messageId": "m-1",
            "receiptHandle": "r-1",
            "body": body,
            "attributes": {"ApproximateReceiveCount": str(attempt)},
        }
        handler = importlib.import_module("parley.functions.personal_data_jobs").handler
        return list(handler({"Records": [record]}, Patient(left=left or []))["batchItemFailures"])

    def work_off(self, *, left: list[float] | None = None) -> int:
        """Deliver messages until none comes back; how many there were. Time passes as they wait."""
        count = 0
        while True:
            waiting = self._queued()
            if not waiting:
                return count
            for body, delay in waiting:
                self.now += timedelta(seconds=delay)
                assert self.run(body, left=left) == []
                left = None
                count += 1

    def _queued(self) -> list[tuple[str, int]]:
        found = list(SENT)
        SENT.clear()
        return found

    def everything(self) -> str:
        """All items of all tables and all versions of all objects, as text."""
        texts = []
        for table in KEYS:
            for page in self.dynamodb.get_paginator("scan").paginate(TableName=table):
                texts += [f"{table}: {item!r}" for item in page["Items"]]
        for bucket in BUCKETS:
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                texts += [f"{bucket}: {each['Key']}" for each in page.get("DeleteMarkers", [])]
                for version in page.get("Versions", []):
                    body = self.s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])["Body"]
                    texts.append(f"{bucket}: {version['Key']} {body.read()!r}")
        return "\n".join(texts)

    def archive(self, *, subject: str = ADA) -> dict[str, bytes]:
        """The files of a finished export."""
        _, export = self.http("GET", "/me/export", subject=subject)
        assert export["state"] == "ready", export
        files: dict[str, bytes] = {}
        for archive in export["archives"]:
            key = httpx.URL(archive["url"]).path.split("/exports/")[1]
            content = self.s3.get_object(Bucket="documents", Key=f"exports/{key}")["Body"].read()
            assert len(content) == archive["size"]
            with zipfile.ZipFile(io.BytesIO(content)) as opened:
                assert opened.testzip() is None
                files |= {name: opened.read(name) for name in opened.namelist()}
        return files


SENT: list[tuple[str, int]] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with mock_aws():
        sqs = boto3.client("sqs", "us-east-1")
        found = World(
            boto3.client("dynamodb", "us-east-1"),
            boto3.client("s3", "us-east-1"),
            sqs,
            sqs.create_queue(QueueName="jobs")["QueueUrl"],
            sqs.create_queue(QueueName="dead")["QueueUrl"],
        )
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_METRICS_NAMESPACE": "Parley",
            "POWERTOOLS_SERVICE_NAME": "test",
            **{f"{table.upper()}_TABLE": table for table in KEYS if table != "usage"},
            **{f"{bucket.upper()}_BUCKET": bucket for bucket in BUCKETS},
            "CONTENT_KEY_ARN": boto3.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"],
            "RETENTION_DAYS": "30",
            "WEBSOCKET_CALLBACK_URL": "https://example.com/ws",
            "USER_POOL_ID": "pool",
            "FORGETTING_FUNCTION": "forgetting",
            "SETTLE_SECONDS": "5400",
            "PERSONAL_DATA_QUEUE_URL": found.queue,
            "DEAD_LETTER_QUEUE_URL": found.dead_letters,
            "MAX_DELIVERIES": "10",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_ENDPOINT_URL", "USAGE_TABLE", "ORIGIN_SECRET_ARN"):
            monkeypatch.delenv(name, raising=False)
        for table, keys in KEYS.items():
            kinds = {key: "N" if key == "seq" else "S" for key in keys}
            found.dynamodb.create_table(
                TableName=table,
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": kinds[key]} for key in keys],
                BillingMode="PAY_PER_REQUEST",
            )
        for bucket in BUCKETS:
            found.s3.create_bucket(Bucket=bucket)
            found.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        _forget_processes_parts(monkeypatch, found)
        for subject in (ADA, BOB):
            _live(found, subject)
        yield found
    SENT.clear()


def _forget_processes_parts(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    for client in (clients.dynamodb, clients.kms, clients.s3, clients.sqs):
        client.cache_clear()
    monkeypatch.setattr(clients, "cognito", lambda: UserPool(world.accounts))
    for module, names in {"personal_data": ["parts"], "personal_data_jobs": ["settings", "queue", "jobs"]}.items():
        imported = importlib.import_module(f"parley.functions.{module}")
        for name in names:
            getattr(imported, name).cache_clear()
        monkeypatch.setattr(imported, "_now", lambda: world.now)
    admission = importlib.import_module("parley.functions.admission")
    for name in ("settings", "origin", "allowances"):
        getattr(admission, name).cache_clear()
    jobs = importlib.import_module("parley.functions.personal_data_jobs")

    class Forgetting:
        def __init__(self, name: str) -> None:
            assert name == "forgetting"

        def forget(self, owner: str) -> None:
            world.forgotten.append(owner)

    monkeypatch.setattr(jobs, "IndexForgetting", Forgetting)
    # The flag is set when the job parts are made with it; the usage table is no counter of these requests.
    monkeypatch.setenv("USAGE_TABLE", "usage")
    jobs.settings()
    monkeypatch.delenv("USAGE_TABLE")

    def close(connection: Connection) -> None:
        if world.connection_failure is not None:
            raise world.connection_failure
        world.closed.append(connection.connection_id)

    monkeypatch.setattr(Connection, "close", close)
    queue = importlib.import_module("parley.aws.documents_queue").DocumentsQueue
    monkeypatch.setattr(
        queue,
        "send",
        lambda self, body, *, after_seconds=0, correlation_id=None: SENT.append((body, after_seconds)),
    )


def _live(world: World, subject: str) -> None:
    """What a user leaves behind, in every place that there is."""
    dynamodb = world.dynamodb
    content_key = importlib.import_module("parley.functions.personal_data_jobs").settings().content_key_arn
    store = ConversationTable("conversations", dynamodb, lambda: ContentCipher(content_key, clients.kms()))
    conversation_id = new_id(START)
    world.conversations[subject] = conversation_id
    for number in range(TURNS // 2):
        request = RequestKey(key=f"{subject}-{number}", fingerprint="f")
        exchange = Exchange(
            title=f"Title of {subject}",
            question=_turn("user", f"Question {number} of {subject}"),
            answer=_turn("assistant", f"Answer {number}"),
            request=request,
        )
        store.append(subject, conversation_id, exchange, turn_count=2 * number)
    RequestsOnce("idempotency", dynamodb).run(subject, request, Context(), lambda: f"turn of {subject}")
    session = f"session-{subject}"
    SessionTable("sessions", dynamodb, retention_days=30).create(session, subject)
    ConnectionTable("connections", dynamodb).record(
        f"c-{subject}", subject=subject, session_id=session, groups=frozenset()
    )
    CredentialTable("credentials", dynamodb).issue_ticket(subject, session, frozenset())
    key = {"credential_id": f"api-key#{subject}", "owner": subject, "secret_sha256": "0"}
    dynamodb.put_item(TableName="credentials", Item=to_item(key))
    for seq in range(3):
        frame = {"session_id": session, "seq": seq, "data": subject.encode()}
        dynamodb.put_item(TableName="audio_frames", Item=to_item(frame))
    for counter, sort in {"requests": "m", "day": "2026-11-21", "limits": "own"}.items():
        item = {"pk": f"{subject}#{counter}", "sk": sort, "tokens": 7}
        dynamodb.put_item(TableName="usage", Item=to_item(item))
    recording_id = new_id(START)
    recording = Recording(
        subject=subject, recording_id=recording_id, name="talk.wav", created_at="now", updated_at="now", size=4
    )
    RecordingTable("conversations", dynamodb, retention_days=30, now=lambda: datetime.now(UTC)).add(recording)
    owner = owner_of(subject)
    document = {"pk": owner, "sk": "document#d1", "name": "boat.md", "key": "k", "state": "ready", "size": 3}
    dynamodb.put_item(TableName="knowledge", Item=to_item(document))
    gone = {"pk": owner, "sk": "document#d0", "name": "gone.md", "key": "k", "state": "ready", "deleted": True}
    dynamodb.put_item(TableName="knowledge", Item=to_item(gone))
    chunk = {"pk": f"{owner}#d1", "sk": "chunk#v1#000000", "text": f"The boat of {subject}"}
    dynamodb.put_item(TableName="knowledge", Item=to_item(chunk))
    for bucket, name, content in (
        ("documents", f"documents/{owner}/d1/boat.md", f"The boat of {subject}"),
        ("audio", source_key(subject, recording_id), f"sound of {subject}"),
        ("audio", transcript_key(subject, recording_id), json.dumps({"text": f"words of {subject}"})),
        ("audio", f"{session}/20261121T090000000Z_input.wav", f"call of {subject}"),
    ):
        # Twice, and the first one stays as a version.
        for text in (f"old {content}", content):
            world.s3.put_object(Bucket=bucket, Key=name, Body=text.encode())
    world.s3.put_object(Bucket="documents", Key=f"documents/{owner}/d0/gone.md", Body=b"gone")
    world.s3.delete_object(Bucket="documents", Key=f"documents/{owner}/d0/gone.md")
    world.accounts.add(subject)


def _turn(role: Any, text: str) -> Turn:
    return Turn(turn_id=new_id(START), role=role, text=text, created_at="2026-11-21T09:00:00.000Z")


def test_a_deleted_user_leaves_nothing_but_the_record_of_it_and_nobody_else_loses_anything(world: World) -> None:
    before = world.everything()
    assert before.count(ADA) > 40
    status, deletion = world.http("DELETE", "/me")
    assert (status, deletion["state"]) == (202, "deleting")

    world.work_off()

    after = world.everything()
    assert ADA not in after
    assert world.conversations[ADA] not in after
    assert world.forgotten == [owner_of(ADA), owner_of(ADA)]
    assert world.closed == [f"c-{ADA}"]
    lines = [line for line in before.splitlines() if BOB in line or world.conversations[BOB] in line]
    assert len(lines) > 40
    assert set(lines) <= set(after.splitlines())
    remaining = [line for line in after.splitlines() if pseudonym(ADA) in line]
    assert len(remaining) == 1
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "done"
    assert shown["finished_at"] > "2026-11-21T10:30"
    some = {"conversations": TURNS * 3 // 2 + 1, "sessions": 6, "account": 1, "credentials": 2}
    assert some.items() <= shown["deleted"].items()
    assert world.accounts == {BOB}


def test_what_was_under_way_is_found_when_it_is_looked_again(world: World) -> None:
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()
    assert world.run(body) == []
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "settling"
    # The worker of a call, which has not noticed yet; a call that had been taken up; an upload whose form was signed.
    world.s3.put_object(Bucket="audio", Key=f"session-{ADA}/20261121T090100000Z_output.wav", Body=b"late")
    SessionTable("sessions", world.dynamodb, retention_days=30).create("late", ADA)
    world.s3.put_object(Bucket="documents", Key=f"documents/{owner_of(ADA)}/late/late.md", Body=b"late")

    world.work_off()

    assert ADA not in world.everything()
    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "done"
    # Found at the first look; a second one found nothing.
    assert world.now >= START + timedelta(minutes=90)


def test_a_deletion_is_waited_for_in_steps_that_the_queue_takes(world: World) -> None:
    world.http("DELETE", "/me")
    bodies = 0
    while SENT:
        [(body, delay)] = SENT
        SENT.clear()
        assert delay <= 900
        world.now += timedelta(seconds=delay)
        world.run(body)
        bodies += 1
    assert bodies >= 6


def test_a_deletion_goes_on_where_its_time_ended(world: World) -> None:
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()

    assert world.run(body, left=[900.0, 900.0, 30.0]) == []

    _, shown = world.http("GET", "/me/deletion")
    assert shown["state"] == "deleting"
    assert 0 < sum(shown["deleted"].values()) < 10
    assert [(body, 1)] == SENT or [(body, 0)] == SENT
    world.work_off()
    assert ADA not in world.everything()
    _, shown = world.http("GET", "/me/deletion")
    assert shown["deleted"]["conversations"] == TURNS * 3 // 2 + 1


def test_asking_twice_is_asking_once(world: World) -> None:
    first, second = world.http("DELETE", "/me"), world.http("DELETE", "/me")
    assert first == second
    world.work_off()
    assert ADA not in world.everything()
    status, again = world.http("DELETE", "/me")
    assert (status, again["state"]) == (202, "deleting")


def test_one_failing_place_is_tried_again_and_given_up_at_last_and_can_be_resumed(world: World) -> None:
    world.connection_failure = ConnectionUnreachable("no answer")
    world.http("DELETE", "/me")
    [(body, _)] = SENT
    SENT.clear()
    assert world.run(body) == [{"itemIdentifier": "m-1"}]
    assert world.http("GET", "/me/deletion")[1]["state"] == "deleting"

    assert world.run(body, attempt=10) == []

    assert world.http("GET", "/me/deletion")[1]["state"] == "failed"
    assert [message["Body"] for message in world.messages(world.dead_letters)] == [body]
    world.connection_failure = ConnectionGone()
    SENT.append((body, 0))
    world.work_off()
    assert ADA not in world.everything()
    assert world.http("GET", "/me/deletion")[1]["state"] == "done"


def test_a_message_that_asks_for_nothing_is_buried(world: World) -> None:
    assert world.run('{"job": "mischief", "subject": "x"}') == []
    assert len(world.messages(world.dead_letters)) == 1


def test_an_unexpected_failure_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("What nobody foresaw")

    monkeypatch.setattr(personal_items.Sessions, "erase", fail)
    assert world.run(json.dumps({"job": "deletion", "subject": ADA})) == []
    world.http("DELETE", "/me")
    assert world.run(SENT[0][0]) == [{"itemIdentifier": "m-1"}]


def test_an_export_holds_all_that_is_the_users_and_nothing_else(world: World) -> None:
    assert world.http("GET", "/me/export")[0] == 404
    status, asked = world.http("POST", "/me/export")
    assert (status, asked["state"], asked["archives"]) == (202, "running", [])
    world.work_off()

    files = world.archive()

    assert BOB not in repr(files)
    [recording] = [name.split("/")[1] for name in files if name.endswith("talk.wav")]
    assert set(files) == {
        f"conversations/{world.conversations[ADA]}.json",
        f"recordings/{recording}/talk.wav",
        f"recordings/{recording}/transcript.json",
        f"sessions/session-{ADA}/session.json",
        f"sessions/session-{ADA}/20261121T090000000Z_input.wav",
        "documents/d1/about.json",
        "documents/d1/boat.md",
        "usage/days.json",
    }
    conversation = json.loads(files[f"conversations/{world.conversations[ADA]}.json"])
    assert conversation["title"] == f"Title of {ADA}"
    assert len(conversation["turns"]) == TURNS
    assert conversation["turns"][0]["text"] == f"Question 0 of {ADA}"
    assert files["documents/d1/boat.md"] == f"The boat of {ADA}".encode()
    assert files[f"recordings/{recording}/talk.wav"] == f"sound of {ADA}".encode()
    assert json.loads(files["usage/days.json"]) == [{"date": "2026-11-21", "tokens": 7}]


def test_a_large_export_comes_in_several_archives_and_goes_on_where_its_time_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        document = {"pk": owner_of(ADA), "sk": f"document#e{number}", "name": "n", "key": "k", "state": "ready"}
        world.dynamodb.put_item(TableName="knowledge", Item=to_item(document))
        key = f"documents/{owner_of(ADA)}/e{number}/n.pdf"
        world.s3.put_object(Bucket="documents", Key=key, Body=bytes([number]) * 7_000_000)
    module = importlib.import_module("parley.functions.personal_data_jobs")
    export = module.jobs().export
    monkeypatch.setattr(module.jobs(), "export", _with(export, archive_bytes=20_000_000))
    world.http("POST", "/me/export")

    assert world.work_off(left=[900, 900, 10, 10, 10]) >= 2

    _, shown = world.http("GET", "/me/export")
    assert len(shown["archives"]) >= 4
    files = world.archive()
    assert all(files[f"documents/e{number}/n.pdf"] == bytes([number]) * 7_000_000 for number in range(8))
    assert f"conversations/{world.conversations[ADA]}.json" in files


def _with(export: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(export, **changes)


def test_an_archive_that_breaks_off_is_nowhere_and_is_made_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.http("POST", "/me/export")
    [(body, _)] = SENT
    SENT.clear()
    read = personal_files.Files.read

    def fail(self: Any, key: str) -> Iterator[bytes]:
        raise StoreUnavailable

    monkeypatch.setattr(personal_files.Files, "read", fail)
    assert world.run(body) == [{"itemIdentifier": "m-1"}]
    assert "exports/" not in "".join(
        each["Key"] for each in world.s3.list_objects_v2(Bucket="documents").get("Contents", [])
    )
    assert not world.s3.list_multipart_uploads(Bucket="documents").get("Uploads")
    monkeypatch.setattr(personal_files.Files, "read", read)
    SENT.append((body, 0))
    world.work_off()
    assert len(world.archive()) == 8


def test_an_export_that_is_given_up_says_so(world: World) -> None:
    world.http("POST", "/me/export")
    [(body, _)] = SENT
    world.run(body, attempt=10)
    assert world.http("GET", "/me/export")[1]["state"] == "failed"
    # And can be asked for anew.
    assert world.http("POST", "/me/export")[1]["state"] == "running"


def test_an_export_ends_with_its_week(world: World) -> None:
    world.http("POST", "/me/export")
    world.work_off()
    world.now += timedelta(days=8)
    assert world.http("GET", "/me/export")[0] == 404


def test_nothing_is_exported_while_it_is_deleted_and_an_export_is_deleted_too(world: World) -> None:
    world.http("POST", "/me/export")
    world.work_off()
    world.http("POST", "/me/export")
    [(export, _)] = SENT
    SENT.clear()
    world.http("DELETE", "/me")
    assert world.http("POST", "/me/export")[0] == 409
    world.work_off()
    # The message of an export that the deletion overtook.
    assert world.run(export) == []
    after = world.everything()
    assert "exports/" not in after
    assert ADA not in after


def test_nobody_sees_anothers_export_or_deletion(world: World) -> None:
    world.http("POST", "/me/export")
    world.http("DELETE", "/me")
    assert world.http("GET", "/me/export", subject=BOB)[0] == 404
    assert world.http("GET", "/me/deletion", subject=BOB)[0] == 404


def test_the_record_of_a_deletion_ends_too(world: World) -> None:
    world.http("DELETE", "/me")
    key = to_item({"pk": f"deletion#{pseudonym(ADA)}", "sk": "deletion"})
    item = world.dynamodb.get_item(TableName="conversations", Key=key)["Item"]
    seconds = int(item["expires_at"]["N"]) - START.timestamp()
    assert seconds == personal_data_records.DELETION_RECORD_SECONDS
    assert ADA not in repr(item)
    assert item["state"]["S"] == DeletionState.DELETING


def test_a_requests_record_is_found_where_powertools_keeps_it(world: World) -> None:
    ids = {item["id"]["S"] for item in world.dynamodb.scan(TableName="idempotency")["Items"]}
    assert ids == {record_id(s, RequestKey(key=f"{s}-{TURNS // 2 - 1}", fingerprint="").digest) for s in (ADA, BOB)}


def test_a_table_that_leaves_writes_undone_is_asked_again_and_given_up_at_last() -> None:
    class Busy:
        calls = 0

        def batch_write_item(self, *, RequestItems: Any) -> Any:
            self.calls += 1
            return {"UnprocessedItems": RequestItems}

    busy = Busy()
    table = personal_items.Table("t", busy, pause=lambda _: None)  # type: ignore[arg-type]  # the one call that is made
    with pytest.raises(StoreUnavailable):
        list(table.delete([{"pk": "x"}]))
    assert busy.calls == personal_items.WRITE_ATTEMPTS
