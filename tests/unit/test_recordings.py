"""Recordings from upload to transcript, through both functions: moto's table, bucket and queue, a scripted service."""

import base64
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients
from parley.aws.documents_queue import DocumentsQueue
from parley.aws.recordings import RecordingBucket, RecordingTable
from parley.speech.recordings import (
    LANGUAGES,
    MAX_RECORDING_BYTES,
    Place,
    Recording,
    place_of,
    result_key,
    source_key,
    transcript_key,
)

from tests.unit.conversation_doubles import Context
from tests.unit.test_recording_formats import MP3, WEBM, result, wav

ADA, BOB = "ada-0001", "bob-0002"
BUCKET, TABLE, PREFIX = "audio", "conversations", "Parley-test-"
RESULT = result(("Hello", 0.1, 0.5), ".", text="Hello.")


class Transcribe:
    """Amazon Transcribe: keeps jobs, and settles them when told."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.started: list[dict[str, Any]] = []
        self.failure: str | None = None

    def start_transcription_job(self, **job: Any) -> None:
        self._meet_failure("StartTranscriptionJob")
        if job["TranscriptionJobName"] in self.jobs:
            raise ClientError({"Error": {"Code": "ConflictException"}}, "StartTranscriptionJob")
        self.started.append(job)
        self.jobs[job["TranscriptionJobName"]] = {"TranscriptionJobStatus": "QUEUED", **job}

    def get_transcription_job(self, *, TranscriptionJobName: str) -> dict[str, Any]:
        self._meet_failure("GetTranscriptionJob")
        return {"TranscriptionJob": self._job(TranscriptionJobName, "GetTranscriptionJob")}

    def delete_transcription_job(self, *, TranscriptionJobName: str) -> None:
        self._meet_failure("DeleteTranscriptionJob")
        self._job(TranscriptionJobName, "DeleteTranscriptionJob")
        del self.jobs[TranscriptionJobName]

    def _job(self, name: str, operation: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise ClientError({"Error": {"Code": "BadRequestException"}}, operation)
        return self.jobs[name]

    def _meet_failure(self, operation: str) -> None:
        if self.failure:
            raise ClientError({"Error": {"Code": self.failure}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)  # type: ignore[typeddict-item]  # the other fields matter to nobody here


@dataclass
class Cloud:
    s3: Any
    sqs: Any
    queue_url: str
    dead_url: str
    transcribe: Transcribe = field(default_factory=Transcribe)

    def http(self, method: str, path: str, body: Any = None, *, subject: str = ADA, **query: str) -> tuple[int, Any]:
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {},
            "body": None if body is None else json.dumps(body),
            "queryStringParameters": query or None,
            "requestContext": {
                "requestId": "request-1",
                "stage": "$default",
                "http": {"method": method, "path": path},
                "authorizer": {"jwt": {"claims": {"sub": subject}}},
            },
        }
        response = importlib.import_module("parley.functions.recordings").handler(event, Context())
        return response["statusCode"], json.loads(response["body"]) if response["body"] else None

    def add(self, name: str = "talk.wav", *, subject: str = ADA, **fields: Any) -> Any:
        status, body = self.http("POST", "/recordings", {"name": name, "size": 1_000, **fields}, subject=subject)
        assert status == 201, body
        return body

    def read(self, recording: Any, subject: str = ADA) -> Any:
        status, body = self.http("GET", f"/recordings/{recording['recording_id']}", subject=subject)
        assert status == 200, body
        return body

    def upload(self, recording: Any, content: bytes, subject: str = ADA) -> Any:
        """What uploading the file does, and the event of it."""
        key = source_key(subject, recording["recording_id"])
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return {"detail-type": "Object Created", "detail": {"object": {"key": key, "size": len(content)}}}

    def deliver(self, *messages: Any, attempt: int = 1) -> list[str]:
        """Work messages off; those that are to come again."""
        records = [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "body": message if isinstance(message, str) else json.dumps(message),
                "attributes": {"ApproximateReceiveCount": str(attempt)},
            }
            for number, message in enumerate(messages)
        ]
        answer = importlib.import_module("parley.functions.recording_jobs").handler({"Records": records}, Context())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def ends(self, recording: Any, result: bytes | None = RESULT, *, subject: str = ADA, **job: Any) -> Any:
        """The job of a recording ends; the service's event."""
        name = PREFIX + recording["recording_id"]
        status = "COMPLETED" if result is not None else "FAILED"
        self.transcribe.jobs[name] |= {"TranscriptionJobStatus": status, "LanguageCode": "en-US", **job}
        if result is not None:
            self.s3.put_object(Bucket=BUCKET, Key=result_key(subject, recording["recording_id"]), Body=result)
        return {"detail-type": "Transcribe Job State Change", "detail": {"TranscriptionJobName": name}}

    def keys(self) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def waiting(self, url: str | None = None) -> list[Any]:
        """The messages of a queue, also those that come later."""
        url = url or self.queue_url
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return [int(counts[name]) for name in names]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with mock_aws():
        sqs = boto3.client("sqs", "us-east-1")
        found = Cloud(
            boto3.client("s3", "us-east-1"),
            sqs,
            sqs.create_queue(QueueName="recordings")["QueueUrl"],
            sqs.create_queue(QueueName="dead")["QueueUrl"],
        )
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_SERVICE_NAME": "test",
            "CONVERSATIONS_TABLE": TABLE,
            "AUDIO_BUCKET": BUCKET,
            "RETENTION_DAYS": "30",
            "ENCRYPTION_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/k",
            "JOB_PREFIX": PREFIX,
            "RECORDINGS_QUEUE_URL": found.queue_url,
            "DEAD_LETTER_QUEUE_URL": found.dead_url,
            "MAX_DELIVERIES": "5",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        for made in (clients.dynamodb, clients.s3, clients.sqs, clients.transcribe):
            made.cache_clear()
        monkeypatch.setattr(clients, "transcribe", lambda: found.transcribe)
        found.s3.create_bucket(Bucket=BUCKET)
        clients.dynamodb().create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        importlib.import_module("parley.functions.recordings").recordings.cache_clear()
        jobs = importlib.import_module("parley.functions.recording_jobs")
        for part in ("settings", "queue", "jobs", "transcription"):
            getattr(jobs, part).cache_clear()
        yield found


