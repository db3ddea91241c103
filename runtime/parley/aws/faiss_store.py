"""The vector index as FAISS segments on S3: nothing runs and nothing costs while nobody asks.

Each process holds the segments in memory and loads only what the manifest newly names.
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.faiss_manifest import MAX_REMOVALS, Manifest, ManifestFile, Removal, SegmentEntry
from parley.aws.faiss_rows import Mask, live_rows
from parley.aws.faiss_segment import Segment, encode_chunks, merge
from parley.aws.faiss_view import VECTOR_WEIGHT, View
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import NO_FILTER, Filter

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ORPHAN_AGE = timedelta(days=1)
"""From this age on a segment that no manifest names is deleted. A writer names what it writes within minutes; a repair
of a large index, whose segments are named together at its end, may take hours."""

_LOAD_WORKERS = 8
_LOAD_ATTEMPTS = 5
_FORGET_ATTEMPTS = 20
"""Looks at an index that others write meanwhile."""

type DocumentVersion = tuple[str, str, str]
"""Owner, document id and version."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an index holds, as seen once."""

    generation: int
    """The manifest's: later removals are those it had not seen."""
    damaged: tuple[str, ...]
    """Ids of the segments that are missing or cannot be read."""
    chunks: Mapping[DocumentVersion, Set[int]]
    """The numbers of the chunks in the others, by the document's version that they belong to."""


