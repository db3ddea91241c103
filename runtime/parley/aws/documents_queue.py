"""A queue of events about files, from the worker's side: what it holds, what it puts back, and what it gives up.

A message comes back by itself once nobody has held it for HOLD_SECONDS: so a worker that was killed is noticed within
seconds, however long the work on a document may take.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.failures import store_errors
from parley.correlation import current

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
    )

HOLD_SECONDS = 30
"""How long a message stays with a worker that gives no sign of life."""

BEAT_SECONDS = 10.0
"""How often a worker gives one: two may fail."""

FIRST_PAUSE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 900
"""Pauses before a message is delivered again: twice as long each time. Ten deliveries take some 50 minutes."""

_CORRELATION = "correlation_id"

_BATCH = 10
"""Messages of one batch operation: SQS's limit."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message of the queue in the hands of a worker."""

    id: str
    receipt: str
    body: str
    attempt: int
    """Deliveries of the message until now, this one included."""
    correlation_id: str | None = None
    """Of the request that the message belongs to; None: of none that is known."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Delivery":
        """The delivery that a record of Lambda's event is."""
        attempt = int(record["attributes"]["ApproximateReceiveCount"])
        carried = record.get("messageAttributes", {}).get(_CORRELATION, {}).get("stringValue")
        return cls(record["messageId"], record["receiptHandle"], record["body"], attempt, carried)


class DocumentsQueue:
    """A queue of events about documents or recordings, and the queue for those that are given up."""

    def __init__(self, client: "SQSClient", queue_url: str, dead_letter_queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url

    @contextmanager
    def holding(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """Keep these from other workers for as long as this one lives."""
        stopped = threading.Event()

        def beat() -> None:
            while not stopped.wait(BEAT_SECONDS):
                self._hide(dict.fromkeys(deliveries, HOLD_SECONDS))

        self._hide(dict.fromkeys(deliveries, HOLD_SECONDS))
        beating = threading.Thread(target=beat, daemon=True, name="hold-messages")
        beating.start()
        try:
            yield
        finally:
            stopped.set()
            beating.join()

    def delay(self, deliveries: Sequence[Delivery]) -> None:
        """Let these come again after a pause that grows with each delivery."""
        self._hide({delivery: _pause(delivery.attempt) for delivery in deliveries})

    def put_back(self, delivery: Delivery) -> None:
        """Queue it anew, as if it had never been delivered; the caller then lets this one be deleted.

        Raises StoreUnavailable.
        """
        self.send(delivery.body, correlation_id=delivery.correlation_id)

    def give_up(self, delivery: Delivery) -> None:
        """Put it into the dead-letter queue; the caller then lets this one be deleted. Raises StoreUnavailable."""
        with store_errors():
            self._client.send_message(
                QueueUrl=self._dead_letter_queue_url,
                MessageBody=delivery.body,
                MessageAttributes=_attributes(delivery.correlation_id or current()),
            )

    def send(self, body: str, *, after_seconds: int = 0, correlation_id: str | None = None) -> None:
        """Queue a message that comes after so many seconds, 900 at most. Raises StoreUnavailable.

        It belongs to the request that is being worked on, unless told of another.
        """
        with store_errors():
            self._client.send_message(
                QueueUrl=self._queue_url,
                MessageBody=body,
                DelaySeconds=after_seconds,
                MessageAttributes=_attributes(correlation_id or current()),
            )

    def _hide(self, seconds: Mapping[Delivery, int]) -> None:
        """Set when messages come again. When that fails they come sooner or later than wished: no more than that."""
        for batch in batched(seconds.items(), _BATCH):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(number), "ReceiptHandle": delivery.receipt, "VisibilityTimeout": pause}
                for number, (delivery, pause) in enumerate(batch)
            ]
            with suppress(BotoCoreError, ClientError):
                self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def _attributes(correlation_id: str | None) -> "dict[str, MessageAttributeValueTypeDef]":
    return {_CORRELATION: {"DataType": "String", "StringValue": correlation_id}} if correlation_id else {}


def _pause(attempt: int) -> int:
    longest = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
    # From half of it on: messages that failed together do not all come back together.
    return random.randint(longest // 2, longest)  # noqa: S311 - jitter, no secret
