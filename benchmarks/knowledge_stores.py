"""Vector indexes to evaluate: FAISS in this process, or one that is made beside a deployed environment's own.

An index that is made in the cloud has a name of its own, so nothing of the environment's knowledge is read or changed,
and it is deleted however the evaluation ends: by its end, an error, or Ctrl-C.
"""

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from parley.aws.clients import make_client
from parley.aws.embeddings import DIMENSIONS
from parley.aws.faiss_store import FaissStore
from parley.aws.opensearch_http import Collection, OpenSearchRefused
from parley.aws.opensearch_store import OpenSearchStore
from parley.aws.s3_vectors_store import S3VectorsStore
from parley.knowledge.chunks import ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import NO_FILTER, Filter
from parley.knowledge.ports import VectorIndex

from benchmarks.knowledge_local import LocalObjects
from operations.environment import Environment, OperationError

MODES: Mapping[str, tuple[str, ...]] = {
    "faiss": ("vector", "lexical", "hybrid"),
    "s3vectors": ("vector",),
    "opensearch": ("vector", "hybrid"),
}
"""How each store can be searched; the last is how retrieval does it when deployed."""

READY_SECONDS = 180.0
"""A new index's data access policy takes about a minute to count, and so does what is written to be found."""

_POLL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index to be filled and searched."""

    store: str
    modes: Mapping[str, VectorIndex]
    """The same index, searched in each way."""
    settle: Callable[[int], None] = lambda count: None
    """Returns when searches find this many chunks."""

    @property
    def deployed(self) -> VectorIndex:
        """Searched as retrieval does it."""
        return self.modes[MODES[self.store][-1]]


@contextmanager
def opened(store: str, folder: Path, environment: Environment | None) -> Iterator[OpenIndex]:
    """A new, empty index in this store, gone at the end; files of a local one stand in `folder`.

    Raises OperationError in one sentence when there is no environment to make it in, or that has no such store.
    """
    if store == "faiss":
        yield local_index(folder)
        return
    if environment is None:
        raise OperationError(f"{store} runs on AWS only: name a deployed environment with --env.")
    settings = environment.function_settings("Retrieval")
    name = f"evaluate-{uuid.uuid4().hex[:12]}"
    make = _s3_vectors if store == "s3vectors" else _opensearch
    try:
        with make(name, environment, settings) as index:
            yield index
    except (BotoCoreError, ClientError, OpenSearchRefused) as error:
        raise OperationError(f"The evaluation in {environment.name} ended early: {error}") from error


def local_index(folder: Path) -> OpenIndex:
    """FAISS over local files."""
    client = LocalObjects.client(folder)
    modes = {
        "vector": FaissStore(client, "local", "faiss/", vector_weight=1.0),
        "lexical": FaissStore(client, "local", "faiss/", vector_weight=0.0),
        "hybrid": FaissStore(client, "local", "faiss/"),
    }
    return OpenIndex("faiss", modes)


@contextmanager
def _s3_vectors(name: str, environment: Environment, settings: Mapping[str, str]) -> Iterator[OpenIndex]:
    arn = _setting(environment, settings, "VECTOR_INDEX_ARN_A", "s3vectors")
    bucket_arn = arn.split("/index/")[0]
    bucket = bucket_arn.rsplit("/", 1)[1]
    client: Any = make_client("s3vectors", read_timeout=20.0, attempts=5, **environment.client_options)
    _say(f"Making the index {name} in the vector bucket {bucket}.")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(
            _delete, f"index {name} of {bucket}", client.delete_index, vectorBucketName=bucket, indexName=name
        )
        client.create_index(
            vectorBucketName=bucket, indexName=name, dataType="float32", dimension=DIMENSIONS, distanceMetric="cosine"
        )
        index = S3VectorsStore(f"{bucket_arn}/index/{name}", for_searches=lambda: client, for_writes=lambda: client)
        yield OpenIndex("s3vectors", {"vector": index})


@contextmanager
def _opensearch(name: str, environment: Environment, settings: Mapping[str, str]) -> Iterator[OpenIndex]:
    endpoint = _setting(environment, settings, "COLLECTION_ENDPOINT", "opensearch")
    # A collection's address begins with its id.
    collection_id = endpoint.removeprefix("https://").removeprefix("http://").split(".")[0]
    client: Any = make_client("opensearchserverless", read_timeout=20.0, attempts=5, **environment.client_options)
    sts: Any = make_client("sts", read_timeout=20.0, attempts=5, **environment.client_options)
    [collection] = client.batch_get_collection(ids=[collection_id])["collectionDetails"]
    policy = _access_policy(f"index/{collection['name']}/{name}", sts.get_caller_identity()["Arn"])
    session = boto3.Session(**_credentials(environment))
    http = Collection(endpoint, credentials=session.get_credentials(), region=environment.region)
    index = OpenSearchStore(lambda: http, name)
    _say(f"Making the index {name} in the collection {collection['name']}, and a data access policy of this name.")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(_delete, f"data access policy {name}", client.delete_access_policy, type="data", name=name)
        client.create_access_policy(type="data", name=name, policy=policy)
        cleanup.callback(
            _delete,
            f"index {name} of {collection['name']}",
            client.delete_index,
            id=collection_id,
            indexName=name,
        )
        _until_allowed(lambda: client.create_index(id=collection_id, indexName=name, indexSchema=OPENSEARCH_SCHEMA))
        _until_allowed(index.count)

        def settle(count: int) -> None:
            _until(lambda: index.count() >= count)

        yield OpenIndex("opensearch", {"vector": ByMeaning(index), "hybrid": index}, settle)


OPENSEARCH_SCHEMA: Mapping[str, Any] = {
    "settings": {"index": {"knn": True}},
    "mappings": {
        "properties": {
            "vector": {
                "type": "knn_vector",
                "dimension": DIMENSIONS,
                "method": {"name": "hnsw", "engine": "faiss", "space_type": "cosinesimil"},
            },
            "text": {"type": "text"},
            "chunk": {"type": "integer"},
            **{name: {"type": "keyword"} for name in ("owner", "document_id", "version", "fields")},
        }
    },
}
"""As the construct's index."""


