"""Reads through a cache that may be in any kind of trouble: the real client, against peers on loopback."""

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parley.aws import clients, dax_reads
from parley.aws.dax_reads import COOL_DOWN_SECONDS, DEADLINE_SECONDS, IDLE_SECONDS, MAX_KEYS, DaxClient, DaxReads
from parley.aws.knowledge_table import KnowledgeTable
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Document

from tests.unit.dax_peers import DaxNode, Peer, TricklingPeer, refusing_peer

TABLE = "knowledge"
CACHED = {"pk": "user-ada#d1", "sk": "chunk#v1#000000", "heading": "Bees", "text": "cached text"}
KEYS = [{"pk": {"S": CACHED["pk"]}, "sk": {"S": CACHED["sk"]}}]
ITEM = {name: {"S": value} for name, value in CACHED.items()}

FUNCTION_SETTINGS = {
    "KNOWLEDGE_TABLE": TABLE,
    "DOCUMENTS_BUCKET": "bucket",
    "EMBEDDING_MODEL": "model",
    "VECTOR_STORE": "faiss",
    "POWERTOOLS_SERVICE_NAME": "retrieval",
    "POWERTOOLS_TRACE_DISABLED": "true",
}

type Hurry = Callable[[], AbstractContextManager[None]]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Reads:
    """DaxReads with the real client, counting how often it connects and remembering every fallback."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.connects = 0
        self.fallbacks: list[Exception | None] = []
        self.clock = Clock()
        self.cache = DaxReads(
            "daxs://unused", on_fallback=self.fallbacks.append, clock=self.clock, connect=self._connect
        )

    def __call__(self) -> list[Any]:
        return self.cache.get(TABLE, KEYS)

    def _connect(self, _: str) -> DaxClient:
        self.connects += 1
        client = dax_reads.connect(self.endpoint)
        _connected.append(client)
        return client


_connected: list[DaxClient] = []


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no cluster in trouble: only `hurry` waits for as long as a function would."""
    monkeypatch.setattr(dax_reads, "DEADLINE_SECONDS", 60.0)


@pytest.fixture
def hurry(patience: None) -> Hurry:
    @contextmanager
    def hurried() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(dax_reads, "DEADLINE_SECONDS", DEADLINE_SECONDS)
            yield

    return hurried


@pytest.fixture(autouse=True)
def no_client_outlives_its_test() -> Iterator[None]:
    """Their health checks would go on in the background."""
    yield
    while _connected:
        _connected.pop().close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def node() -> Iterator[DaxNode]:
    with DaxNode([CACHED]) as node:
        yield node


def assert_left_alone_until_it_works_again(reads: Reads, node: DaxNode) -> None:
    """After its first failure: nobody connects during the cool-down, and then the cluster serves again."""
    assert len(reads.fallbacks) == 1
    connects = reads.connects
    reads.clock.now += COOL_DOWN_SECONDS - 0.001
    for _ in range(50):
        assert reads() == []
    assert reads.connects == connects
    assert reads.fallbacks[1:] == [None] * 50
    reads.endpoint = node.endpoint
    reads.clock.now += 0.002
    assert reads() == [ITEM]
    assert reads() == [ITEM]
    assert reads.connects == connects + 1
    assert len(reads.fallbacks) == 51


def test_a_healthy_cluster_serves_every_read_over_one_connected_client(node: DaxNode) -> None:
    reads = Reads(node.endpoint)
    for _ in range(5):
        assert reads() == [ITEM]
    assert reads.connects == 1
    assert node.reads == 5
    assert reads.fallbacks == []


def test_nothing_connects_before_the_first_read() -> None:
    with Peer() as peer:
        assert Reads(peer.endpoint).connects == 0
        assert peer.connections == []


def test_a_refusing_peer_is_asked_once_in_a_cool_down(node: DaxNode) -> None:
    with refusing_peer() as endpoint:
        reads = Reads(endpoint)
        assert reads() == []
        assert reads.fallbacks[0] is not None
        assert_left_alone_until_it_works_again(reads, node)


def test_a_silent_peer_costs_one_bounded_wait(node: DaxNode, hurry: Hurry) -> None:
    with Peer() as peer:
        reads = Reads(peer.endpoint)
        with hurry():
            assert reads() == []
        assert type(reads.fallbacks[0]) is TimeoutError
        assert_left_alone_until_it_works_again(reads, node)


def test_a_peer_that_sends_a_byte_now_and_then_holds_nobody_for_longer(node: DaxNode, hurry: Hurry) -> None:
    # No read of a socket ever times out here: without the deadline this would never end.
    with TricklingPeer() as peer:
        reads = Reads(peer.endpoint)
        with hurry():
            assert reads() == []
        assert type(reads.fallbacks[0]) is TimeoutError
        assert_left_alone_until_it_works_again(reads, node)


def test_a_node_that_dies_in_the_middle_of_an_answer(node: DaxNode) -> None:
    with DaxNode([CACHED]) as dying:
        reads = Reads(dying.endpoint)
        assert reads() == [ITEM]
        dying.dies = True
        assert reads() == []
        assert reads.fallbacks[0] is not None
        assert_left_alone_until_it_works_again(reads, node)


def test_a_failed_trial_begins_another_cool_down() -> None:
    with refusing_peer() as endpoint:
        reads = Reads(endpoint)
        for trial in range(1, 4):
            assert reads() == []
            assert reads() == []
            assert reads.connects == trial
            reads.clock.now += COOL_DOWN_SECONDS