def test_a_recording_is_uploaded_transcribed_and_read(cloud: Cloud) -> None:
    recording = cloud.add("talk.wav", language="en-US")
    assert recording["state"] == "pending"
    assert cloud.read(recording)["source_url"] is None
    content = wav(2)
    assert cloud.deliver(cloud.upload(recording, content)) == []
    begun = cloud.read(recording)
    assert (begun["state"], begun["size"], begun["seconds"]) == ("transcribing", len(content), 2)
    assert begun["transcript"] is None
    assert cloud.deliver(cloud.ends(recording)) == []
    read = cloud.read(recording)
    assert (read["state"], read["language"]) == ("ready", "en-US")
    assert read["transcript"]["text"] == "Hello."
    assert read["transcript"]["segments"] == [{"start": 0.1, "end": 0.5, "text": "Hello."}]
    assert "talk.wav" in read["source_url"]
    # What the service wrote, and its job, are gone.
    assert sorted(cloud.keys()) == [
        source_key(ADA, recording["recording_id"]),
        transcript_key(ADA, recording["recording_id"]),
    ]
    assert cloud.transcribe.jobs == {}


def test_the_job_reads_and_writes_under_the_owners_prefix(cloud: Cloud) -> None:
    recording = cloud.add("talk.mp3", subject="ada~1@example.com", language="de-DE")
    cloud.deliver(cloud.upload(recording, MP3, "ada~1@example.com"))
    [job] = cloud.transcribe.started
    folder = "ada!7E1!40example!2Ecom"
    assert job == {
        "TranscriptionJobName": PREFIX + recording["recording_id"],
        "Media": {"MediaFileUri": f"s3://{BUCKET}/recordings/{folder}/{recording['recording_id']}"},
        "MediaFormat": "mp3",
        "LanguageCode": "de-DE",
        "OutputBucketName": BUCKET,
        "OutputKey": f"transcripts/{folder}/{recording['recording_id']}.result.json",
        "OutputEncryptionKMSKeyId": "arn:aws:kms:us-east-1:000000000000:key/k",
    }


def test_without_a_language_it_is_found(cloud: Cloud) -> None:
    recording = cloud.add("talk.webm")
    cloud.deliver(cloud.upload(recording, WEBM))
    [job] = cloud.transcribe.started
    assert job["IdentifyLanguage"] is True
    assert "LanguageCode" not in job
    cloud.deliver(cloud.ends(recording, result(text="Hallo.", language_code="de-DE"), LanguageCode="de-DE"))
    assert cloud.read(recording)["language"] == "de-DE"


