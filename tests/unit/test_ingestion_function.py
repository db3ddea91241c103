"""Events through the ingestion function: which are done, which come again, and which are given up."""

from typing import Any

import pytest
from parley.aws import clients

from tests.unit.document_files import repacked, word
from tests.unit.knowledge_function_doubles import ADA, BUCKET, Cloud, bucket_event, client_error, cloud

__all__ = ["cloud"]


def test_a_document_that_breaks_its_reader_fails_alone(cloud: Cloud) -> None:
    bomb = repacked(word("x"), "word/document.xml", (b" " * 1024**2 for _ in range(220)))
    folder = f"documents/user-{ADA}"
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/bomb/bomb.docx", Body=bomb)
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/good/good.docx", Body=word("Good news."))
    events = [bucket_event(f"{folder}/{name}/{name}.docx") for name in ("bomb", "good")]
    assert cloud.deliver(*events) == []
    assert cloud.queued("DEAD_LETTER_QUEUE") == [events[0]]
    failed = cloud.http("GET", "/knowledge/documents/bomb")[1]
    assert (failed["state"], failed["chunk_count"]) == ("failed", 0)
    assert "200 MB when it is unpacked" in failed["reason"]
    assert cloud.http("GET", "/knowledge/documents/good")[1]["state"] == "ready"


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET},
        bucket_event("indexes/faiss/manifest.json"),
        bucket_event(f"documents/user-{ADA}/x/a.txt", "Object Tags Added"),
        [],
    ],
)
def test_messages_that_are_no_documents_event_are_done(cloud: Cloud, message: Any) -> None:
    assert cloud.deliver(message) == []


def test_what_no_delivery_can_mend_is_given_up_at_once_and_holds_up_nothing(cloud: Cloud) -> None:
    good, bad = f"documents/user-{ADA}/good/a.txt", f"documents/user-{ADA}/bad/b.txt"
    cloud.s3.put_object(Bucket=BUCKET, Key=good, Body=b"Good news.")
    cloud.s3.put_object(Bucket=BUCKET, Key=bad, Body=b"\xff\xff")
    assert cloud.deliver(bucket_event(bad), "not json", bucket_event(good)) == []
    assert sorted(cloud.queued("DEAD_LETTER_QUEUE"), key=str) == sorted([bucket_event(bad), "not json"], key=str)
    assert cloud.queued("DOCUMENTS_QUEUE") == []
    assert cloud.http("GET", "/knowledge/documents/good")[1]["state"] == "ready"
    failed = cloud.http("GET", "/knowledge/documents/bad")[1]
    assert failed["state"] == "failed"
    assert "UTF-8" in failed["reason"]


@pytest.mark.parametrize("detail", [{}, {"object": {}}, {"object": {"key": 7}}, {"object": "x"}, "x", None, 7, []])
def test_a_malformed_event_does_not_come_again(cloud: Cloud, detail: Any) -> None:
    event = {"detail-type": "Object Created", "detail": detail}
    assert cloud.deliver(event) == []
    assert cloud.queued("DEAD_LETTER_QUEUE") == [event]


def test_a_throttled_model_lets_the_message_come_again_and_that_heals_it(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum. " * 600)
    cloud.titan.failure = client_error("ThrottlingException", 429)
    assert cloud.settle() == ["m0"]
    waiting = cloud.http("GET", f"/knowledge/documents/{id_}")[1]
    assert (waiting["state"], waiting["reason"]) == ("indexing", None)
    cloud.titan.failure = None
    assert cloud.settle() == []
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[1]["state"] == "ready"
    assert cloud.queued("DEAD_LETTER_QUEUE") == []


def test_the_last_delivery_says_that_it_failed(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum.")
    [key] = [item["Key"] for item in cloud.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    cloud.titan.failure = client_error("ThrottlingException", 429)
    assert cloud.deliver(bucket_event(key), attempt=9) == ["m0"]
    assert cloud.deliver(bucket_event(key), attempt=10) == []
    failed = cloud.http("GET", f"/knowledge/documents/{id_}")[1]
    assert failed["state"] == "failed"
    assert "Upload it again" in failed["reason"]
    assert cloud.queued("DEAD_LETTER_QUEUE") == [bucket_event(key)]


def test_an_operator_redrives_a_document_that_was_given_up(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum.")
    [key] = [item["Key"] for item in cloud.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    cloud.deliver(bucket_event(key), attempt=10)
    [event] = cloud.queued("DEAD_LETTER_QUEUE")
    assert cloud.deliver(event) == []
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[1]["state"] == "ready"


def test_what_there_is_no_time_for_is_queued_anew(cloud: Cloud) -> None:
    """The small one first, because it is soon done; then the time is up."""
    events = []
    for name, size in (("large", 90_000), ("small", 9)):
        key = f"documents/user-{ADA}/{name}/a.txt"
        cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=b"Bees hum. " * (size // 9))
        events.append(bucket_event(key, size=size))
    assert cloud.deliver(*events, attempt=9, seconds=60) == []
    assert cloud.http("GET", "/knowledge/documents/small")[1]["state"] == "ready"
    assert cloud.queued("DOCUMENTS_QUEUE") == [events[0]]
    assert cloud.queued("DEAD_LETTER_QUEUE") == []
    assert cloud.deliver(events[0], seconds=60) == []
    assert cloud.http("GET", "/knowledge/documents/large")[1]["state"] == "ready"


@pytest.mark.parametrize("attempt", [1, 10])
def test_a_queue_that_is_out_of_reach_lets_the_message_come_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key=f"documents/user-{ADA}/bad/b.txt", Body=b"\xff\xff")

    def down(**_: object) -> None:
        raise client_error("ServiceUnavailable", 503)

    monkeypatch.setattr(clients.sqs(), "send_message", down)
    assert cloud.deliver(bucket_event(f"documents/user-{ADA}/bad/b.txt"), attempt=attempt) == ["m0"]
