"""An index on S3 some of whose objects were deleted or overwritten by somebody else."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws
from parley.aws.faiss_manifest import TIER_SEGMENTS, Manifest, ManifestFile
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import ChunkId, IndexedChunk

BUCKET, PREFIX = "documents-bucket", "indexes/faiss/"
GENERATOR = np.random.default_rng(5)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def document(name: str, count: int = 2, *, owner: str = "shared") -> list[IndexedChunk]:
    rows = GENERATOR.standard_normal((count, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [IndexedChunk(ChunkId(owner, name, "v1", n), row, name) for n, row in enumerate(rows.tolist())]


def found(index: FaissStore) -> set[str]:
    index.prepare()
    hits = index.search([1.0] + [0.0] * 7, owners=["shared"], limit=1_000)
    return {hit.id.document_id for hit in hits}


def segment_ids(s3: Any) -> list[str]:
    return [entry.id for entry in manifest(s3).segments]


def manifest(s3: Any) -> Manifest:
    return ManifestFile(s3, BUCKET, f"{PREFIX}manifest.json").read()


def stored(s3: Any) -> set[str]:
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/").get("Contents", [])
    return {item["Key"].rpartition("/")[2] for item in listed}


def lose(s3: Any, segment: str) -> None:
    s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}segments/{segment}")


def damage(s3: Any, segment: str, content: bytes = b"\x00nonsense") -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}segments/{segment}", Body=content)


@pytest.mark.parametrize("harm", [lose, damage])
def test_the_good_segments_are_served_and_each_bad_one_is_reported_once(s3: Any, harm: Any) -> None:
    reported: list[Sequence[str]] = []
    index = FaissStore(s3, BUCKET, PREFIX, on_damage=reported.append)
    for name in "abc":
        index.add(document(name))
    bad = segment_ids(s3)[1]
    harm(s3, bad)
    assert found(index) == {"a", "c"}
    index.prepare()
    index.add(document("d"))
    assert found(index) == {"a", "c", "d"}
    assert reported == [[bad]]


def test_nobody_needs_to_be_told_of_damage(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document("a"))
    damage(s3, segment_ids(s3)[0], b"")
    assert found(index) == set()


def test_what_is_covered_is_told_without_removed_and_damaged_chunks(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    for name in "abc":
        index.add(document(name))
    index.add(document("d", 3, owner="user-ada"))
    index.remove([ChunkId("shared", "c", "v1", 0)])
    lost = segment_ids(s3)[0]
    lose(s3, lost)
    seen = FaissStore(s3, BUCKET, PREFIX).covered()
    assert seen.damaged == (lost,)
    assert seen.chunks == {("shared", "b", "v1"): {0, 1}, ("user-ada", "d", "v1"): {0, 1, 2}}


def test_an_empty_index_covers_nothing(s3: Any) -> None:
    seen = FaissStore(s3, BUCKET, PREFIX).covered()
    assert not seen.chunks
    assert not seen.damaged


def test_damaged_segments_are_replaced_by_what_was_rebuilt(s3: Any) -> None:
    reported: list[Sequence[str]] = []
    index = FaissStore(s3, BUCKET, PREFIX, on_damage=reported.append)
    a, b, c = document("a"), document("b"), document("c")
    for chunks in (a, b, c):
        index.add(chunks)
    first, second, _ = segment_ids(s3)
    lose(s3, first)
    damage(s3, second)
    seen = index.covered()
    assert index.replace_damaged(seen, [a, [], b])
    assert found(index) == found(FaissStore(s3, BUCKET, PREFIX)) == {"a", "b", "c"}
    assert not {first, second} & stored(s3)
    assert set(segment_ids(s3)) == stored(s3)
    assert not index.covered().damaged
    assert len(reported) == 1


def test_segments_of_which_nothing_is_left_are_dropped(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document("a"))
    lose(s3, segment_ids(s3)[0])
    assert index.replace_damaged(index.covered(), [])
    assert segment_ids(s3) == []


def test_of_two_repairs_one_counts_and_the_other_leaves_nothing(s3: Any) -> None:
    index, other = FaissStore(s3, BUCKET, PREFIX), FaissStore(s3, BUCKET, PREFIX)
    a = document("a")
    index.add(a)
    damage(s3, segment_ids(s3)[0])
    seen, seen_too = index.covered(), other.covered()
    assert index.replace_damaged(seen, [a])
    assert not other.replace_damaged(seen_too, [a])
    assert set(segment_ids(s3)) == stored(s3)
    assert found(index) == {"a"}


def test_what_was_removed_or_added_during_a_repair_stays_so(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    gone, changed = document("gone"), document("changed", 1)
    index.add(gone + changed)
    lose(s3, segment_ids(s3)[0])
    seen = index.covered()
    index.remove([gone[0].id])
    opposite = IndexedChunk(changed[0].id, [-value for value in changed[0].vector])
    index.add([opposite])
    assert index.replace_damaged(seen, [gone, changed])
    index.prepare()
    [hit] = index.search(opposite.vector, owners=["shared"], limit=9)
    assert hit.id == opposite.id
    assert hit.score == pytest.approx(1.0, abs=1e-2)


def test_vectors_of_another_length_repair_nothing(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document("a"))
    lost = segment_ids(s3)
    lose(s3, lost[0])
    with pytest.raises(ValueError, match="8 dimensions, not 2"):
        index.replace_damaged(index.covered(), [[IndexedChunk(ChunkId("shared", "a", "v1", 0), [1.0, 0.0])]])
    assert segment_ids(s3) == lost


def test_merges_go_on_without_damaged_segments(s3: Any) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    index.add(document("lost"))
    damage(s3, segment_ids(s3)[0])
    names = {f"d{number}" for number in range(3 * TIER_SEGMENTS)}
    for name in sorted(names):
        index.add(document(name))
    assert len(segment_ids(s3)) < 2 * TIER_SEGMENTS
    assert found(index) == names


def test_a_merge_deletes_what_a_writer_left_behind_a_day_ago_and_nothing_younger(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = FaissStore(s3, BUCKET, PREFIX)
    names = {f"d{number}" for number in range(2 * TIER_SEGMENTS - 1)}
    for name in sorted(names):
        index.add(document(name))
    damage(s3, "left-behind")
    index.add(document("last"))
    assert "left-behind" in stored(s3)
    monkeypatch.setattr("parley.aws.faiss_store.ORPHAN_AGE", timedelta(seconds=-60))
    for number in range(TIER_SEGMENTS):
        index.add(document(f"more-{number}"))
    assert stored(s3) == set(segment_ids(s3))
    assert found(index) == names | {"last"} | {f"more-{number}" for number in range(TIER_SEGMENTS)}
