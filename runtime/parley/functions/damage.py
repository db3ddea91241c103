"""Damage to a vector index: a function that meets it leaves a marker in the documents bucket, and ingestion mends it.

The markers are objects, because retrieval may stand in a network from which nothing but S3 and DynamoDB is reached. The
bucket announces them like documents, so they wait in ingestion's queue.
"""

import json
from collections.abc import Callable, Sequence

from parley.aws import clients
from parley.aws.chunk_scan import ChunkScan
from parley.functions.knowledge_parts import (
    KnowledgeSettings,
    documents_bucket,
    embedder,
    faiss_index,
    index_record,
)
from parley.functions.telemetry import logger
from parley.knowledge.copying import Copying
from parley.knowledge.index_slots import IndexAddress
from parley.knowledge.repair import Repair


def damage_reporter(settings: KnowledgeSettings) -> Callable[[str, Sequence[str]], None]:
    """What a FAISS index in a slot is to call with the ids of its damaged segments."""

    def report(slot: str, segments: Sequence[str]) -> None:
        logger.warning("The index is damaged", slot=slot, segments=len(segments))
        # One marker for one observation, and the same one from every process that makes it.
        key = f"{_folder(settings)}{slot}/{segments[0]}"
        try:
            documents_bucket(settings).write(key, json.dumps(list(segments)).encode(), "application/json")
        except Exception as error:
            # Whoever searches gets what there is; the next process that starts reports it again.
            logger.warning("The damage could not be reported", error=type(error).__name__)

    return report


class Repairs:
    """Works off markers of damage."""

    def __init__(self, settings: KnowledgeSettings, *, embedding_attempts: int) -> None:
        self._settings = settings
        self._files = documents_bucket(settings)
        self._record = index_record(settings)
        stored = ChunkScan(settings.knowledge_table, clients.dynamodb())
        self._repair = Repair(Copying(stored, embedder(settings, attempts=embedding_attempts)))

    def concerns(self, key: str) -> bool:
        """Is `key` that of a marker?"""
        return key.startswith(_folder(self._settings))

    def mend(self, key: str, *, seconds_left: Callable[[], float]) -> int | None:
        """Do what the marker under `key` asks for; how many segments were damaged, or None when the time was up.

        A marker that is gone asks for nothing: another delivery was worked off before.
        Raises StoreUnavailable and KnowledgeUnavailable.
        """
        if self._files.describe(key) is None:
            return 0
        address = IndexAddress("faiss", key.removeprefix(_folder(self._settings)).partition("/")[0])
        # An index that is no longer used is emptied, and needs no repair.
        used = address in self._record.read().written
        # With a view of its own: what a longer-lived one remembers may have been mended meanwhile.
        mended = self._repair.mend(faiss_index(self._settings, address.slot), seconds_left=seconds_left) if used else 0
        if mended is not None:
            self._files.delete_folder(key)
        return mended


def _folder(settings: KnowledgeSettings) -> str:
    return f"{settings.vector_index_prefix}damaged/"
