"""Follows the knowledge table's stream: a chunk whose text was changed outside ingestion is embedded again.

The write is long done, so nothing here can fail it. A record that fails is delivered again with those after it, and
after some deliveries it goes to the dead-letter queue, while the rest goes on.
"""

from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from parley.aws.knowledge_table import changed_chunk
from parley.functions.knowledge_parts import KnowledgeSettings, embedder, knowledge_table, vector_index
from parley.functions.telemetry import instrument, logger, metrics
from parley.knowledge.chunks import ChunkId
from parley.knowledge.reembedding import Reembedding

EMBEDDING_ATTEMPTS = 8
"""Nobody waits; the SDK's backoff reaches 20 s between attempts."""

# Every record failing is the stream's business, record by record; it is no crash of the function.
_processor = BatchProcessor(event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)


@cache
def reembedding() -> Reembedding:
    """This process's re-embedding."""
    settings = KnowledgeSettings.load()
    return Reembedding(
        records=knowledge_table(settings),
        embedder=embedder(settings, attempts=EMBEDDING_ATTEMPTS),
        index=vector_index(settings),
    )


def _process(event: Any, context: Any) -> Any:
    changed = [id_ for record in event["Records"] if (id_ := _chunk(record)) is not None]
    # All at once: the model takes several texts side by side, and the index one write for all of them.
    renewal = reembedding().renew(changed)
    metrics.add_metric("ChunksReembedded", MetricUnit.Count, len(renewal.renewed))
    if renewal.failures:
        metrics.add_metric("ReembeddingFailures", MetricUnit.Count, len(renewal.failures))
    logger.info("Followed the stream", changed=len(changed), renewed=len(renewal.renewed))

    def settle(record: dict[str, Any]) -> None:
        id_ = _chunk(record)
        error = renewal.failures.get(id_) if id_ is not None else None
        if id_ is not None and error is not None:
            # The text is its owner's business; ids and the kind of the error say enough.
            logger.warning(
                "A changed chunk cannot be embedded", document_id=id_.document_id, error=type(error).__name__
            )
            raise error

    return process_partial_response(event, record_handler=settle, processor=_processor, context=context)


def _chunk(record: dict[str, Any]) -> ChunkId | None:
    return changed_chunk(record["dynamodb"]["Keys"])


handler = instrument(_process)
