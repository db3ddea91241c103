"""Ingestion's answer to markers of damage: the index is mended."""

from collections.abc import Callable

from parley.aws import clients
from parley.aws.chunk_scan import ChunkScan
from parley.functions.damage import markers_folder
from parley.functions.knowledge_parts import (
    KnowledgeSettings,
    documents_bucket,
    embedder,
    faiss_index,
    index_record,
)
from parley.knowledge.copying import Copying
from parley.knowledge.index_slots import IndexAddress
from parley.knowledge.repair import Repair


class Repairs:
    """Works off markers of damage."""

    def __init__(self, settings: KnowledgeSettings, *, embedding_attempts: int) -> None:
        self._settings = settings
        self._folder = markers_folder(settings)
        self._files = documents_bucket(settings)
        self._record = index_record(settings)
        stored = ChunkScan(settings.knowledge_table, clients.dynamodb())
        self._repair = Repair(Copying(stored, embedder(settings, attempts=embedding_attempts)))

    def concerns(self, key: str) -> bool:
        """Is `key` that of a marker?"""
        return key.startswith(self._folder)

    def mend(self, key: str, *, seconds_left: Callable[[], float]) -> int | None:
        """Do what the marker under `key` asks for; how many segments were damaged, or None when the time was up.

        A marker that is gone asks for nothing: another delivery was worked off before.
        Raises StoreUnavailable and KnowledgeUnavailable.
        """
        if self._files.describe(key) is None:
            return 0
        address = IndexAddress("faiss", key.removeprefix(self._folder).partition("/")[0])
        # An index that is no longer used is emptied, and needs no repair.
        used = address in self._record.read().written
        # With a view of its own: what a longer-lived one remembers may have been mended meanwhile.
        mended = self._repair.mend(faiss_index(self._settings, address.slot), seconds_left=seconds_left) if used else 0
        if mended is not None:
            self._files.delete_folder(key)
        return mended