def test_the_form_takes_one_key_and_a_bounded_size(cloud: Cloud) -> None:
    recording = cloud.add("talk.mp3")
    fields = recording["upload"]["fields"]
    assert fields["Content-Type"] == "audio/mpeg"
    assert place_of(fields["key"]) == Place(ADA, recording["recording_id"])
    assert recording["upload"]["expires_in"] == 900
    conditions = json.loads(base64.b64decode(fields["policy"]))["conditions"]
    assert ["content-length-range", 0, MAX_RECORDING_BYTES] in conditions
    assert {"key": fields["key"]} in conditions


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"name": "talk.ogg", "size": 1}, 422, ".wav, .mp3, .webm"),
        ({"name": "../", "size": 1}, 422, "name"),
        ({"name": "a.wav", "size": 0}, 422, "empty"),
        ({"name": "a.wav", "size": MAX_RECORDING_BYTES + 1}, 413, "500,000,000"),
        ({"name": "a.wav", "size": 1, "language": "xx-XX"}, 422, "xx-XX is not transcribed"),
        ({"name": "a.wav", "size": 1, "language": "<b>"}, 422, "`language`"),
        ({"name": "a.wav"}, 422, "size"),
    ],
)
def test_what_cannot_be_transcribed_is_refused_before_the_upload(
    cloud: Cloud, body: Any, status: int, part: str
) -> None:
    answered, error = cloud.http("POST", "/recordings", body)
    assert answered == status
    assert part in error["error"]["message"]


def test_the_languages_are_the_services() -> None:
    model = botocore.session.get_session().get_service_model("transcribe")
    languages: Any = model.shape_for("LanguageCode")
    assert set(languages.enum) == LANGUAGES


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("talk.wav", b"", "empty"),
        ("talk.wav", MP3, "it is an MP3 file"),
        ("talk.mp3", b"words", "damaged"),
        ("talk.wav", wav(0), "no sound"),
    ],
)
def test_a_file_that_is_no_recording_fails_with_a_reason(cloud: Cloud, name: str, content: bytes, part: str) -> None:
    recording = cloud.add(name)
    assert cloud.deliver(cloud.upload(recording, content)) == []
    read = cloud.read(recording)
    assert read["state"] == "failed"
    assert part in read["reason"]
    assert cloud.transcribe.started == []
    assert cloud.waiting() == [0, 0]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("The media format provided does not match the detected media format.", "damaged"),
        ("Your audio file must have a speech segment long enough in duration to perform automatic language "
         "identification.", "`language`"),
        ("Something new.", "could not be transcribed"),
    ],
)  # fmt: skip
def test_a_job_that_fails_tells_its_owner_why(cloud: Cloud, said: str, sentence: str) -> None:
    recording = cloud.add("talk.mp3")
    cloud.deliver(cloud.upload(recording, MP3))
    cloud.deliver(cloud.ends(recording, None, FailureReason=said))
    read = cloud.read(recording)
    assert read["state"] == "failed"
    assert sentence in read["reason"]
    assert cloud.transcribe.jobs == {}


