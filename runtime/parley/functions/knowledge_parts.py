"""What retrieval and ingestion are made of, from their settings."""

from collections.abc import Callable

from parley.aws import clients
from parley.aws.documents_bucket import DocumentsBucket
from parley.aws.embeddings import TitanEmbeddings
from parley.aws.knowledge_table import ItemCache, KnowledgeTable
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

    minimum_score: float = 0.1
    """Passages less similar to a question than this are no answer. It belongs to the embedding model.

    0.1 is measured with the sandbox's lexical embedder on XQuAD: it keeps 96 % of the right paragraphs in English
    and Spanish and 99 % in Vietnamese, and drops questions that share no rare word with the documents. Embeddings
    from language models score unrelated texts near 0 too, and related ones higher; measure before raising it.
    """


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
    """The vector store of this deployment. Raises SettingsError for one that this version does not know."""
    if settings.vector_store != "faiss":
        raise SettingsError(f"VECTOR_STORE is `{settings.vector_store}`; this version of the runtime has `faiss`.")
    # Imported here because it is half of a cold start, and of no use to another store.
    from parley.aws.faiss_store import FaissStore

    return FaissStore(clients.s3(), settings.documents_bucket, settings.vector_index_prefix)
