"""The vector index as an S3 Vectors index: nothing runs and nothing costs while nobody asks.

Reads see every write that came before: S3 Vectors is strongly consistent. It searches by meaning alone. The SDK tries
again what is throttled, with exponential backoff and jitter; limits are from the S3 User Guide, "Limitations and
restrictions".
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import batched, islice
from typing import TYPE_CHECKING, Any

from parley.aws.failures import store_errors
from parley.knowledge.chunks import ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import DOCUMENT_ID, NO_FILTER, Filter, alternatives, document_ids, terms

if TYPE_CHECKING:
    from mypy_boto3_s3vectors.client import S3VectorsClient

WRITE_BATCH = 500
"""The most vectors of one PutVectors or DeleteVectors. 500 of 1,024 dimensions take 6 MB; 20 MiB are allowed."""

MAX_RESULTS = 10_000
"""The most results of one query, which come in pages."""

OWNER = "owner"
FIELDS = "fields"
"""Filterable metadata keys, beside DOCUMENT_ID. `fields` is a list of terms, so that a record's names are no keys: an
index takes 50 of these and reads `$` in them as an operator. The knowledge table has the text."""

_DECIMALS = 8
"""Enough for float32: a unit vector of 1,024 dimensions has values around 0.03."""


class S3VectorsStore:
    """The VectorIndex protocol over one index with cosine distance.

    `for_searches` and `for_writes` give the client: while a user waits it should give up soon, in the background it
    should be patient. Neither is called before it is needed.
    """

    def __init__(
        self,
        index_arn: str,
        *,
        for_searches: "Callable[[], S3VectorsClient]",
        for_writes: "Callable[[], S3VectorsClient]",
    ) -> None:
        self._index_arn = index_arn
        self._for_searches = for_searches
        self._for_writes = for_writes

    def prepare(self) -> None:
        """See VectorIndex: makes the client, while the query is embedded."""
        self._for_searches()

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """See VectorIndex. A key names its chunk, so adding it again replaces it."""
        for batch in batched(chunks, WRITE_BATCH):
            with store_errors():
                self._for_writes().put_vectors(
                    indexArn=self._index_arn,
                    vectors=[
                        {
                            "key": vector_key(chunk.id),
                            "data": {"float32": [round(value, _DECIMALS) for value in chunk.vector]},
                            "metadata": _metadata(chunk),
                        }
                        for chunk in batch
                    ],
                )

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex."""
        for batch in batched(ids, WRITE_BATCH):
            with store_errors():
                self._for_writes().delete_vectors(indexArn=self._index_arn, keys=[vector_key(id_) for id_ in batch])

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """See VectorIndex; the words of `text` play no part."""
        hits: dict[ChunkId, Hit] = {}
        with store_errors():
            pages = (
                self._for_searches()
                .get_paginator("query_vectors")
                .paginate(
                    indexArn=self._index_arn,
                    queryVector={"float32": list(vector)},
                    topK=min(limit, MAX_RESULTS),
                    filter=_condition(owners, where),
                    returnDistance=True,
                )
            )
            for page in pages:
                for found in page["vectors"]:
                    id_ = chunk_id(found["key"])
                    # Cosine distance is 1 minus the similarity.
                    hits.setdefault(id_, Hit(id_, 1.0 - found["distance"]))
                if len(hits) >= limit:
                    break
        return list(hits.values())[:limit]

    def clear(self) -> None:
        """See MaintainedIndex."""
        while keys := list(islice(self._keys(), WRITE_BATCH)):
            with store_errors():
                self._for_writes().delete_vectors(indexArn=self._index_arn, keys=keys)

    def count(self) -> int:
        """See MaintainedIndex: S3 Vectors counts nothing itself, so all keys are listed."""
        return sum(1 for _ in self._keys())

    def forget(self, owner: str) -> None:
        """See MaintainedIndex: all keys are listed, because a search by owner gives no more than the nearest."""
        own = (key for key in self._keys() if key.startswith(f"{owner}/"))
        while keys := list(islice(own, WRITE_BATCH)):
            with store_errors():
                self._for_writes().delete_vectors(indexArn=self._index_arn, keys=keys)

    def _keys(self) -> Iterator[str]:
        with store_errors():
            pages = self._for_writes().get_paginator("list_vectors").paginate(indexArn=self._index_arn)
            for page in pages:
                yield from (vector["key"] for vector in page["vectors"])


def _metadata(chunk: IndexedChunk) -> dict[str, Any]:
    metadata: dict[str, Any] = {OWNER: chunk.id.owner, DOCUMENT_ID: chunk.id.document_id}
    return {**metadata, FIELDS: terms(chunk.metadata)} if chunk.metadata else metadata


def _condition(owners: Sequence[str], where: Filter) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [{OWNER: {"$in": list(owners)}}]
    documents = document_ids(where)
    if documents is not None:
        conditions.append({DOCUMENT_ID: {"$in": documents}})
    for any_ in alternatives(where):
        # Of `$eq` it is documented that a list has the value when one of its elements is it; of `$in` it is not.
        having = [{FIELDS: {"$eq": each}} for each in any_]
        conditions.append({"$or": having} if len(having) > 1 else having[0])
    return {"$and": conditions} if len(conditions) > 1 else conditions[0]


def vector_key(id_: ChunkId) -> str:
    """The key of a chunk's vector. It may have 1,024 characters, like the file's own key, which is about as long."""
    return f"{id_.owner}/{id_.document_id}/{id_.version}/{id_.number:06d}"


def chunk_id(key: str) -> ChunkId:
    """The chunk that a vector's key names. Neither owners nor document ids hold a slash; a version may."""
    owner, document_id, rest = key.split("/", 2)
    version, number = rest.rsplit("/", 1)
    return ChunkId(owner, document_id, version, int(number))
