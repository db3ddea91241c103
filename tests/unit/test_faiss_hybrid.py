from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from parley.aws.faiss_lexical import SPARSE_ROWS, Postings, PostingsFile
from parley.aws.faiss_manifest import TIER_SEGMENTS
from parley.aws.faiss_segment import GROUPED_FROM_ROWS, Segment, encode_chunks
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import ChunkId, IndexedChunk
from parley.knowledge.lexical import terms

BUCKET, PREFIX = "documents-bucket", "indexes/faiss/"
DIMENSIONS = 32
GENERATOR = np.random.default_rng(11)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def unit(count: int) -> np.ndarray:
    rows = GENERATOR.standard_normal((count, DIMENSIONS))
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def chunk(name: str, text: str, *, owner: str = "shared", number: int = 0) -> IndexedChunk:
    return IndexedChunk(ChunkId(owner, name, "v1", number), unit(1)[0].tolist(), text)


def ask(index: FaissStore, text: str, *, owners: tuple[str, ...] = ("shared",), limit: int = 3) -> list[str]:
    index.prepare()
    return [hit.id.document_id for hit in index.search(unit(1)[0].tolist(), owners=owners, limit=limit, text=text)]


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("Which valves leak?", "The leaking valve was replaced.", "The pump was replaced."),
        ("¿Quién construyó la muralla?", "La construyeron los romanos.", "La pintaron los niños."),
        ("Bảo tàng ở đâu?", "Bảo tàng nằm cạnh sông.", "Bao tải nằm cạnh đường."),
        ("図書館はどこですか", "図書館は駅の前にあります。", "病院は山の上にあります。"),
        ("ห้องสมุดอยู่ที่ไหน", "ห้องสมุดตั้งอยู่หน้าสถานี", "โรงพยาบาลบนภูเขา"),
        ("पुस्तकालय कहाँ है", "पुस्तकालय स्टेशन के सामने", "अस्पताल पहाड़ पर"),
    ],
    ids=["English", "Spanish", "Vietnamese", "Japanese", "Thai", "Hindi"],
)
def test_words_find_a_chunk_that_its_vector_does_not(s3: Any, question: str, answer: str, other: str) -> None:
    index = FaissStore(s3, BUCKET, PREFIX, vector_weight=0)
    index.add([chunk(f"other-{n}", other) for n in range(5)] + [chunk("answer", answer)])
    assert ask(index, question)[0] == "answer"


