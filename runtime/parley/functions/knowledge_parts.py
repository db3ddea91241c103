"""What retrieval and ingestion are made of, from their settings."""

from collections.abc import Callable
from dataclasses import replace

from parley.aws import clients
from parley.aws.documents_bucket import DocumentsBucket
from parley.aws.embeddings import TitanEmbeddings
from parley.aws.index_record import IndexRecordItem
from parley.aws.knowledge_table import ItemCache, KnowledgeTable
from parley.knowledge.calibration import Calibration, calibration
from parley.knowledge.index_slots import SLOTS, CurrentIndex, IndexAddress, MaintainedIndex
from parley.settings import Settings, SettingsError


class KnowledgeSettings(Settings, frozen=True, kw_only=True):
    """Settings of retrieval and ingestion."""

    knowledge_table: str
    documents_bucket: str
    embedding_model: str
    vector_store: str
    previous_vector_store: str | None = None
    """The store that a reindex moves from; its index is used until the reindex has come to its end."""

    vector_index_prefix: str = "indexes/faiss/"
    """Where the FAISS indexes stand in the documents bucket: each in a folder named after its slot."""

    vector_index_arn_a: str = ""
    vector_index_arn_b: str = ""
    """The S3 Vectors indexes."""

    collection_endpoint: str = ""
    """The address of the OpenSearch Serverless collection."""

    vector_index: str = ""
    """What the indexes in that collection are called, without their slot (`passages` for `passages-a`)."""

    minimum_score: float | None = None
    """Overrides what is calibrated for the store and the model, like the next one."""

    minimum_coverage: float | None = None

    def vector_stores(self) -> tuple[str, ...]:
        """The stores that are deployed."""
        previous = () if self.previous_vector_store is None else (self.previous_vector_store,)
        return self.vector_store, *previous

    def calibration(self, vector_store: str | None = None) -> Calibration:
        """From when on passages may hold an answer, while a store is the one that is searched."""
        found = calibration(vector_store or self.vector_store, self.embedding_model)
        if self.minimum_score is not None:
            found = replace(found, minimum_score=self.minimum_score)
        if self.minimum_coverage is not None:
            found = replace(found, minimum_coverage=self.minimum_coverage)
        return found


def knowledge_table(settings: KnowledgeSettings, *, cache: ItemCache | None = None) -> KnowledgeTable:
    """Records and chunks."""
    return KnowledgeTable(settings.knowledge_table, clients.dynamodb(), cache=cache)


def dax_reads(endpoint: str | None, *, on_fallback: Callable[[Exception | None], None]) -> ItemCache | None:
    """The cache at `endpoint`, if the deployment has one."""
    if endpoint is None:
        return None
    # Imported here because only a deployment with a cache should wait for it: it takes about 0.2 s.
    from parley.aws.dax_reads import DaxReads

    return DaxReads(endpoint, on_fallback=on_fallback)


def documents_bucket(settings: KnowledgeSettings) -> DocumentsBucket:
    """Documents' files."""
    return DocumentsBucket(settings.documents_bucket, clients.s3())


def embedder(settings: KnowledgeSettings, *, attempts: int) -> TitanEmbeddings:
    """The embedding model, asked `attempts` times when it is throttled or fails."""
    return TitanEmbeddings(settings.embedding_model, clients.embedding_runtime(attempts))


def vector_index(settings: KnowledgeSettings) -> CurrentIndex:
    """The vector index of this deployment, whichever is active.

    Raises SettingsError for an unknown store, or when a setting of one is missing. It connects when it is first used.
    """
    return CurrentIndex(index_record(settings), settings.vector_stores(), index_opener(settings))


def index_opener(settings: KnowledgeSettings) -> Callable[[IndexAddress], MaintainedIndex]:
    """What gives the index at an address in one of the deployed stores. Raises as `vector_index`."""
    openers = {store: _opener(settings, store) for store in settings.vector_stores()}
    return lambda address: openers[address.store](address.slot)


def index_record(settings: KnowledgeSettings) -> IndexRecordItem:
    """The record of the indexes. Until a reindex has moved it, the index of a previous store is the active one."""
    initial = IndexAddress(settings.vector_stores()[-1], SLOTS[0])
    return IndexRecordItem(settings.knowledge_table, clients.dynamodb(), initial=initial)


def _opener(settings: KnowledgeSettings, store: str) -> Callable[[str], MaintainedIndex]:
    """What gives the index in a slot of a store."""

    # Each is imported when it is opened: FAISS alone is half of a cold start, and of no use to another store.
    def faiss(slot: str) -> MaintainedIndex:
        from parley.aws.faiss_store import FaissStore

        return FaissStore(clients.s3(), settings.documents_bucket, f"{settings.vector_index_prefix}{slot}/")

    def s3_vectors(slot: str) -> MaintainedIndex:
        from parley.aws.s3_vectors_store import S3VectorsStore

        return S3VectorsStore(
            arns[slot],
            for_searches=lambda: clients.s3_vectors(read_timeout=3.0, attempts=3),
            for_writes=lambda: clients.s3_vectors(read_timeout=20.0, attempts=8),
        )

    def opensearch(slot: str) -> MaintainedIndex:
        from parley.aws.opensearch_store import OpenSearchStore

        return OpenSearchStore(lambda: clients.collection(endpoint), f"{index}-{slot}")

    match store:
        case "faiss":
            return faiss
        case "s3vectors":
            arns = {
                "a": _needed("VECTOR_INDEX_ARN_A", settings.vector_index_arn_a),
                "b": _needed("VECTOR_INDEX_ARN_B", settings.vector_index_arn_b),
            }
            return s3_vectors
        case "opensearch":
            endpoint = _needed("COLLECTION_ENDPOINT", settings.collection_endpoint)
            index = _needed("VECTOR_INDEX", settings.vector_index)
            return opensearch
        case other:
            raise SettingsError(f"VECTOR_STORE is `{other}`; it must be `faiss`, `s3vectors` or `opensearch`.")


def _needed(variable: str, value: str) -> str:
    if not value:
        raise SettingsError(f"The environment variable {variable} is missing.")
    return value
