"""Works off the documents queue: each message is an event of the documents bucket.

A message that fails goes back to the queue alone, and after some deliveries to the dead-letter queue.
"""

import json
from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from parley.functions.knowledge_parts import (
    KnowledgeSettings,
    documents_bucket,
    embedder,
    knowledge_table,
    vector_index,
)
from parley.functions.telemetry import instrument, logger, metrics
from parley.knowledge.documents import parse_key
from parley.knowledge.errors import KnowledgeError
from parley.knowledge.ingest import Ingestion, Outcome

EMBEDDING_ATTEMPTS = 8
"""Nobody waits; the SDK's backoff reaches 20 s between attempts."""

_EVENTS = frozenset({"Object Created", "Object Deleted"})

# Every message failing is the queue's business, message by message; it is no crash of the function.
_processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


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


def _work_off(record: dict[str, Any]) -> None:
    key = _object_key(json.loads(record["body"]))
    location = parse_key(key) if key is not None else None
    if key is None or location is None:
        logger.info("Ignored a message that is no document's event")
        return
    # The file's name is its owner's business; ids say enough.
    logger.append_keys(document_id=location.document_id)
    try:
        outcome = ingestion().reconcile(key)
    except KnowledgeError as error:
        metrics.add_metric("DocumentsFailed", MetricUnit.Count, 1)
        logger.warning("The document cannot be indexed", reason=error.reason)
        raise
    except Exception as error:
        metrics.add_metric("DocumentsFailed", MetricUnit.Count, 1)
        logger.error("Ingestion failed; it is tried again", error=type(error).__name__)
        raise
    finally:
        logger.remove_keys(["document_id"])
    if outcome is Outcome.INDEXED:
        metrics.add_metric("DocumentsIndexed", MetricUnit.Count, 1)
    logger.info("Worked off", outcome=outcome.value, document_id=location.document_id)


def _object_key(event: Any) -> str | None:
    """The object that an EventBridge event is about; None for any other message, such as S3's test event."""
    if not isinstance(event, dict) or event.get("detail-type") not in _EVENTS:
        return None
    key = event.get("detail", {}).get("object", {}).get("key")
    return key if isinstance(key, str) else None


def _process(event: Any, context: Any) -> Any:
    return process_partial_response(event, record_handler=_work_off, processor=_processor, context=context)


handler = instrument(_process)