def test_a_job_whose_end_nobody_announces_is_noticed(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    assert cloud.waiting() == [0, 1]
    look = {"check": 1, "subject": ADA, "recording_id": recording["recording_id"]}
    cloud.deliver(look)
    assert cloud.read(recording)["state"] == "transcribing"
    assert cloud.waiting() == [0, 2]
    cloud.ends(recording)
    cloud.deliver(look | {"check": 2})
    assert cloud.read(recording)["state"] == "ready"
    assert cloud.waiting() == [0, 2]


def test_looks_at_a_job_become_rarer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    monkeypatch.setattr(DocumentsQueue, "send", lambda _, body, *, after_seconds=0: pauses.append(after_seconds))
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    for check in (1, 2, 7, 8, 99):
        cloud.deliver({"check": check, "subject": ADA, "recording_id": recording["recording_id"]})
    assert pauses == [5, 10, 20, 640, 900, 900]


def test_a_job_that_never_ends_is_given_up(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.deliver({"check": 101, "subject": ADA, "recording_id": recording["recording_id"]})
    assert cloud.read(recording)["state"] == "failed"
    assert cloud.waiting(cloud.dead_url) == [1, 0]


def test_a_job_that_disappeared_is_said_to_be_lost(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.transcribe.jobs.clear()
    cloud.deliver({"check": 1, "subject": ADA, "recording_id": recording["recording_id"]})
    assert "lost" in cloud.read(recording)["reason"]


def test_a_result_that_cannot_be_read_fails(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.deliver(cloud.ends(recording, b"{"))
    assert cloud.read(recording)["state"] == "failed"


def test_repeated_late_and_reordered_events_change_nothing(cloud: Cloud) -> None:
    recording = cloud.add()
    uploaded = cloud.upload(recording, wav())
    assert cloud.deliver(uploaded, uploaded) == []
    assert len(cloud.transcribe.started) == 1
    ended = cloud.ends(recording)
    assert cloud.deliver(ended, ended, uploaded) == []
    read = cloud.read(recording)
    assert (read["state"], read["transcript"]["text"]) == ("ready", "Hello.")
    cloud.deliver({"check": 3, "subject": ADA, "recording_id": recording["recording_id"]})
    assert cloud.read(recording) | {"source_url": None} == read | {"source_url": None}


def test_a_busy_service_is_asked_again(cloud: Cloud) -> None:
    recording = cloud.add()
    uploaded = cloud.upload(recording, wav())
    cloud.transcribe.failure = "LimitExceededException"
    assert cloud.deliver(uploaded) == ["m0"]
    cloud.transcribe.failure = None
    assert cloud.deliver(uploaded) == []
    assert len(cloud.transcribe.started) == 1
    cloud.transcribe.failure = "AccessDeniedException"
    assert cloud.deliver(cloud.ends(recording)) == ["m0"]


def test_what_is_no_fault_of_the_file_is_tried_again(cloud: Cloud) -> None:
    recording = cloud.add()
    uploaded = cloud.upload(recording, wav())
    cloud.transcribe.failure = "AccessDeniedException"
    assert cloud.deliver(uploaded) == ["m0"]
    assert cloud.read(recording)["state"] == "transcribing"
    cloud.transcribe.failure = None
    elsewhere = RecordingBucket("nobodys", clients.s3())
    for ask in (elsewhere.head, elsewhere.read):
        with pytest.raises(ClientError):
            ask("recordings/a")


def test_a_file_that_is_gone_is_waited_for(cloud: Cloud) -> None:
    recording = cloud.add()
    uploaded = cloud.upload(recording, wav())
    cloud.s3.delete_object(Bucket=BUCKET, Key=source_key(ADA, recording["recording_id"]))
    assert cloud.deliver(uploaded) == []
    assert cloud.read(recording)["state"] == "pending"


def test_a_transcript_that_is_gone_is_none(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.deliver(cloud.ends(recording))
    cloud.s3.delete_object(Bucket=BUCKET, Key=transcript_key(ADA, recording["recording_id"]))
    assert cloud.read(recording)["transcript"] is None


def test_files_that_cannot_be_deleted_keep_the_record(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = cloud.add()
    failed = {"Errors": [{"Key": "recordings/a", "Code": "SlowDown"}]}
    monkeypatch.setattr(clients.s3(), "delete_objects", lambda **_: failed)
    assert cloud.http("DELETE", f"/recordings/{recording['recording_id']}")[0] == 503
    assert cloud.read(recording)["state"] == "pending"


def test_a_recording_deleted_while_its_transcript_is_written_leaves_none(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    write = RecordingBucket.write

    def write_and_delete(files: RecordingBucket, key: str, content: bytes) -> None:
        cloud.http("DELETE", f"/recordings/{recording['recording_id']}")
        write(files, key, content)

    monkeypatch.setattr(RecordingBucket, "write", write_and_delete)
    cloud.deliver(cloud.ends(recording))
    assert cloud.keys() == []


def test_what_is_delivered_too_often_is_given_up(cloud: Cloud) -> None:
    recording = cloud.add()
    uploaded = cloud.upload(recording, wav())
    assert cloud.deliver(uploaded, attempt=5) == []
    assert "again and again" in cloud.read(recording)["reason"]
    assert cloud.waiting(cloud.dead_url) == [1, 0]


def test_a_job_that_the_service_refuses_fails(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.transcribe.failure = "BadRequestException"
    assert cloud.deliver(cloud.upload(recording, wav())) == []
    assert cloud.read(recording)["state"] == "failed"


def test_messages_about_something_else_are_ignored(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.transcribe.jobs["another"] = {"Media": {"MediaFileUri": "s3://elsewhere/recordings/a/b"}}
    strangers = [
        "no JSON",
        {"Event": "s3:TestEvent"},
        {"detail-type": "Object Created", "detail": {"object": {"key": "session-1/x_input.wav"}}},
        {"detail-type": "Transcribe Job State Change", "detail": {"TranscriptionJobName": "another"}},
        {"detail-type": "Transcribe Job State Change", "detail": {"TranscriptionJobName": "unknown"}},
    ]
    assert cloud.deliver(*strangers) == []
    assert len(cloud.transcribe.started) == 1


def test_deleting_a_recording_leaves_nothing(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    cloud.deliver(cloud.ends(recording))
    assert cloud.http("DELETE", f"/recordings/{recording['recording_id']}") == (204, None)
    assert cloud.keys() == []
    assert cloud.http("GET", f"/recordings/{recording['recording_id']}")[0] == 404
    assert cloud.http("DELETE", f"/recordings/{recording['recording_id']}")[0] == 404


def test_what_comes_after_a_deletion_is_removed(cloud: Cloud) -> None:
    first, second = cloud.add(), cloud.add()
    cloud.deliver(cloud.upload(first, wav()))
    for recording in (first, second):
        cloud.http("DELETE", f"/recordings/{recording['recording_id']}")
    cloud.deliver(cloud.upload(second, wav()))
    assert cloud.waiting() == [0, 1]
    # Still running: it is looked after until it ends.
    cloud.deliver({"check": 1, "subject": ADA, "recording_id": first["recording_id"]})
    assert cloud.waiting() == [0, 2]
    cloud.deliver(cloud.ends(first))
    assert cloud.keys() == []
    assert cloud.transcribe.jobs == {}


def test_others_recordings_do_not_exist(cloud: Cloud) -> None:
    recording = cloud.add()
    cloud.deliver(cloud.upload(recording, wav()))
    path = f"/recordings/{recording['recording_id']}"
    assert cloud.http("GET", path, subject=BOB)[0] == 404
    assert cloud.http("DELETE", path, subject=BOB)[0] == 404
    assert cloud.http("GET", "/recordings", subject=BOB) == (200, {"recordings": [], "cursor": None})
    assert cloud.read(recording)["state"] == "transcribing"
    assert cloud.http("GET", "/recordings/..")[0] == 404


def test_recordings_are_listed_newest_first_page_by_page(cloud: Cloud) -> None:
    table = RecordingTable(TABLE, clients.dynamodb(), retention_days=30, now=lambda: datetime.now(UTC))
    for number in range(5):
        at = f"2026-11-21T09:30:0{number}.000Z"
        table.add(Recording(subject=ADA, recording_id=f"{number:028x}", name="a.wav", created_at=at, updated_at=at))
    _, first = cloud.http("GET", "/recordings", limit="2")
    assert [each["recording_id"][-1] for each in first["recordings"]] == ["4", "3"]
    _, second = cloud.http("GET", "/recordings", limit="2", cursor=first["cursor"])
    _, third = cloud.http("GET", "/recordings", limit="2", cursor=second["cursor"])
    assert [each["recording_id"][-1] for each in second["recordings"] + third["recordings"]] == ["2", "1", "0"]
    assert third["cursor"] is None
    assert cloud.http("GET", "/recordings", cursor="conversation#1")[0] == 422
    assert cloud.http("GET", "/recordings", limit="0")[0] == 422


def test_a_form_that_nobody_used_is_forgotten_after_a_day(cloud: Cloud) -> None:
    now = datetime.now(UTC)
    table = RecordingTable(TABLE, clients.dynamodb(), retention_days=30, now=lambda: now)
    at = "2026-11-21T09:30:00.000Z"
    for number in range(2):
        table.add(Recording(subject=ADA, recording_id=f"{number:028x}", name="a.wav", created_at=at, updated_at=at))
    assert table.begin(ADA, f"{0:028x}", size=1, seconds=None)
    now += timedelta(days=2)
    assert table.get(ADA, f"{1:028x}") is None
    assert [each.recording_id for each in table.page(ADA, limit=5, before=None)] == [f"{0:028x}"]
    now += timedelta(days=30)
    assert table.page(ADA, limit=5, before=None) == []


@pytest.mark.parametrize("subject", ["a/b", "100%", "x!2Fy", "~.", "ü"])
def test_no_subject_reaches_anothers_folder(subject: str) -> None:
    key = source_key(subject, "0" * 28)
    assert place_of(key) == Place(subject, "0" * 28)
    assert key.count("/") == 2


@pytest.mark.parametrize("key", ["recordings/a/b", f"transcripts/a/{'0' * 28}", "session/1_input.wav", "recordings"])
def test_other_keys_are_no_recordings(key: str) -> None:
    assert place_of(key) is None
