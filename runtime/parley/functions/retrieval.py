"""POST /rag/query, and the same for other functions by direct invocation."""

from functools import cache
from typing import Annotated, Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from parley.errors import KnowledgeUnavailable, ParleyError, StoreUnavailable, ValidationFailed
from parley.functions.damage import damage_reporter
from parley.functions.http import HttpApi, Request
from parley.functions.knowledge_parts import (
    KnowledgeSettings,
    dax_reads,
    documents_bucket,
    embedder,
    knowledge_table,
    vector_index,
)
from parley.functions.telemetry import instrument, logger, metrics
from parley.knowledge.chunks import FieldValue
from parley.knowledge.filters import MAX_FIELDS, MAX_LENGTH, MAX_VALUES, parse_filter
from parley.knowledge.passages import Passage
from parley.knowledge.retrieval import MAX_TOP_K, Retrieval

api = HttpApi()

EMBEDDING_ATTEMPTS = 3
"""A user waits: with 3 s a try, and the SDK's backoff between, the end comes before HTTP's own."""

QUERY_LENGTH = 32_000
"""Characters of a query: as many as a chat message has."""

type FilterValues = Annotated[
    FieldValue | list[FieldValue],
    msgspec.Meta(
        description=f"A text of at most {MAX_LENGTH} characters, a number or a boolean, or up to {MAX_VALUES} of them.",
        extra_json_schema={"maxLength": MAX_LENGTH, "minItems": 1, "maxItems": MAX_VALUES},
    ),
]
type QueryFilter = Annotated[
    dict[str, FilterValues],
    msgspec.Meta(
        description="Only passages of records (items of a JSON document, rows of a CSV document) that have one of the "
        f"values in each of these fields, {MAX_FIELDS} at most. Values are compared exactly, with their type; those "
        "of a CSV document are texts. The field `document_id` is built in: only passages of these documents.",
        examples=[{"language": "fr", "level": [1, 2]}, {"document_id": "0193f0c2a7b5c1d2e3f405162738495a"}],
        extra_json_schema={"maxProperties": MAX_FIELDS},
    ),
]
type TopK = Annotated[int, msgspec.Meta(ge=1, le=MAX_TOP_K, description="How many passages at most.")]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to the documents that the caller may read."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=QUERY_LENGTH)]
    top_k: TopK = 5
    filter: QueryFilter = {}


class DirectQuery(Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same from another function, which has verified the subject."""

    subject: Annotated[str, msgspec.Meta(min_length=1)]
    correlation_id: str | None = None


class PassageView(msgspec.Struct, frozen=True, kw_only=True):
    """A passage of a document: `score` is its cosine similarity to the query, `owner` whose document it is.

    `source_url` opens the document for 15 minutes, a PDF at the passage's page.
    """

    document_id: str
    document: str
    heading: str
    page: int | None
    text: str
    score: float
    owner: str
    source_url: str | None

    @classmethod
    def of(cls, passage: Passage) -> "PassageView":
        """The view of a passage."""
        return msgspec.convert(passage, cls, from_attributes=True)


class QueryResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Passages, best first; none when nothing in the documents comes near."""

    passages: tuple[PassageView, ...]


class RetrievalSettings(KnowledgeSettings, frozen=True, kw_only=True):
    """Settings of this function."""

    dax_endpoint: str | None = None
    """The cache in front of the knowledge table, `daxs://host`; without one its items come from DynamoDB."""


@cache
def retrieval() -> Retrieval:
    """This process's retrieval."""
    settings = RetrievalSettings.load()
    index = vector_index(settings, on_damage=damage_reporter(settings))
    return Retrieval(
        embedder=embedder(settings, attempts=EMBEDDING_ATTEMPTS),
        index=index,
        records=knowledge_table(
            settings, cache=dax_reads(settings.dax_endpoint, on_fallback=_count_read_without_cache)
        ),
        calibration=lambda: settings.calibration(index.active_store),
        links=documents_bucket(settings),
    )


def _count_read_without_cache(reason: Exception | None) -> None:
    metrics.add_metric("DaxFallbacks", MetricUnit.Count, 1)
    if reason is not None:
        logger.warning("The cache does not answer; DynamoDB does", error=type(reason).__name__)


@api.route(
    "POST",
    "/rag/query",
    summary="Find passages in your documents and the shared ones",
    request=Query,
    response=QueryResponse,
    errors=("knowledge_unavailable",),
)
def query(request: Request[Query]) -> QueryResponse:
    """Passages for the caller."""
    return _answer(request.caller.subject, request.body)


def _answer(subject: str, asked: Query) -> QueryResponse:
    if not asked.query.strip():
        raise ValidationFailed("`query` is empty.")
    where = parse_filter(asked.filter)
    try:
        found = retrieval().passages(subject, asked.query, top_k=asked.top_k, where=where)
    except StoreUnavailable as error:
        # Which of its parts does not answer is no matter to who asks.
        raise KnowledgeUnavailable from error
    logger.info("Retrieved", passages=len(found), best_score=round(found[0].score, 3) if found else None)
    return QueryResponse(passages=tuple(map(PassageView.of, found)))


def _direct(event: Any, context: Any) -> Any:
    if isinstance(event, dict) and event.get("warm_up") is True:
        return _warm_up()
    try:
        asked = msgspec.convert(event, DirectQuery)
        # Lambda's own encoder takes plain values only.
        return {"passages": [msgspec.to_builtins(view) for view in _answer(asked.subject, asked).passages]}
    except msgspec.ValidationError as error:
        return _error(ValidationFailed(f"{error}."), context)
    except ParleyError as error:
        return _error(error, context)


def _warm_up() -> dict[str, bool]:
    try:
        retrieval().index.prepare()
    except ParleyError as error:
        # Nobody waits for it, and a repetition would come too late to help.
        logger.info("Not warm yet", error_code=error.code)
        return {"warm": False}
    return {"warm": True}


def _error(error: ParleyError, context: Any) -> Any:
    logger.info("Refused", error_code=error.code)
    return {"error": {"code": error.code, "message": error.message, "request_id": context.aws_request_id}}


_http_handler = api.handler()
_direct_handler = instrument(_direct)


def handler(event: Any, context: Any) -> Any:
    """The Lambda entry point: an HTTP API's event, or `{subject, query, top_k, filter}` from another function.

    `{"warm_up": true}` makes the vector store ready for a question that will come.
    """
    is_http = isinstance(event, dict) and "requestContext" in event
    return (_http_handler if is_http else _direct_handler)(event, context)
