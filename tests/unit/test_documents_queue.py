"""How a worker holds, delays, puts back and gives up the messages of the documents queue."""

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from parley import correlation
from parley.aws import documents_queue
from parley.aws.documents_queue import (
    FIRST_PAUSE_SECONDS,
    HOLD_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Delivery,
    DocumentsQueue,
)
from parley.errors import StoreUnavailable

QUEUE, DEAD = "https://sqs.example/1/documents", "https://sqs.example/1/dead"
BEATS = 3


class Sqs:
    """An SQS client that remembers what it is told, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.hidden: list[dict[str, int]] = []
        self.sent: list[tuple[str, str]] = []
        self.attributes: list[dict[str, Any]] = []
        self.beaten = threading.Event()

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == QUEUE
        assert len({entry["Id"] for entry in Entries}) == len(Entries) <= 10
        self.hidden.append({entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in Entries})
        if len(self.hidden) > BEATS:
            self.beaten.set()
        if self.failure is not None:
            raise self.failure
        return {"Successful": [], "Failed": []}

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, MessageAttributes: dict[str, Any], DelaySeconds: int = 0
    ) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        self.sent.append((QueueUrl, MessageBody))
        self.attributes.append(MessageAttributes)
        return {}


def deliveries(count: int, attempt: int = 1) -> list[Delivery]:
    return [Delivery(f"m{number}", f"r{number}", f"body {number}", attempt) for number in range(count)]


def queue_of(sqs: Sqs) -> DocumentsQueue:
    return DocumentsQueue(sqs, QUEUE, DEAD)  # type: ignore[arg-type]  # the operations that it calls


@pytest.mark.parametrize("failure", [None, EndpointConnectionError(endpoint_url=QUEUE)])
def test_messages_are_held_from_the_start_and_for_as_long_as_the_work_takes(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    monkeypatch.setattr(documents_queue, "BEAT_SECONDS", 0.001)
    sqs = Sqs(failure)
    held = deliveries(2)
    with queue_of(sqs).holding(held):
        assert sqs.hidden[0] == {"r0": HOLD_SECONDS, "r1": HOLD_SECONDS}
        assert sqs.beaten.wait(timeout=30)
    assert all(hidden == sqs.hidden[0] for hidden in sqs.hidden)
    assert not any(thread.name == "hold-messages" for thread in threading.enumerate())


def test_a_worker_that_fails_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), queue_of(Sqs()).holding(deliveries(1)):
        raise RuntimeError
    assert not any(thread.name == "hold-messages" for thread in threading.enumerate())


@pytest.mark.parametrize("attempt", range(1, 12))
def test_pauses_grow_with_each_delivery_up_to_a_limit(attempt: int) -> None:
    sqs = Sqs()
    queue_of(sqs).delay(deliveries(10, attempt))
    longest = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
    [hidden] = sqs.hidden
    assert len(hidden) == 10
    assert all(longest // 2 <= pause <= longest for pause in hidden.values())


def test_more_than_ten_are_told_in_several_requests_and_none_in_none() -> None:
    sqs = Sqs()
    queue_of(sqs).delay(deliveries(23))
    queue_of(sqs).delay([])
    assert [len(hidden) for hidden in sqs.hidden] == [10, 10, 3]


def test_a_message_is_put_back_and_given_up_as_it_came() -> None:
    sqs = Sqs()
    first, second = deliveries(2)
    queue_of(sqs).put_back(first)
    queue_of(sqs).give_up(second)
    assert sqs.sent == [(QUEUE, "body 0"), (DEAD, "body 1")]


def test_a_message_stays_the_requests_that_it_came_from() -> None:
    sqs = Sqs()
    own = Delivery("m", "r", "b", 1, "request-7")
    queue_of(sqs).put_back(own)
    queue_of(sqs).give_up(own)
    correlation.begin("request-8")
    queue_of(sqs).send("more")
    correlation.begin(None)
    queue_of(sqs).send("nobody's")
    ids = [found.get("correlation_id", {}).get("StringValue") for found in sqs.attributes]
    assert ids == ["request-7", "request-7", "request-8", None]


def test_a_queue_that_is_out_of_reach_is_a_store_that_is() -> None:
    down = ClientError(
        {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}},  # type: ignore[typeddict-item]  # botocore fills the rest
        "SendMessage",
    )
    with pytest.raises(StoreUnavailable):
        queue_of(Sqs(down)).put_back(deliveries(1)[0])


def test_a_delivery_is_read_from_lambdas_record() -> None:
    record = {"messageId": "m", "receiptHandle": "r", "body": "b", "attributes": {"ApproximateReceiveCount": "4"}}
    assert Delivery.of(record) == Delivery("m", "r", "b", 4)
    carried = {"correlation_id": {"stringValue": "request-7", "dataType": "String"}}
    assert Delivery.of(record | {"messageAttributes": carried}).correlation_id == "request-7"
