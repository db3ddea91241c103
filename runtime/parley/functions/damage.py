"""Damage to a vector index: a function that meets it leaves a marker in the documents bucket, and ingestion mends it.

The markers are objects, because retrieval may stand in a network from which nothing but S3 and DynamoDB is reached. The
bucket announces them like documents, so they wait in ingestion's queue.
"""

import json
from collections.abc import Callable, Sequence

from parley.functions.knowledge_parts import KnowledgeSettings, documents_bucket
from parley.functions.telemetry import logger


def markers_folder(settings: KnowledgeSettings) -> str:
    """The prefix of the markers' keys, which go on with the slot of the index: `<folder>a/<a segment's id>`."""
    return f"{settings.vector_index_prefix}damaged/"


def damage_reporter(settings: KnowledgeSettings) -> Callable[[str, Sequence[str]], None]:
    """What a FAISS index in a slot is to call with the ids of its damaged segments. It never raises."""

    def report(slot: str, segments: Sequence[str]) -> None:
        logger.warning("The index is damaged", slot=slot, segments=len(segments))
        # One marker for one observation, and the same one from every process that makes it.
        key = f"{markers_folder(settings)}{slot}/{segments[0]}"
        try:
            documents_bucket(settings).write(key, json.dumps(list(segments)).encode(), "application/json")
        except Exception as error:
            # Whoever searches gets what there is; the next process that starts reports it again.
            logger.warning("The damage could not be reported", error=type(error).__name__)

    return report