def test_a_hybrid_hit_carries_its_cosine_similarity(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    chunks = [chunk(f"d{n}", "bees" if n == 7 else "wasps") for n in range(40)]
    index.add(chunks)
    index.prepare()
    query = unit(1)[0]
    hits = index.search(query.tolist(), owners=["shared"], limit=5, text="bees")
    assert hits[0].id == chunks[7].id
    for hit in hits:
        [exact] = [float(np.dot(query, c.vector)) for c in chunks if c.id == hit.id]
        assert hit.score == pytest.approx(exact, abs=3e-3)


def test_vectors_and_words_both_count(s3: Any) -> None:
    query = unit(1)[0]
    near = IndexedChunk(ChunkId("shared", "near", "v1", 0), query.tolist(), "nothing in common")
    worded = IndexedChunk(ChunkId("shared", "worded", "v1", 0), (-query).tolist(), "bees hum")
    both = IndexedChunk(ChunkId("shared", "both", "v1", 0), (query * 0.9).tolist(), "bees sting")
    for weight, first in ((1.0, "near"), (0.0, "worded"), (0.5, "both")):
        index = FaissStore(s3, BUCKET, f"{PREFIX}{weight}/", vector_weight=weight)
        index.add([near, worded, both])
        index.prepare()
        found = index.search(query.tolist(), owners=["shared"], limit=3, text="bees hum")
        assert found[0].id.document_id == first
        assert len(found) == 3


def test_words_never_reach_another_owners_or_removed_chunks(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    mine, theirs, gone = chunk("mine", "wasps", owner="user-a"), chunk("b", "bees", owner="user-b"), chunk("c", "bees")
    index.add([mine, theirs, gone])
    index.remove([gone.id])
    assert ask(index, "bees", owners=("user-a", "shared")) == ["mine"]


def test_a_merge_keeps_the_words_of_live_chunks_and_forgets_the_others(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX, vector_weight=0)
    gone = chunk("gone", "alpha bees")
    index.add([gone, chunk("first", "alpha wasps")])
    index.remove([gone.id])
    for number in range(TIER_SEGMENTS - 1):
        index.add([chunk(f"d{number}", f"common word{number}"), chunk(f"e{number}", "common")])
    reader = FaissStore(s3, BUCKET, PREFIX, vector_weight=0)
    reader.prepare()
    [segment] = reader._view.segments.values()
    assert spread(segment.postings, "alpha common") == [1, 2 * (TIER_SEGMENTS - 1)]
    assert ask(reader, "word3")[0] == "d3"
    assert ask(reader, "alpha")[0] == "first"


def stored(postings: Postings, rows: int) -> Postings:
    return Postings.decode(msgspec.msgpack.decode(msgspec.msgpack.encode(postings.encode()), type=PostingsFile), rows)


def spread(postings: Postings, words: str) -> list[int]:
    begins, ends = postings.find(np.asarray([terms(word)[0] for word in words.split()], dtype=np.uint32))
    return [int(count) for count in ends - begins]


def bm25(texts: list[str], weights: dict[int, float]) -> list[float]:
    """By the book, a text at a time."""
    counted = [Counter(terms(text)) for text in texts]
    average = sum(count.total() for count in counted) / len(texts)
    return [
        sum(
            weight * 2.2 * count[term] / (count[term] + 1.2 * (0.25 + 0.75 * count.total() / average))
            for term, weight in weights.items()
        )
        for count in counted
    ]


def test_postings_come_back_as_they_were_stored() -> None:
    texts = ["a b b", "", "b c", "c " * 300]
    assert spread(stored(Postings.of_texts(texts), 4), "a b c d") == [1, 2, 2, 0]
    assert spread(stored(Postings.of_texts(["", ""]), 2), "a b") == [0, 0]


@pytest.mark.parametrize("rows", [1, 3])
def test_postings_of_other_rows_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="do not match"):
        stored(Postings.of_texts(["a b", "b c"]), rows)


@settings(deadline=None)
@given(st.data())
def test_the_best_by_words_are_those_of_a_score_for_every_row(data: st.DataObject) -> None:
    count = data.draw(st.sampled_from([40, 2 * SPARSE_ROWS]))
    random = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    texts = [" ".join(f"w{n}" for n in row) for row in np.minimum(random.zipf(1.3, size=(count, 12)), 500).tolist()]
    postings = stored(Postings.of_texts(texts), count)
    words = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=8, unique=True))
    asked = np.asarray([terms(f"w{n}")[0] for n in words], dtype=np.uint32)
    begins, ends = postings.find(asked)
    weights = np.log(1 + (count + 0.5) / (ends - begins + 0.5)).tolist()
    exact = np.asarray(bm25(texts, dict(zip(asked.tolist(), weights, strict=True))))
    allowed = random.random(count) < data.draw(st.sampled_from([0.05, 0.7, 1.0]))
    limit = data.draw(st.integers(1, 20))
    others = np.asarray(data.draw(st.lists(st.integers(0, count - 1), max_size=3)), dtype=np.int64)
    question = list(zip(weights, begins.tolist(), ends.tolist(), strict=True))
    rows, scores = postings.best(question, postings.total_length / count, allowed, limit, others)
    assert scores.tolist() == pytest.approx(exact[rows].tolist(), rel=1e-4)
    cut = len(rows) - len(others)
    assert rows[cut:].tolist() == others.tolist()
    best = sorted(exact[allowed & (exact > 0)].tolist())[-limit:]
    assert sorted(scores[:cut].tolist()) == pytest.approx(best, rel=1e-4)
    assert len(set(rows[:cut].tolist())) == cut
    assert allowed[rows[:cut]].all()


def test_a_large_segment_finds_almost_what_an_exact_search_finds_and_all_of_a_small_owner() -> None:
    count = 2 * GROUPED_FROM_ROWS
    centres = unit(64)
    rows = centres[np.arange(count) % 64] + 0.8 * unit(count)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chunks = [
        IndexedChunk(ChunkId("few" if n < 30 else "many", f"d{n:05d}", "v1", 0), row)
        for n, row in enumerate(rows.tolist())
    ]
    segment = Segment(encode_chunks(chunks)[0], 1)
    queries = rows[:20] + 0.3 * unit(20)
    many = segment.rows.allowed(["many"], {}, None)
    few = segment.rows.allowed(["few"], {}, None)
    assert many is not None
    assert few is not None
    hits = 0
    for query in queries.astype(np.float32):
        exact = np.argsort(-(rows[30:] @ query))[:10] + 30
        found = {int(segment.rows.chunk_id(row).document_id[1:]) for _, row in segment.search(query, many, 10)}
        hits += len(found & set(exact.tolist()))
        assert len(segment.search(query, few, 30)) == 30
    assert hits >= 0.95 * 200
