"""A model that throttles, asked through the SDK's own client: what is embedded, and how hard it is pressed."""

import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator

import pytest
from parley.aws import clients
from parley.aws.embeddings import CONCURRENCY, DIMENSIONS, TitanEmbeddings
from parley.errors import KnowledgeUnavailable
from parley.functions.ingestion import EMBEDDING_ATTEMPTS
from parley.knowledge.ingest import BATCH_CHUNKS

from tests.unit.http_double import Asked, Server, serving

TEXTS = [f"Text {number}." for number in range(BATCH_CHUNKS)]
THROTTLED = 429, json.dumps({"__type": "ThrottlingException", "message": "Too many requests"}).encode()
SDK_RETRIES = 500 // 5
"""What botocore's standard mode lets a client retry in a row: a quota of 500, of which a throttled retry takes 5."""


class Model:
    """Throttles the first requests for a text, and counts how many are with it at once."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.storm = False
        self.now = self.most = 0
        self._lock = threading.Lock()

    def answer(self, request: Asked) -> tuple[int, bytes]:
        text = json.loads(request.body)["inputText"]
        with self._lock:
            self.asked[text] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if self.storm or self.asked[text] <= zlib.crc32(text.encode()) % 3:
                return THROTTLED
            return 200, json.dumps({"embedding": [float(text[5:-1])] * DIMENSIONS, "inputTextTokenCount": 3}).encode()
        finally:
            with self._lock:
                self.now -= 1


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model) -> Iterator[Server]:
    with serving(model.answer) as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the SDK waits between its attempts, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", waited.append)
    return waited


@pytest.fixture
def embedder(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[TitanEmbeddings]:
    for name, value in {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    clients.embedding_runtime.cache_clear()
    yield TitanEmbeddings("amazon.titan-embed-text-v2:0", clients.embedding_runtime(EMBEDDING_ATTEMPTS))
    clients.embedding_runtime.cache_clear()


def test_every_text_is_embedded_in_order_though_most_requests_are_throttled_first(
    embedder: TitanEmbeddings, model: Model, pauses: list[float]
) -> None:
    vectors = embedder.embed(TEXTS)
    assert [vector[0] for vector in vectors] == [float(number) for number in range(len(TEXTS))]
    throttled = sum(zlib.crc32(text.encode()) % 3 for text in TEXTS)
    assert throttled > len(TEXTS) // 2
    assert sum(model.asked.values()) == len(TEXTS) + throttled
    assert len(pauses) == throttled
    assert model.most <= CONCURRENCY


def test_a_storm_ends_the_work_and_is_not_made_worse(
    embedder: TitanEmbeddings, model: Model, pauses: list[float]
) -> None:
    model.storm = True
    with pytest.raises(KnowledgeUnavailable):
        embedder.embed(TEXTS)
    assert max(model.asked.values()) <= EMBEDDING_ATTEMPTS
    assert sum(model.asked.values()) <= len(TEXTS) + SDK_RETRIES
    assert model.most <= CONCURRENCY
    assert max(pauses) <= 2 ** (EMBEDDING_ATTEMPTS - 2)


def test_after_the_storm_the_same_client_embeds_again(
    embedder: TitanEmbeddings, model: Model, pauses: list[float]
) -> None:
    model.storm = True
    with pytest.raises(KnowledgeUnavailable):
        embedder.embed(TEXTS)
    model.storm = False
    model.asked = Counter(dict.fromkeys(TEXTS, 2))
    assert len(embedder.embed(TEXTS)) == len(TEXTS)
