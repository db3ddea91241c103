"""A deployment in which two users left something in every place: moto's tables, buckets, queues and user pool."""

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
from parley.aws import clients
from parley.aws.connection_posts import Connection
from parley.aws.content_encryption import ContentCipher
from parley.aws.conversation_table import ConversationTable
from parley.aws.credentials import CredentialTable
from parley.aws.idempotency import RequestsOnce
from parley.aws.items import to_item
from parley.aws.recordings import RecordingTable
from parley.aws.sessions import ConnectionTable, SessionTable
from parley.conversation.store import Exchange
from parley.conversation.turns import RequestKey, Turn, new_id
from parley.knowledge.documents import owner_of
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