class FaissStore:
    """The VectorIndex protocol over objects under `prefix` (which ends in `/`).

    An index with missing or damaged segments serves what the others hold, until `replace_damaged` mends it.
    """

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        prefix: str,
        *,
        vector_weight: float = VECTOR_WEIGHT,
        on_damage: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """`vector_weight` is how much the vectors count beside the words, from 0 to 1; see `View.search`.

        `on_damage` is called once with the ids of each segment that `prepare` found missing or damaged; it must not
        raise.
        """
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._manifest = ManifestFile(client, bucket, f"{prefix}manifest.json")
        self._vector_weight = vector_weight
        self._on_damage = on_damage
        self._lock = threading.Lock()
        self._view = View(None, {}, {})
        self._damaged: frozenset[str] = frozenset()
        self._reported: frozenset[str] = frozenset()

    def prepare(self) -> None:
        """See VectorIndex: load the segments that the manifest newly names; one conditional read while none are."""
        with self._lock:
            self._refresh()
            found = sorted(self._damaged - self._reported)
            self._reported = self._damaged
        if found and self._on_damage is not None:
            self._on_damage(found)

    def covered(self) -> Coverage:
        """What the index holds now, and which of its segments are damaged. Raises StoreUnavailable."""
        self.prepare()
        view = self._view
        chunks: dict[DocumentVersion, set[int]] = defaultdict(set)
        for id_, segment in view.segments.items():
            for version, numbers in segment.rows.chunks_by_document(view.live.get(id_)).items():
                chunks[version] |= numbers
        manifest = view.manifest or Manifest()
        damaged = tuple(entry.id for entry in manifest.segments if entry.id in self._damaged)
        return Coverage(manifest.generation, damaged, chunks)

    def replace_damaged(self, seen: Coverage, batches: Iterable[Sequence[IndexedChunk]]) -> bool:
        """Put segments with these chunks, one for each batch, in the place of those that `seen` calls damaged.

        One edit of the manifest does it. Removals and additions after `seen` count as if the damaged segments had been
        whole. False, with nothing changed, when another writer replaced them first. Raises StoreUnavailable, and
        ValueError for vectors of other dimensions.
        """
        gone = set(seen.damaged)
        written = []
        for batch in batches:
            if batch:
                self._manifest.read().check(len(batch[0].vector))
                entry = self._write(*encode_chunks(batch))
                written.append(SegmentEntry(entry.id, entry.rows, seen.generation))
        with self._lock:
            after = self._manifest.edit(lambda current: current.with_replaced(gone, written))
        current = {entry.id for entry in after.segments}
        replaced = not gone & current and all(entry.id in current for entry in written)
        for id_ in gone if replaced else {entry.id for entry in written}:
            self._delete(id_)
        return replaced

    def _refresh(self) -> None:
        missing: frozenset[str] = frozenset()
        for _ in range(_LOAD_ATTEMPTS):
            manifest = self._manifest.read()
            if manifest is self._view.manifest:
                return
            known = {entry.id: self._view.segments.get(entry.id) for entry in manifest.segments}
            wanted = [e for e in manifest.segments if known[e.id] is None and e.id not in self._damaged]
            loaded, gone, damaged = self._load(wanted)
            if gone - missing:
                missing |= gone
                continue  # A merge took a segment away since the manifest was read, or else it is missing next time.
            self._damaged |= gone | damaged
            segments = {id_: segment for id_, segment in {**known, **loaded}.items() if segment is not None}
            self._view = View(manifest, segments, _live(segments, manifest))
            return
        raise StoreUnavailable

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """See VectorIndex."""
        if not chunks:
            return
        with self._lock:
            dimensions = len(chunks[0].vector)
            entry = self._write(*encode_chunks(chunks))
            manifest = self._manifest.edit(lambda current: current.with_segment(entry, dimensions))
            # The chunks are in; a merge that fails for now is due again with a later one.
            with suppress(StoreUnavailable):
                self._merge(manifest, manifest.mergeable(without=self._damaged))

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex. The chunks of a version are removed together: naming one names all."""
        documents = sorted({(chunk.owner, chunk.document_id, chunk.version) for chunk in ids})
        removals = [Removal(*document) for document in documents]
        with self._lock:
            manifest = self._manifest.edit(lambda current: current.with_removals(removals))
            if len(manifest.removals) > MAX_REMOVALS:
                for entry in manifest.segments:
                    self._merge(manifest, [entry])

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """See VectorIndex. Scores are cosine similarities."""
        return self._view.search(
            np.asarray(vector, dtype=np.float32),
            owners,
            limit,
            text=text,
            where=where,
            vector_weight=self._vector_weight,
        )

    def clear(self) -> None:
        """See MaintainedIndex."""
        gone: tuple[SegmentEntry, ...] = ()

        def empty(manifest: Manifest) -> Manifest:
            nonlocal gone
            gone = manifest.segments
            return manifest.emptied()

        with self._lock:
            self._manifest.edit(empty)
            for entry in gone:
                self._delete(entry.id)

    def forget(self, owner: str) -> None:
        """See MaintainedIndex: segments that hold rows of this owner are written anew without them.

        Raises StoreUnavailable also while a segment is damaged: nobody can tell what is in it.
        """
        with self._lock:
            for _ in range(_FORGET_ATTEMPTS):
                manifest = self._manifest.read()
                loaded, gone, damaged = self._load(manifest.segments)
                if damaged:
                    raise StoreUnavailable
                if gone:
                    continue  # A merge took a segment away since the manifest was read.
                holding = {id_: others for id_, it in loaded.items() if (others := it.rows.not_of(owner)) is not None}
                if not holding:
                    after = self._manifest.edit(partial(Manifest.without_owner, owner=owner, segments=set(loaded)))
                    if {entry.id for entry in after.segments} == set(loaded):
                        return
                live = _live(loaded, manifest)
                for entry in manifest.segments:
                    if entry.id in holding:
                        others = holding[entry.id]
                        kept = others & live.get(entry.id, others)
                        self._replace(manifest, [entry], [loaded[entry.id]], [kept])
        raise StoreUnavailable

    def count(self) -> int:
        """See MaintainedIndex: chunks in damaged segments are not among them."""
        self.prepare()
        view = self._view
        return sum(
            len(segment) if (live := view.live.get(id_)) is None else int(live.sum())
            for id_, segment in view.segments.items()
        )

    def _merge(self, manifest: Manifest, inputs: Sequence[SegmentEntry]) -> None:
        """Put one segment with the live rows of `inputs` in their place. Gives way to a merge that came first."""
        if not inputs:
            return
        loaded, gone, damaged = self._load(inputs)
        self._damaged |= damaged
        if gone or damaged:
            return
        live = _live(loaded, manifest)
        masks = [live.get(id_, np.ones(len(segment), dtype=bool)) for id_, segment in loaded.items()]
        self._replace(manifest, inputs, list(loaded.values()), masks)
        self._delete_orphans()

    def _replace(
        self, manifest: Manifest, inputs: Sequence[SegmentEntry], segments: Sequence[Segment], masks: Sequence[Mask]
    ) -> None:
        """Put one segment with the rows in the masks in the place of `inputs`, unless one of these is gone already."""
        output = None
        if any(mask.any() for mask in masks):
            written = self._write(*merge(segments, masks))
            output = SegmentEntry(written.id, written.rows, manifest.generation)
        after = self._manifest.edit(lambda current: current.with_merged(inputs, output))
        current = {entry.id for entry in after.segments}
        merged = output is None or output.id in current
        for entry in inputs if merged else [output]:
            if entry is not None and entry.id not in current:
                self._delete(entry.id)

    def _delete_orphans(self) -> None:
        """Delete segments that a writer left behind when it died before it could name them in the manifest."""
        prefix = self._key("")
        before = datetime.now(UTC) - ORPHAN_AGE
        with store_errors():
            # One page, of 1,000, is more than an index has.
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        old = {item["Key"].removeprefix(prefix) for item in page.get("Contents", []) if item["LastModified"] < before}
        # Read after the listing: so nothing that was named in between is taken for an orphan.
        for id_ in old - {entry.id for entry in self._manifest.read().segments}:
            self._delete(id_)

    def _load(self, entries: Sequence[SegmentEntry]) -> tuple[dict[str, Segment], frozenset[str], frozenset[str]]:
        """These segments; the ids of those that are gone, and of those that are damaged."""
        with store_errors(), ThreadPoolExecutor(max_workers=_LOAD_WORKERS) as pool:
            found = dict(zip((entry.id for entry in entries), pool.map(self._load_one, entries), strict=True))
        return (
            {id_: segment for id_, segment in found.items() if isinstance(segment, Segment)},
            frozenset(id_ for id_, segment in found.items() if segment == "gone"),
            frozenset(id_ for id_, segment in found.items() if segment == "damaged"),
        )

    def _load_one(self, entry: SegmentEntry) -> Segment | Literal["gone", "damaged"]:
        try:
            response = self._client.get_object(Bucket=self._bucket, Key=self._key(entry.id))
            return Segment(response["Body"].read(), entry.generation)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey"):
                return "gone"
            raise
        except ValueError:
            return "damaged"

    def _write(self, content: bytes, rows: int) -> SegmentEntry:
        entry = SegmentEntry(uuid.uuid4().hex, rows)
        with store_errors():
            self._client.put_object(Bucket=self._bucket, Key=self._key(entry.id), Body=content)
        return entry

    def _delete(self, id_: str) -> None:
        with store_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(id_))

    def _key(self, id_: str) -> str:
        return f"{self._prefix}segments/{id_}"


def _live(segments: Mapping[str, Segment], manifest: Manifest) -> dict[str, Mask]:
    return live_rows({id_: segment.rows for id_, segment in segments.items()}, manifest.removals)
