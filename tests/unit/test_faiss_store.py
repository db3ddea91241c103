import threading
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import faiss_manifest
from parley.aws.faiss_manifest import Manifest, ManifestFile, Removal, SegmentEntry
from parley.aws.faiss_segment import Segment, encode_chunks
from parley.aws.faiss_store import FaissStore
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import ChunkId, IndexedChunk

BUCKET, PREFIX = "documents-bucket", "indexes/faiss/"
DIMENSIONS = 32
GENERATOR = np.random.default_rng(7)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def store(s3: Any) -> FaissStore:
    return FaissStore(s3, BUCKET, PREFIX)


def vectors(count: int) -> list[list[float]]:
    rows = GENERATOR.standard_normal((count, DIMENSIONS))
    found: list[list[float]] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).tolist()
    return found


def document(name: str, count: int = 1, *, owner: str = "shared", version: str = "v1") -> list[IndexedChunk]:
    return [IndexedChunk(ChunkId(owner, name, version, number), vector) for number, vector in enumerate(vectors(count))]


def ids(chunks: list[IndexedChunk]) -> set[ChunkId]:
    return {chunk.id for chunk in chunks}


def everything(index: FaissStore, *owners: str) -> set[ChunkId]:
    index.prepare()
    hits = index.search(vectors(1)[0], owners=owners or ("shared",), limit=10_000)
    assert len({hit.id for hit in hits}) == len(hits)
    return {hit.id for hit in hits}


def segment_keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}segments/").get("Contents", [])]


def manifest(s3: Any) -> Manifest:
    return ManifestFile(s3, BUCKET, f"{PREFIX}manifest.json").read()


def test_an_empty_index_finds_nothing(s3: Any) -> None:
    assert everything(store(s3)) == set()


def test_the_nearest_chunk_comes_first_with_its_similarity(s3: Any) -> None:
    chunks = document("a", 50)
    index = store(s3)
    index.add(chunks)
    index.prepare()
    hits = index.search(chunks[17].vector, owners=["shared"], limit=3)
    assert hits[0].id == chunks[17].id
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    exact = sorted((float(np.dot(chunk.vector, chunks[17].vector)) for chunk in chunks), reverse=True)
    assert [hit.score for hit in hits] == pytest.approx(exact[:3], abs=3e-3)


def test_only_the_named_owners_chunks_are_found(s3: Any) -> None:
    ada, bob, shared = document("a", 3, owner="user-ada"), document("b", 3, owner="user-bob"), document("c", 3)
    index = store(s3)
    index.add(ada + bob)
    index.add(shared)
    assert everything(index, "user-ada", "shared") == ids(ada + shared)
    assert everything(index, "user-eve") == set()


def test_an_owners_chunks_are_found_among_many_nearer_ones_of_another(s3: Any) -> None:
    mine = document("mine", owner="user-ada")
    near = [IndexedChunk(ChunkId("user-bob", "b", "v1", n), mine[0].vector) for n in range(200)]
    index = store(s3)
    index.add(mine + near)
    index.prepare()
    opposite = [-value for value in mine[0].vector]
    assert [hit.id for hit in index.search(opposite, owners=["user-ada"], limit=5)] == [mine[0].id]


def test_another_process_sees_what_was_added_and_removed(s3: Any) -> None:
    reader, writer = store(s3), store(s3)
    first, second = document("a", 2), document("b", 2)
    writer.add(first)
    assert everything(reader) == ids(first)
    writer.add(second)
    writer.remove([first[0].id])
    assert everything(reader) == ids(second)


def test_an_unchanged_index_is_not_loaded_again(s3: Any) -> None:
    index = store(s3)
    index.add(document("a"))
    index.prepare()
    loads: list[str] = []
    s3.meta.events.register("before-call.s3.GetObject", lambda params, **_: loads.append(params["url_path"]))
    index.prepare()
    assert len(loads) == 1
    assert loads[0].endswith("manifest.json")


