"""Works off the documents queue: each message is an event of the documents bucket.

A message leaves the queue when its document is done, or is given up: at once when trying again would change nothing,
else with its last delivery. What gets no turn before the function's time is up is queued anew, so that waiting uses up
no delivery, and neither does a document that needs several turns.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from aws_lambda_powertools.metrics import MetricUnit

from parley.aws import clients
from parley.aws.documents_queue import Delivery, DocumentsQueue
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.functions.knowledge_parts import (
    KnowledgeSettings,
    documents_bucket,
    embedder,
    knowledge_table,
    vector_index,
)
from parley.functions.repairs import Repairs
from parley.functions.telemetry import correlate, instrument, logger, metrics
from parley.knowledge.documents import parse_key
from parley.knowledge.errors import KnowledgeError
from parley.knowledge.ingest import Ingestion, Outcome, Result
from parley.settings import Settings

EMBEDDING_ATTEMPTS = 6
"""The SDK's backoff waits up to 16 s between them; after that the queue waits, which costs nothing."""

_EVENTS = frozenset({"Object Created", "Object Deleted"})
_GIVEN_UP = "It could not be indexed, though it was tried again and again. Upload it again later."


class QueueSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function beside the knowledge path's."""

    documents_queue_url: str
    dead_letter_queue_url: str
    max_deliveries: int
    """A message that comes for this time is given up, whatever keeps it from being worked off: even if it is what
    kills this function."""


class _ObjectEvent(NamedTuple):
    key: str
    size: int


class _NoEvent(ValueError):
    """The message is no JSON, or lacks what every event of the bucket has."""


@cache
def settings() -> QueueSettings:
    """This process's settings."""
    return QueueSettings.load()


@cache
def queue() -> DocumentsQueue:
    """This process's queue."""
    return DocumentsQueue(clients.sqs(), settings().documents_queue_url, settings().dead_letter_queue_url)


@cache
def ingestion() -> Ingestion:
    """This process's ingestion."""
    settings = KnowledgeSettings.load()
    return Ingestion(
        files=documents_bucket(settings),
        records=knowledge_table(settings),
        embedder=embedder(settings, attempts=EMBEDDING_ATTEMPTS),
        index=vector_index(settings),
    )


@cache
def repairs() -> Repairs:
    """This process's repairs of damaged indexes."""
    return Repairs(KnowledgeSettings.load(), embedding_attempts=EMBEDDING_ATTEMPTS)


def _process(event: Any, context: Any) -> Any:
    deliveries = [Delivery.of(record) for record in event["Records"]]
    with queue().holding(deliveries):
        unsettled = _work_off(deliveries, context)
    queue().delay(unsettled)
    return {"batchItemFailures": [{"itemIdentifier": delivery.id} for delivery in unsettled]}


def _work_off(deliveries: Sequence[Delivery], context: Any) -> list[Delivery]:
    """Work deliveries off; returns those that are to come again."""
    unsettled: list[Delivery] = []
    events: dict[Delivery, _ObjectEvent] = {}
    for delivery in deliveries:
        correlate(delivery.correlation_id or delivery.id)
        try:
            event = _object_event(delivery.body)
            if event is None:
                logger.info("Ignored a message that is no document's event")
            elif delivery.attempt >= settings().max_deliveries:
                ingestion().give_up(event.key, _GIVEN_UP)
                _bury(delivery, "every delivery was used up")
            else:
                events[delivery] = event
        except _NoEvent:
            _bury(delivery, "it is no event")
        except StoreUnavailable:
            unsettled.append(delivery)
    by_key: dict[str, list[Delivery]] = defaultdict(list)
    # What may have killed a worker comes last, so that it takes no other with it; what is soon done comes first.
    for delivery in sorted(events, key=lambda delivery: (delivery.attempt, events[delivery].size)):
        by_key[events[delivery].key].append(delivery)

    def seconds_left() -> float:
        return float(context.get_remaining_time_in_millis()) / 1000

    markers = {key: by_key.pop(key) for key in list(by_key) if repairs().concerns(key)}
    results = ingestion().reconcile_all(by_key, seconds_left=seconds_left)
    for key, same in markers.items():
        unsettled += [delivery for delivery in same if not _mend(key, delivery, seconds_left)]
    for key, same in by_key.items():
        unsettled += [delivery for delivery in same if not _settle(key, results[key], delivery)]
    return unsettled


def _settle(key: str, result: Result, delivery: Delivery) -> bool:
    """Do with a delivery what its result asks for; False when it is to come again."""
    correlate(delivery.correlation_id or delivery.id)
    location = parse_key(key)
    # The file's name is its owner's business; ids say enough.
    about: dict[str, Any] = {
        "document_id": location.document_id if location is not None else None,
        "attempt": delivery.attempt,
    }
    try:
        match result:
            case Outcome():
                logger.info("Worked off", outcome=result.value, **about)
                if result is Outcome.INDEXED:
                    _count("DocumentsIndexed")
                elif result is Outcome.UNFINISHED:
                    queue().put_back(delivery)
            case KnowledgeError():
                logger.warning("The document cannot be indexed", reason=result.reason, **about)
                _bury(delivery, "it cannot be indexed")
            case _:
                logger.error("Ingestion failed; it is tried again", error=type(result).__name__, **about)
                _count("DocumentsDelayed")
                return False
    except StoreUnavailable:
        return False
    return True


def _mend(key: str, delivery: Delivery, seconds_left: Callable[[], float]) -> bool:
    """Mend the index that a marker says is damaged; False when the delivery is to come again."""
    try:
        mended = repairs().mend(key, seconds_left=seconds_left)
        if mended is None:
            queue().put_back(delivery)
    except (StoreUnavailable, KnowledgeUnavailable) as error:
        logger.error("The repair of the index failed; it is tried again", error=type(error).__name__)
        return False
    if mended != 0:
        logger.info("Mended the index", segments=mended, finished=mended is not None)
    if mended:
        metrics.add_metric("SegmentsRebuilt", MetricUnit.Count, mended)
    return True


def _bury(delivery: Delivery, why: str) -> None:
    queue().give_up(delivery)
    _count("DocumentsFailed")
    logger.warning("A message went to the dead-letter queue", why=why, message_id=delivery.id)


def _count(metric: str) -> None:
    metrics.add_metric(metric, MetricUnit.Count, 1)


def _object_event(body: str) -> _ObjectEvent | None:
    """What an EventBridge event of the bucket is about; None for any other message, such as S3's test event.

    Raises _NoEvent.
    """
    try:
        event = json.loads(body)
    except ValueError as error:
        raise _NoEvent from error
    if not isinstance(event, dict) or event.get("detail-type") not in _EVENTS:
        return None
    match event:
        case {"detail": {"object": {"key": str(key), **about}}}:
            size = about.get("size")
            return _ObjectEvent(key, size if isinstance(size, int) else 0)
    raise _NoEvent


handler = instrument(_process)
