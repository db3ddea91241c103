"""What retrieval and ingestion are made of, from their settings."""

from collections.abc import Callable
from dataclasses import replace

from parley.aws import clients
from parley.aws.documents_bucket import DocumentsBucket
from parley.aws.embeddings import TitanEmbeddings
from parley.aws.knowledge_table import ItemCache, KnowledgeTable
from parley.knowledge.calibration import Calibration, calibration
from parley.knowledge.ports import VectorIndex
from parley.settings import Settings, SettingsError


class KnowledgeSettings(Settings, frozen=True, kw_only=True):
    """Settings of retrieval and ingestion."""

    knowledge_table: str
    documents_bucket: str
    embedding_model: str
    vector_store: str
    vector_index_prefix: str = "indexes/faiss/"
    """Where the FAISS index stands in the documents bucket."""

    vector_index_arn: str = ""
    """The S3 Vectors index."""

    collection_endpoint: str = ""
    """The address of the OpenSearch Serverless collection."""

    vector_index: str = ""
    """The name of the index in that collection."""

    minimum_score: float | None = None
    """Overrides what is calibrated for the store and the model, like the next one."""

    minimum_coverage: float | None = None

    def calibration(self) -> Calibration:
        """From when on passages may hold an answer."""
        found = calibration(self.vector_store, self.embedding_model)
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


def vector_index(settings: KnowledgeSettings) -> VectorIndex:
    """The vector store of this deployment. Raises SettingsError for an unknown one, or when a setting of it is missing.

    It connects when it is first used.
    """
    # Each is imported where it is chosen: FAISS alone is half of a cold start, and of no use to another store.
    match settings.vector_store:
        case "faiss":
            from parley.aws.faiss_store import FaissStore

            return FaissStore(clients.s3(), settings.documents_bucket, settings.vector_index_prefix)
        case "s3vectors":
            from parley.aws.s3_vectors_store import S3VectorsStore

            return S3VectorsStore(
                _needed("VECTOR_INDEX_ARN", settings.vector_index_arn),
                for_searches=lambda: clients.s3_vectors(read_timeout=3.0, attempts=3),
                for_writes=lambda: clients.s3_vectors(read_timeout=20.0, attempts=8),
            )
        case "opensearch":
            from parley.aws.opensearch_store import OpenSearchStore

            endpoint = _needed("COLLECTION_ENDPOINT", settings.collection_endpoint)
            return OpenSearchStore(lambda: clients.collection(endpoint), _needed("VECTOR_INDEX", settings.vector_index))
        case other:
            raise SettingsError(f"VECTOR_STORE is `{other}`; it must be `faiss`, `s3vectors` or `opensearch`.")


def _needed(variable: str, value: str) -> str:
    if not value:
        raise SettingsError(f"The environment variable {variable} is missing.")
    return value