class ByMeaning:
    """An index whose searches leave the question's words out."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index

    def prepare(self) -> None:
        """See VectorIndex."""
        self._index.prepare()

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """See VectorIndex."""
        self._index.add(chunks)

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex."""
        self._index.remove(ids)

    def search(
        self, vector: Sequence[float], *, owners: Sequence[str], limit: int, text: str = "", where: Filter = NO_FILTER
    ) -> list[Hit]:
        """See VectorIndex."""
        return self._index.search(vector, owners=owners, limit=limit, where=where)


def _setting(environment: Environment, settings: Mapping[str, str], variable: str, store: str) -> str:
    if value := settings.get(variable):
        return value
    raise OperationError(
        f"The environment {environment.name} has no {store} store: its vectorStore is {settings.get('VECTOR_STORE')}."
    )


def _access_policy(resource: str, principal: str) -> str:
    """The operator may do with this one index what deployment and the functions do with theirs."""
    permissions = ["CreateIndex", "DeleteIndex", "DescribeIndex", "ReadDocument", "WriteDocument"]
    rule = {"ResourceType": "index", "Resource": [resource], "Permission": [f"aoss:{each}" for each in permissions]}
    return json.dumps([{"Rules": [rule], "Principal": [principal]}])


def _credentials(environment: Environment) -> dict[str, Any]:
    return {name: value for name, value in environment.client_options.items() if name != "endpoint_url"}


def _until_allowed(action: Callable[[], object]) -> None:
    """Do it as soon as the data access policy lets us. Raises the last refusal after READY_SECONDS."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            action()
        except (ClientError, OpenSearchRefused) as error:
            if not _may_pass(error) or time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _may_pass(error: ClientError | OpenSearchRefused) -> bool:
    """Is it what a policy that does not count yet, or an index that is being made, answers?"""
    if isinstance(error, OpenSearchRefused):
        return error.status in (401, 403, 404)
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403)


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + READY_SECONDS
    while not done():
        if time.monotonic() > end:
            raise OperationError(f"The index did not show what was written within {READY_SECONDS:g} s.")
        time.sleep(_POLL_SECONDS)


def _delete(what: str, delete: Callable[..., object], **arguments: str) -> None:
    """Delete it if it is there; what cannot be deleted is named, and what else is to be deleted still is."""
    try:
        delete(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ResourceNotFoundException", "NotFoundException"):
            _say(f"Delete the {what} by hand: {error}")
    except BotoCoreError as error:
        _say(f"Delete the {what} by hand: {error}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