def test_a_removed_version_can_be_added_again(s3: Any) -> None:
    index, chunks = store(s3), document("a", 3)
    index.add(chunks)
    index.remove([chunk.id for chunk in chunks])
    assert everything(index) == set()
    index.add(chunks)
    assert everything(index) == ids(chunks)


def test_a_chunk_added_again_replaces_the_earlier_one(s3: Any) -> None:
    index, chunks = store(s3), document("a", 4)
    index.add(chunks)
    moved = IndexedChunk(chunks[2].id, vectors(1)[0])
    index.add([moved])
    assert everything(index) == ids(chunks)
    hits = index.search(moved.vector, owners=["shared"], limit=1)
    assert hits[0].id == moved.id
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)


def test_adding_nothing_and_removing_nothing_writes_nothing(s3: Any) -> None:
    index = store(s3)
    index.add([])
    index.remove([])
    index.remove([ChunkId("shared", "unknown", "v1", 0)])
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_vectors_of_another_length_are_refused(s3: Any) -> None:
    index = store(s3)
    index.add(document("a"))
    with pytest.raises(ValueError, match="32 dimensions, not 3"):
        index.add([IndexedChunk(ChunkId("shared", "b", "v1", 0), [1.0, 0.0, 0.0])])


def test_small_segments_are_merged_and_nothing_is_lost(s3: Any) -> None:
    index, wanted = store(s3), set[ChunkId]()
    for number in range(70):
        chunks = document(f"d{number}", 1 + number % 3, owner=("shared", "user-ada")[number % 2])
        index.add(chunks)
        if number % 7 == 3:
            index.remove([chunks[0].id])
        else:
            wanted |= ids(chunks)
    assert everything(store(s3), "shared", "user-ada") == wanted
    assert len(manifest(s3).segments) < 20
    assert {key.rpartition("/")[2] for key in segment_keys(s3)} == {entry.id for entry in manifest(s3).segments}


def test_a_merge_keeps_the_later_of_two_vectors_of_a_chunk(s3: Any) -> None:
    index, chunk = store(s3), document("a")[0]
    for number in range(faiss_manifest.TIER_SEGMENTS - 1):
        index.add([IndexedChunk(chunk.id, vectors(1)[0])] if number else [chunk])
    last = IndexedChunk(chunk.id, vectors(1)[0])
    index.add([last])
    reader = store(s3)
    assert everything(reader) == {chunk.id}
    assert len(manifest(s3).segments) == 1
    assert manifest(s3).segments[0].rows == 1
    assert reader.search(last.vector, owners=["shared"], limit=1)[0].score == pytest.approx(1.0, abs=1e-3)