def test_only_one_read_at_a_time_tries() -> None:
    trying, go_on = threading.Event(), threading.Event()
    fallbacks: list[Exception | None] = []

    def connect(_: str) -> DaxClient:
        trying.set()
        go_on.wait(60)
        raise ConnectionRefusedError

    cache = DaxReads("daxs://unused", on_fallback=fallbacks.append, connect=connect)
    first = threading.Thread(target=cache.get, args=(TABLE, KEYS))
    first.start()
    assert trying.wait(60)
    assert cache.get(TABLE, KEYS) == []
    assert fallbacks[0] is None
    go_on.set()
    first.join(60)
    assert isinstance(fallbacks[1], ConnectionRefusedError)


def test_a_connection_that_comes_too_late_is_closed(hurry: Hurry) -> None:
    late, closed = threading.Event(), threading.Event()

    class Client:
        def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"Responses": {}}

        def close(self) -> None:
            closed.set()

    def connect(_: str) -> DaxClient:
        late.wait(60)
        return Client()

    fallbacks: list[Exception | None] = []
    with hurry():
        assert DaxReads("daxs://unused", on_fallback=fallbacks.append, connect=connect).get(TABLE, KEYS) == []
    assert type(fallbacks[0]) is TimeoutError
    late.set()
    assert closed.wait(60)


def test_a_connection_unused_for_long_is_replaced(node: DaxNode) -> None:
    reads = Reads(node.endpoint)
    assert reads() == [ITEM]
    reads.clock.now += IDLE_SECONDS + 1
    assert reads() == [ITEM]
    assert reads.connects == 2
    assert reads.fallbacks == []


def test_one_read_asks_for_no_more_than_the_service_takes(node: DaxNode) -> None:
    reads = Reads(node.endpoint)
    many = [{"pk": KEYS[0]["pk"], "sk": {"S": f"chunk#v1#{number:06d}"}} for number in range(MAX_KEYS + 50)]
    assert reads.cache.get(TABLE, many) == [ITEM]
    assert reads.fallbacks == []


class TestTheKnowledgeTable:
    @pytest.fixture
    def client(self) -> Iterator[Any]:
        with mock_aws():
            client = boto3.client("dynamodb", region_name="us-east-1")
            client.create_table(
                TableName=TABLE,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            )
            yield client

    @pytest.fixture
    def stored(self, client: Any) -> list[ChunkId]:
        document = Document(owner="user-ada", document_id="d1", name="Bees.txt", key="documents/user-ada/d1/Bees.txt")
        table = KnowledgeTable(TABLE, client)
        table.put_new(document)
        table.put_chunks(document, "v1", [Chunk(0, "stored text"), Chunk(1, "second")])
        return table.chunk_ids("user-ada", "d1")

    def test_what_the_cache_gives_is_not_read_again_and_the_rest_comes_from_the_table(
        self, client: Any, stored: list[ChunkId], node: DaxNode
    ) -> None:
        reads = Reads(node.endpoint)
        table = KnowledgeTable(TABLE, client, cache=reads.cache)
        chunks = table.chunks(stored)
        assert [chunks[id_].text for id_ in stored] == ["cached text", "second"]
        assert table.read([("user-ada", "d1")], stored)[1] == chunks
        assert chunks[stored[0]].heading == "Bees"

    def test_without_the_cluster_everything_comes_from_the_table(self, client: Any, stored: list[ChunkId]) -> None:
        with refusing_peer() as endpoint:
            table = KnowledgeTable(TABLE, client, cache=Reads(endpoint).cache)
            for _ in range(2):
                assert [table.chunks(stored)[id_].text for id_ in stored] == ["stored text", "second"]

    def test_records_decide_what_is_retrieved_and_are_never_cached(
        self, client: Any, stored: list[ChunkId], node: DaxNode
    ) -> None:
        reads = Reads(node.endpoint)
        table = KnowledgeTable(TABLE, client, cache=reads.cache)
        assert table.document("user-ada", "d1") is not None
        assert table.documents([("user-ada", "d1")]) != {}
        assert table.chunks([]) == {}
        assert (reads.connects, reads.fallbacks) == (0, [])


def test_the_retrieval_function_counts_reads_past_the_cache_and_logs_the_reason_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in FUNCTION_SETTINGS.items():
        monkeypatch.setenv(name, value)
    retrieval = importlib.import_module("parley.functions.retrieval")
    # As it was before the function's own settings name a cluster: other tests share the module.
    retrieval.retrieval.cache_clear()
    with mock_aws(), refusing_peer() as endpoint:
        monkeypatch.setenv("DAX_ENDPOINT", endpoint)
        boto3.client("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        clients.dynamodb.cache_clear()
        try:
            for _ in range(3):
                assert retrieval.retrieval().records.chunks([ChunkId("user-ada", "d1", "v1", 0)]) == {}
        finally:
            retrieval.retrieval.cache_clear()
            clients.dynamodb.cache_clear()
    retrieval.metrics.flush_metrics()
    output = capsys.readouterr().out
    [measured] = [json.loads(line) for line in output.splitlines() if "DaxFallbacks" in line]
    assert measured["DaxFallbacks"] == [1.0, 1.0, 1.0]
    assert [record.getMessage() for record in caplog.records].count("The cache does not answer; DynamoDB does") == 1


def test_a_deployment_without_a_cache_imports_nothing_of_it() -> None:
    program = (
        "import sys; from parley.functions import retrieval; retrieval.retrieval(); "
        "sys.exit(any(name in sys.modules for name in ('amazondax', 'antlr4', 'parley.aws.dax_reads')))"
    )

    def run(**more: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **FUNCTION_SETTINGS, **more}, check=False, timeout=120
        ).returncode

    assert run() == 0
    assert run(DAX_ENDPOINT="daxs://cluster.example") == 1
