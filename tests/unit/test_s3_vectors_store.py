"""The S3 Vectors store against a server that speaks the service's documented protocol: over HTTP, signed and paged.

botocore checks every request against the service's model before it is sent, and reads the answers by it.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from parley.aws import clients
from parley.aws.s3_vectors_store import S3VectorsStore, chunk_id, vector_key
from parley.errors import StoreUnavailable
from parley.functions.knowledge_parts import KnowledgeSettings, index_opener
from parley.knowledge.chunks import ChunkId, IndexedChunk, Metadata
from parley.knowledge.documents import owner_of
from parley.knowledge.filters import Filter, filterable, matches
from parley.knowledge.index_slots import IndexAddress
from parley.settings import SettingsError

from tests.unit.http_double import Asked, Server, serving

INDEX = "arn:aws:s3vectors:us-east-1:123456789012:bucket/parley-vectors/index/passages"
ADDRESS = IndexAddress("s3vectors", "a")
DIMENSIONS = 8
PAGE = 100


@dataclass
class Service:
    """The documented behaviour of an index with cosine distance, as far as the store uses it."""

    vectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)
    """Statuses and error codes that the next requests get."""

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        if self.failures:
            status, code = self.failures.pop(0)
            return status, json.dumps({"__type": code, "message": "Please reduce your request rate."}).encode()
        body = json.loads(asked.body)
        assert body["indexArn"] == INDEX
        answers = {
            "/PutVectors": self.put,
            "/DeleteVectors": self.delete,
            "/QueryVectors": self.query,
            "/ListVectors": self.list,
        }
        return 200, json.dumps(answers[asked.path](body)).encode()

    def put(self, body: Any) -> Any:
        assert 1 <= len(body["vectors"]) <= 500
        for vector in body["vectors"]:
            assert 1 <= len(vector["key"]) <= 1024
            assert len(vector["metadata"]) <= 50
            assert len(json.dumps(vector["metadata"], ensure_ascii=False).encode()) <= 2048
            assert all(value not in ("", []) for value in vector["metadata"].values())
            self.vectors[vector["key"]] = vector
        return {}

    def delete(self, body: Any) -> Any:
        assert 1 <= len(body["keys"]) <= 500
        for key in body["keys"]:
            self.vectors.pop(key, None)
        return {}

    def list(self, body: Any) -> Any:
        keys, start = sorted(self.vectors), int(body.get("nextToken", 0))
        page: dict[str, Any] = {"vectors": [{"key": key} for key in keys[start : start + PAGE]]}
        return page | ({"nextToken": str(start + PAGE)} if start + PAGE < len(keys) else {})

    def query(self, body: Any) -> Any:
        query = body["queryVector"]["float32"]
        found = [
            {"key": vector["key"], "distance": 1 - cosine(query, vector["data"]["float32"])}
            for vector in self.vectors.values()
            if passes(body["filter"], vector["metadata"])
        ]
        found.sort(key=lambda each: each["distance"])
        assert body["returnDistance"] is True
        start = int(body.get("nextToken", 0))
        page = {"vectors": found[: body["topK"]][start : start + PAGE], "distanceMetric": "cosine"}
        if start + PAGE < min(len(found), body["topK"]):
            page["nextToken"] = str(start + PAGE)
        return page


def passes(condition: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """A filter as documented. `$in` is documented for single values alone, `$eq` for lists too."""
    [(name, wanted)] = condition.items()
    if name in ("$and", "$or"):
        assert wanted, "a non-empty array of filters"
        return (all if name == "$and" else any)(passes(each, metadata) for each in wanted)
    assert not name.startswith("$")
    [(operator, value)] = wanted.items()
    held = metadata.get(name)
    if operator == "$in":
        assert value, "a non-empty array of primitives"
        assert not isinstance(held, list)
        return held in value
    assert operator == "$eq"
    return value in held if isinstance(held, list) else value == held


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[Server]:
    with serving(service.answer) as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    return pauses


def store(server: Server, attempts: int = 3) -> S3VectorsStore:
    client = boto3.client(
        "s3vectors",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        aws_session_token="token",
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, read_timeout=5),
    )
    return S3VectorsStore(INDEX, for_searches=lambda: client, for_writes=lambda: client)


def vector(number: int) -> list[float]:
    angle = number / 1000
    return [math.cos(angle), math.sin(angle), *[0.0] * (DIMENSIONS - 2)]


def document(name: str, count: int, *, owner: str = "shared", version: str = "v1") -> list[IndexedChunk]:
    return [IndexedChunk(ChunkId(owner, name, version, n), vector(n), "Some text.") for n in range(count)]


def test_the_nearest_chunks_of_the_owners_come_first_with_their_similarity(server: Server) -> None:
    index = store(server)
    index.prepare()
    mine, others = document("mine", 3, owner="user-ada"), document("theirs", 3, owner="user-bob")
    index.add([*mine, *others, *document("ours", 1)])
    hits = index.search(vector(2), owners=["user-ada", "shared"], limit=2, text="words")
    assert [hit.id for hit in hits] == [mine[2].id, mine[1].id]
    assert [hit.score for hit in hits] == pytest.approx([1.0, math.cos(0.001)])
    assert {hit.id.owner for hit in index.search(vector(2), owners=["user-ada", "shared"], limit=50)} == {
        "user-ada",
        "shared",
    }


def test_requests_are_signed_for_the_service(server: Server) -> None:
    store(server).add(document("a", 1))
    [asked] = server.asked
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/us-east-1/s3vectors/aws4_request, SignedHeaders=\S*host",
        asked.headers["authorization"],
    )
    assert asked.headers["x-amz-security-token"] == "token"


def test_a_vector_carries_its_owner_and_no_text(server: Server, service: Service) -> None:
    store(server).add(document("a", 1))
    [asked] = server.asked
    [put] = json.loads(asked.body)["vectors"]
    assert put == {
        "key": "shared/a/v1/000000",
        "data": {"float32": pytest.approx(vector(0))},
        "metadata": {"owner": "shared", "document_id": "a"},
    }


AWKWARD = 'Ελλάδα "$in" {"$or": []} \\ = , * % \n'
RECORDS: list[Metadata] = [
    {"language": "fr", "level": 1, "draft": True},
    {"language": "fr", "level": 2.5, "draft": False},
    {"language": "de", "level": "1", "draft": "true"},
    {"language": AWKWARD, "owner": "user-ada", "fields": "fr", "$and": 1, "$in": "x"},
    {},
]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"language": ("fr",)}, {0, 1}),
        ({"language": ("fr", "de")}, {0, 1, 2}),
        ({"language": ("fr",), "draft": (False,)}, {1}),
        ({"level": (1,)}, {0}),
        ({"level": (1.0, 2.5)}, {0, 1}),
        ({"level": ("1",)}, {2}),
        ({"draft": (True,)}, {0}),
        ({"language": (AWKWARD,)}, {3}),
        ({"owner": ("user-ada",)}, {3}),
        ({"$and": (1,), "$in": ("x", "y")}, {3}),
        ({"fields": ("fr",)}, {3}),
        ({"language": ("FR", "f")}, set()),
        ({"nothing": (1,)}, set()),
    ],
)
def test_only_chunks_that_pass_the_filter_are_found(server: Server, where: Filter, found: set[int]) -> None:
    index = store(server)
    index.add(
        [
            IndexedChunk(ChunkId("shared", "a", "v1", number), vector(number), metadata=fields)
            for number, fields in enumerate(RECORDS)
        ]
    )
    index.add([IndexedChunk(ChunkId("user-bob", "b", "v1", 9), vector(0), metadata=RECORDS[0])])
    hits = index.search(vector(0), owners=["shared"], limit=10, where=where)
    assert {hit.id.number for hit in hits} == found
    for number, fields in enumerate(RECORDS):
        assert matches(where, fields, document_id="a") is (number in found)


def test_documents_are_chosen_by_their_ids_beside_other_fields(server: Server) -> None:
    index = store(server)
    index.add([IndexedChunk(ChunkId("shared", name, "v1", 0), vector(0), metadata={"x": 1}) for name in "abc"])
    found = index.search(vector(0), owners=["shared"], limit=10, where={"document_id": ("a", "c"), "x": (1, 2)})
    assert {hit.id.document_id for hit in found} == {"a", "c"}
    assert json.loads(server.asked[-1].body)["filter"] == {
        "$and": [
            {"owner": {"$in": ["shared"]}},
            {"document_id": {"$in": ["a", "c"]}},
            {"$or": [{"fields": {"$eq": '["x",1]'}}, {"fields": {"$eq": '["x",2]'}}]},
        ]
    }
    assert index.search(vector(0), owners=["shared"], limit=10, where={"document_id": ("a",), "x": (2,)}) == []


def test_what_can_be_filtered_by_fits_beside_the_longest_owner(server: Server, service: Service) -> None:
    many: Metadata = {f'ключ {number} "': "значение \\ " * 9 for number in range(50)}
    kept = filterable(many)
    assert 3 < len(kept) < 30
    owner = owner_of("ü" * 40)
    store(server).add([IndexedChunk(ChunkId(owner, "d" * 64, "v1", 0), vector(0), metadata=kept)])
    assert len(service.vectors) == 1


def test_writes_go_in_batches_of_five_hundred_and_repeating_them_changes_nothing(
    server: Server, service: Service
) -> None:
    index, chunks = store(server), document("a", 1_001)
    index.add(chunks)
    index.add(chunks)
    assert [len(json.loads(asked.body)["vectors"]) for asked in server.asked] == [500, 500, 1] * 2
    assert len(service.vectors) == 1_001
    server.asked.clear()
    index.remove([chunk.id for chunk in chunks])
    index.remove([chunk.id for chunk in chunks])
    assert [len(json.loads(asked.body)["keys"]) for asked in server.asked] == [500, 500, 1] * 2
    assert service.vectors == {}


def test_a_full_batch_fits_in_the_largest_request(server: Server) -> None:
    awkward = [-0.031234567890123456] * 1_024
    server.answer = lambda asked: (200, b"{}")
    store(server).add([IndexedChunk(ChunkId("shared", "a", "v1", n), awkward) for n in range(500)])
    assert len(server.asked[0].body) < 20 * 1024**2 / 2


def test_nothing_to_write_asks_nothing(server: Server) -> None:
    index = store(server)
    index.add([])
    index.remove([])
    assert server.asked == []


def test_many_results_come_in_pages_and_no_more_are_read_than_asked_for(server: Server) -> None:
    index = store(server)
    index.add(document("a", 400))
    server.asked.clear()
    hits = index.search(vector(0), owners=["shared"], limit=320)
    assert [hit.id.number for hit in hits] == list(range(320))
    requests = [json.loads(asked.body) for asked in server.asked]
    assert [request.get("nextToken") for request in requests] == [None, "100", "200", "300"]
    assert {request["topK"] for request in requests} == {320}
    assert len(index.search(vector(0), owners=["shared"], limit=20_000)) == 400
    assert json.loads(server.asked[-1].body)["topK"] == 10_000


def test_a_batch_that_fails_leaves_the_others_and_may_be_repeated(server: Server, service: Service) -> None:
    index, chunks = store(server, attempts=1), document("a", 1_200)
    index.add(chunks[:500])
    service.failures = [(503, "ServiceUnavailableException")]
    with pytest.raises(StoreUnavailable):
        index.add(chunks)
    assert len(service.vectors) == 500
    index.add(chunks)
    assert len(service.vectors) == 1_200


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TooManyRequestsException"),
        (503, "ServiceUnavailableException"),
        (500, "InternalServerException"),
        (408, "RequestTimeoutException"),
    ],
)
def test_passing_trouble_is_tried_again_after_a_random_pause(
    server: Server, service: Service, no_pauses: list[float], status: int, code: str
) -> None:
    index, chunks = store(server), document("a", 1)
    service.failures = [(status, code)] * 2
    index.add(chunks)
    assert len(server.asked) == 3
    assert len(no_pauses) == 2
    assert len(set(no_pauses)) == 2
    service.failures = [(status, code)] * 3
    with pytest.raises(StoreUnavailable):
        index.search(vector(0), owners=["shared"], limit=1)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDeniedException"), (404, "NotFoundException"), (400, "ValidationException")]
)
def test_a_mistake_is_not_tried_again(server: Server, service: Service, status: int, code: str) -> None:
    service.failures = [(status, code)] * 2
    with pytest.raises(ClientError, match=code):
        store(server).search(vector(0), owners=["shared"], limit=1)
    assert len(server.asked) == 1


def test_a_broken_connection_is_tried_again(server: Server, service: Service) -> None:
    answers = iter([None, (200, b"{}")])
    server.answer = lambda asked: next(answers)
    store(server).remove([ChunkId("shared", "a", "v1", 0)])
    assert len(server.asked) == 2


def test_a_key_names_its_chunk_whatever_the_version_holds() -> None:
    id_ = ChunkId("user-ada%40example.org", "0190-a_b", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", 1_000_000)
    assert chunk_id(vector_key(id_)) == id_
    assert vector_key(ChunkId("shared", "a", "v", 2)) < vector_key(ChunkId("shared", "a", "v", 10))


def settings(**more: str) -> KnowledgeSettings:
    variables = {"KNOWLEDGE_TABLE": "t", "DOCUMENTS_BUCKET": "b", "EMBEDDING_MODEL": "m", "VECTOR_STORE": "s3vectors"}
    return KnowledgeSettings.load({**variables, **more})


def test_the_functions_settings_choose_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3VECTORS": server.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "s3_vectors", clients.s3_vectors.__wrapped__)
    index, chunks = index_opener(settings(VECTOR_INDEX_ARN_A=INDEX, VECTOR_INDEX_ARN_B="b"))(ADDRESS), document("a", 3)
    index.add(chunks)
    assert [hit.id for hit in index.search(vector(1), owners=["shared"], limit=1)] == [chunks[1].id]


def test_a_deployment_without_its_index_fails_at_start() -> None:
    with pytest.raises(SettingsError, match="VECTOR_INDEX_ARN_B is missing"):
        index_opener(settings(VECTOR_INDEX_ARN_A=INDEX))


def test_an_index_that_is_emptied_holds_nothing_and_counts_nothing(server: Server, service: Service) -> None:
    index = store(server)
    index.add([*document("a", 700), *document("b", 3, owner="user-ada")])
    assert index.count() == 703
    index.clear()
    assert service.vectors == {}
    assert index.count() == 0