def test_many_removals_rewrite_the_segments_without_their_rows(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.aws.faiss_store.MAX_REMOVALS", 3)
    index = store(s3)
    kept, gone = document("kept", 2), [document(f"d{number}", 2) for number in range(4)]
    index.add(kept + [chunk for chunks in gone for chunk in chunks])
    index.add(gone[0])
    for chunks in gone:
        index.remove([chunks[0].id])
    assert everything(store(s3)) == ids(kept)
    assert manifest(s3).removals == ()
    assert [entry.rows for entry in manifest(s3).segments] == [2]


def test_a_reader_survives_a_merge_between_manifest_and_segments(s3: Any) -> None:
    writer, reader = store(s3), store(s3)
    wanted = set[ChunkId]()
    for number in range(faiss_manifest.TIER_SEGMENTS - 1):
        chunks = document(f"d{number}")
        writer.add(chunks)
        wanted |= ids(chunks)
    last = document("last")
    merged = threading.Event()

    def merge_now(params: dict[str, Any], **_: object) -> None:
        if "/segments/" in params["url_path"] and not merged.is_set():
            merged.set()
            writer.add(last)

    s3.meta.events.register("before-call.s3.GetObject", merge_now)
    assert everything(reader) == wanted | ids(last)
    assert merged.is_set()


def test_a_cut_off_segment_is_an_error() -> None:
    content, rows = encode_chunks(document("a", 2))
    assert len(Segment(content, 1)) == rows == 2
    for cut in (0, 1, 10, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match="damaged"):
            Segment(content[:cut], 1)


def test_a_failed_merge_does_not_fail_the_write(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = store(s3)
    for number in range(faiss_manifest.TIER_SEGMENTS - 1):
        index.add(document(f"d{number}"))

    def busy(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(index, "_load", busy)
    index.add(document("last"))
    monkeypatch.undo()
    assert len(everything(store(s3))) == faiss_manifest.TIER_SEGMENTS


class OneCallAtATime:
    """S3's promise that each call is atomic, which moto does not keep among threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            with self._lock:
                return method(**arguments)

        return call


def test_concurrent_writers_never_lose_each_others_chunks(s3: Any) -> None:
    s3 = OneCallAtATime(s3)
    wanted, removed = set[ChunkId](), set[ChunkId]()
    failures: list[BaseException] = []

    def work(writer: int) -> None:
        try:
            index = store(s3)
            for number in range(12):
                chunks = document(f"w{writer}-{number}", 2)
                index.add(chunks)
                if number % 4 == 1:
                    index.remove([chunk.id for chunk in chunks])
                    removed.update(ids(chunks))
                else:
                    wanted.update(ids(chunks))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert everything(store(s3)) == wanted
    assert not wanted & removed


def test_a_writer_that_always_comes_second_gives_up_in_the_end(s3: Any) -> None:
    pauses: list[float] = []
    file = ManifestFile(s3, BUCKET, "manifest.json", pause=pauses.append)
    rival = ManifestFile(s3, BUCKET, "manifest.json")
    numbers = iter(range(1_000))

    def overtaken(current: Manifest) -> Manifest:
        rival.edit(lambda theirs: theirs.with_segment(SegmentEntry(f"rival-{next(numbers)}", 1), DIMENSIONS))
        return current.with_segment(SegmentEntry("mine", 1), DIMENSIONS)

    with pytest.raises(StoreUnavailable):
        file.edit(overtaken)
    assert len(pauses) == faiss_manifest.EDIT_ATTEMPTS
    assert all(entry.id != "mine" for entry in rival.read().segments)


@pytest.mark.parametrize("content", [b'{"format": 99}', b'{"segments": [', b"\x00", b"[]", b""])
def test_a_damaged_manifest_or_one_of_another_format_is_refused_and_kept(s3: Any, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}manifest.json", Body=content)
    with pytest.raises(StoreUnavailable, match="rebuild"):
        store(s3).prepare()
    with pytest.raises(StoreUnavailable, match="rebuild"):
        store(s3).add(document("a"))
    assert s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}manifest.json")["Body"].read() == content


def test_a_manifest_that_was_deleted_is_an_empty_index(s3: Any) -> None:
    index = store(s3)
    index.add(document("a"))
    index.prepare()
    s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}manifest.json")
    chunks = document("b")
    index.add(chunks)
    assert everything(store(s3)) == ids(chunks)


def test_a_missing_permission_is_not_taken_for_an_outage(s3: Any) -> None:
    index = FaissStore(s3, "no-such-bucket", PREFIX)
    with pytest.raises(ClientError, match="NoSuchBucket"):
        index.prepare()


def test_an_added_segment_counts_once() -> None:
    entry = SegmentEntry("s", 1)
    once = Manifest().with_segment(entry, DIMENSIONS)
    assert once.with_segment(entry, DIMENSIONS) is once


def test_a_merge_whose_inputs_are_gone_changes_nothing() -> None:
    manifest = Manifest().with_segment(SegmentEntry("a", 1), DIMENSIONS)
    assert manifest.with_merged([SegmentEntry("b", 1)], SegmentEntry("c", 1)) is manifest


def test_a_removal_during_a_merge_reaches_the_merged_segment() -> None:
    before = Manifest().with_segment(SegmentEntry("a", 1), DIMENSIONS).with_segment(SegmentEntry("b", 1), DIMENSIONS)
    output = SegmentEntry("ab", 2, before.generation)
    after = before.with_removals([Removal("shared", "d", "v1")]).with_merged(before.segments, output)
    assert [removal.document_id for removal in after.removals] == ["d"]
    assert after.removals[0].generation > after.segments[0].generation
