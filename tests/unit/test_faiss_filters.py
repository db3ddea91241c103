"""The FAISS store beside an oracle that compares every chunk: owners, filters, removals, replacements and merges."""

from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws
from parley.aws.faiss_manifest import TIER_SEGMENTS
from parley.aws.faiss_segment import GROUPED_FROM_ROWS, Segment, encode_chunks, merge
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import ChunkId, FieldValue, IndexedChunk, Metadata
from parley.knowledge.filters import Filter, matches

BUCKET = "documents-bucket"
DIMENSIONS = 16
OWNERS = ("shared", "user-ada", "user-bob")
FIELDS = ("kind", "level", "café")
VALUES: tuple[FieldValue, ...] = ("word", "Ω", 1, 1.0, "1", True, False, 2.5)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def unit(random: np.random.Generator, count: int = 1) -> np.ndarray:
    rows = random.standard_normal((count, DIMENSIONS))
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


metadata = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES))
filters = st.dictionaries(
    st.sampled_from(FIELDS), st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple), max_size=2
) | st.lists(st.sampled_from(["d0", "d1", "unknown"]), min_size=1).map(lambda ids: {"document_id": tuple(ids)})
additions = st.tuples(
    st.sampled_from(OWNERS), st.integers(0, 5).map("d{}".format), st.sampled_from(["v1", "v2"]), st.lists(metadata)
)
removals = st.tuples(st.sampled_from(OWNERS), st.integers(0, 5).map("d{}".format), st.sampled_from(["v1", "v2"]))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operations=st.lists(additions | removals, max_size=3 * TIER_SEGMENTS),
    asked=st.lists(st.tuples(st.sets(st.sampled_from(OWNERS), min_size=1), filters), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_what_is_found_is_what_an_oracle_finds(
    s3: Any, operations: list[tuple[Any, ...]], asked: list[tuple[set[str], Filter]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    prefix = f"indexes/{random.integers(2**60)}-{id(operations)}/"
    index, held = FaissStore(s3, BUCKET, prefix), dict[ChunkId, IndexedChunk]()
    for owner, name, version, *fields in operations:
        if fields:
            ids = [ChunkId(owner, name, version, number) for number in range(len(fields[0]))]
            chunks = [
                IndexedChunk(id_, unit(random)[0].tolist(), "", dict(each))
                for id_, each in zip(ids, fields[0], strict=True)
            ]
            index.add(chunks)
            held |= {chunk.id: chunk for chunk in chunks}
        else:
            index.remove([ChunkId(owner, name, version, 0)])
            held = {
                id_: c for id_, c in held.items() if (id_.owner, id_.document_id, id_.version) != (owner, name, version)
            }
    reader = FaissStore(s3, BUCKET, prefix)
    reader.prepare()
    for owners, where in asked:
        query = unit(random)[0]
        wanted = {
            id_: float(np.dot(chunk.vector, query))
            for id_, chunk in held.items()
            if id_.owner in owners and matches(where, chunk.metadata, document_id=id_.document_id)
        }
        hits = reader.search(query.tolist(), owners=sorted(owners), limit=1_000, where=where)
        assert {hit.id for hit in hits} == wanted.keys()
        assert len(hits) == len(wanted)
        for hit in hits:
            assert hit.score == pytest.approx(wanted[hit.id], abs=0.02)
    assert reader.count() == len(held)


def test_words_and_filters_count_together(s3: Any) -> None:
    random = np.random.default_rng(1)
    index = FaissStore(s3, BUCKET, "hybrid/", vector_weight=0)
    for name, text, fields in [
        ("a", "bees hum", {"kind": "word"}),
        ("b", "bees", {"kind": "word"}),
        ("c", "bees hum", {}),
    ]:
        index.add([IndexedChunk(ChunkId("shared", name, "v1", 0), unit(random)[0].tolist(), text, dict(fields))])
    index.prepare()
    query = unit(random)[0].tolist()
    found = index.search(query, owners=["shared"], limit=3, text="bees hum", where={"kind": ("word",)})
    assert [hit.id.document_id for hit in found] == ["a", "b"]


def test_a_rare_value_is_found_in_a_large_segment_wherever_its_rows_are_and_after_a_merge() -> None:
    random = np.random.default_rng(3)
    count = 2 * GROUPED_FROM_ROWS
    rare = set(random.choice(count, 9, replace=False).tolist())

    def chunk(number: int, vector: list[float]) -> IndexedChunk:
        fields: Metadata = {"rare": number in rare, "half": number % 2, "number": number}
        return IndexedChunk(ChunkId("shared", f"d{number // 20}", "v1", number % 20), vector, "", fields)

    chunks = [chunk(number, vector) for number, vector in enumerate(unit(random, count).tolist())]
    halves = [Segment(encode_chunks(part)[0], 1) for part in (chunks[: count // 3], chunks[count // 3 :])]
    content, rows = merge(halves, [np.ones(len(half), dtype=bool) for half in halves])
    assert rows == count
    segment = Segment(content, 2)
    query = unit(random)[0].astype(np.float32)
    exact = {c.id: float(np.dot(c.vector, query)) for c in chunks}
    for where in ({"rare": (True,)}, {"rare": (True,), "half": (1,)}, {"number": (7,)}, {"document_id": ("d3", "d77")}):
        wanted = {c.id for c in chunks if matches(where, c.metadata, document_id=c.id.document_id)}
        allowed = segment.rows.allowed(["shared"], where, None)
        assert allowed is not None
        found = {segment.rows.chunk_id(row): score for score, row in segment.search(query, allowed, 100)}
        assert found.keys() == wanted
        assert found == pytest.approx({id_: exact[id_] for id_ in wanted}, abs=0.02)
    assert segment.rows.allowed(["shared"], {"rare": ("true",)}, None) is None
    assert segment.rows.allowed(["user-ada"], {}, None) is None
