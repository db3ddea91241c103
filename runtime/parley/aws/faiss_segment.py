"""Segments of a FAISS index on S3: vectors of one byte a dimension, whose chunks they are, and the words of these.

One scale for a segment turns its vectors into bytes, so nothing is trained, and a segment of one vector is as good as
one of thousands; it changes a cosine similarity by about 0.001. Rows of a large segment are grouped around centroids,
and a search looks only at the groups nearest to its query.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import faiss
import msgspec
import numpy as np

from parley.aws.faiss_lexical import Postings
from parley.knowledge.chunks import ChunkId, IndexedChunk

# FAISS parallelises over queries. Ours come one at a time: its threads would only wait, and take a core to do so.
faiss.omp_set_num_threads(1)

FORMAT = 2
_HALF = np.dtype("<f2")

GROUPED_FROM_ROWS = 2_048
"""Smaller segments are searched whole: that takes 0.1 ms."""

GROUP_ROWS = 64
MAX_GROUPS = 256
"""Rows of a group on average, and the most groups of a segment (their numbers take one byte)."""

SEARCHED_SHARE = 0.15
"""The share of a large segment's rows that one search looks at, as long as these are enough."""

SEARCHED_ROWS = 2_048
"""Rows that may be found which one search looks at, at least: of an owner with fewer it looks at all."""


SPARE_ROWS = 16
"""Rows that a search compares beyond those it was asked for."""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive rows: chunks `first` to `first + count - 1` of one version of a document."""

    owner: str
    document_id: str
    version: str
    first: int
    count: int
    added: int | None = None
    """The generation that added these rows; None in a segment that is no merge: that segment's."""

    @property
    def document(self) -> tuple[str, str, str]:
        """What a removal names."""
        return self.owner, self.document_id, self.version


class SegmentFile(msgspec.Struct, frozen=True):
    """A segment as it is stored, in MessagePack."""

    format: int
    dimensions: int
    runs: tuple[Run, ...]
    vectors: bytes
    """Rows of bytes, 128 for zero; in format 1 of little-endian 16-bit floats."""
    scale: float = 1.0
    """What one is in `vectors`."""
    centroids: bytes = b""
    """Rows of little-endian 16-bit floats; none in a small segment."""
    groups: bytes = b""
    """Each row's centroid."""
    postings: bytes = b""
    """See `Postings`; none in format 1."""


def encode_chunks(chunks: Sequence[IndexedChunk]) -> bytes:
    """A new segment's content."""
    ordered = sorted(chunks, key=lambda c: (c.id.owner, c.id.document_id, c.id.version, c.id.number))
    matrix = np.asarray([chunk.vector for chunk in ordered], dtype=np.float32)
    return encode_rows(_runs(chunk.id for chunk in ordered), matrix, Postings.of_texts(c.text for c in ordered))


def encode_rows(runs: Sequence[Run], matrix: "np.ndarray", postings: Postings) -> bytes:
    """A segment's content from its rows."""
    codes, scale = _quantise(matrix)
    centroids, groups = _grouped(matrix)
    return msgspec.msgpack.encode(
        SegmentFile(FORMAT, matrix.shape[1], tuple(runs), codes.tobytes(), scale, centroids, groups, postings.encode())
    )


def _quantise(matrix: "np.ndarray") -> "tuple[np.ndarray, float]":
    largest = float(np.abs(matrix).max(initial=0.0)) or 1.0
    scale = 127 / largest
    return (np.rint(matrix * np.float32(scale)) + 128).astype(np.uint8), scale


def _grouped(matrix: "np.ndarray") -> tuple[bytes, bytes]:
    """Centroids, and each row's; the same rows always give the same ones."""
    rows, dimensions = matrix.shape
    if rows < GROUPED_FROM_ROWS:
        return b"", b""
    count = min(rows // GROUP_ROWS, MAX_GROUPS)
    matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    # FAISS's defaults but for fewer rounds, and a seed of its own: it samples 64 rows a centroid.
    means = faiss.Kmeans(
        dimensions, count, niter=8, seed=1, spherical=True, min_points_per_centroid=1, max_points_per_centroid=64
    )
    means.train(matrix)
    centroids = np.asarray(means.centroids)
    nearest = np.concatenate(
        [(matrix[start : start + 4_096] @ centroids.T).argmax(axis=1) for start in range(0, rows, 4_096)]
    )
    return centroids.astype(_HALF).tobytes(), nearest.astype(np.uint8).tobytes()


class Segment:
    """A segment in memory."""

    def __init__(self, content: bytes, generation: int) -> None:
        """Raises ValueError when the content is damaged."""
        try:
            file = msgspec.msgpack.decode(content, type=SegmentFile)
        except msgspec.MsgspecError as error:
            raise ValueError("The segment is damaged.") from error
        rows = sum(run.count for run in file.runs)
        if file.format == 1 and len(file.vectors) == rows * file.dimensions * _HALF.itemsize:
            halves = np.frombuffer(file.vectors, _HALF).reshape(rows, -1).astype(np.float32)
            codes, self._scale = _quantise(halves)
            self.postings = Postings.of_texts([""] * rows)
        elif file.format == FORMAT and len(file.vectors) == rows * file.dimensions:
            codes, self._scale = np.frombuffer(file.vectors, dtype=np.uint8).reshape(rows, -1), file.scale
            self.postings = Postings.decode(file.postings, rows)
        else:
            raise ValueError("The segment is damaged, or of another format.")
        self.runs = [
            run if run.added is not None else msgspec.structs.replace(run, added=generation) for run in file.runs
        ]
        self.rows = rows
        self._starts = [0, *accumulate(run.count for run in self.runs)][:-1]
        self._owners: dict[str, int] = {}
        for run in self.runs:
            self._owners.setdefault(run.owner, len(self._owners))
        self._owner_codes = np.repeat(
            np.asarray([self._owners[run.owner] for run in self.runs], dtype=np.int32), [run.count for run in self.runs]
        )
        self._centroids = np.frombuffer(file.centroids, _HALF).reshape(-1, file.dimensions).astype(np.float32)
        self._groups = np.frombuffer(file.groups, np.uint8)
        if len(self._centroids) and (len(self._groups) != rows or int(self._groups.max()) >= len(self._centroids)):
            raise ValueError("The segment's groups are damaged.")
        self._index = faiss.IndexScalarQuantizer(
            file.dimensions, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._index.add_sa_codes(codes)

    def rows_of(self, run_number: int) -> slice:
        """The rows of a run."""
        start = self._starts[run_number]
        return slice(start, start + self.runs[run_number].count)

    def chunk_id(self, row: int) -> ChunkId:
        """Whose row it is."""
        number = bisect_right(self._starts, row) - 1
        run = self.runs[number]
        return ChunkId(run.owner, run.document_id, run.version, run.first + row - self._starts[number])

    def matrix(self, live: "np.ndarray") -> "np.ndarray":
        """The vectors of the rows that are live."""
        return self._vectors(np.flatnonzero(live))

    def allowed(self, owners: Sequence[str], live: "np.ndarray | None") -> "np.ndarray | None":
        """Which rows a search for these owners may find, `live` ones only; None when there is none."""
        codes = [self._owners[owner] for owner in owners if owner in self._owners]
        if not codes:
            return None
        allowed = (
            np.ones(self.rows, dtype=bool) if len(codes) == len(self._owners) else np.isin(self._owner_codes, codes)
        )
        if live is not None:
            allowed &= live
        return allowed if allowed.any() else None

    def search(self, query: "np.ndarray", allowed: "np.ndarray", limit: int) -> list[tuple[float, int]]:
        """The best (similarity, row) among the allowed rows."""
        near = self._near(query, allowed, limit)
        # faiss's stubs describe the C++ constructors; its Python layer takes an array, and keywords.
        selector = faiss.IDSelectorBitmap(np.packbits(near, bitorder="little"))  # type: ignore[call-arg, arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        # FAISS cuts the query's values to whole numbers as well: so they are rounded to a byte each, and what is found,
        # with some to spare, is compared with the query itself.
        rounded = np.rint(query * np.float32(127 / (float(np.abs(query).max()) or 1.0)))
        count = min(limit + SPARE_ROWS, self.rows)
        _, found = self._index.search(rounded.reshape(1, -1), count, params=parameters)
        rows = found[0][found[0] >= 0]
        scores = self.similarities(query, rows)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(float(scores[place]), int(rows[place])) for place in best]

    def similarities(self, query: "np.ndarray", rows: "Sequence[int] | np.ndarray") -> "np.ndarray":
        """The cosine similarity of each of these rows."""
        found: np.ndarray = self._vectors(np.asarray(rows, dtype=np.int64)) @ query
        return found

    def _near(self, query: "np.ndarray", allowed: "np.ndarray", limit: int) -> "np.ndarray":
        """The allowed rows of the groups nearest to the query: a share of them all, and enough to choose from."""
        if not len(self._centroids):
            return allowed
        total = int(allowed.sum())
        wanted = max(SEARCHED_SHARE * total, SEARCHED_ROWS, 4 * limit)
        if wanted >= total:
            return allowed
        order = np.argsort(-(self._centroids @ query))
        sizes = np.bincount(self._groups[allowed], minlength=len(order))[order]
        last = int(np.searchsorted(np.cumsum(sizes), wanted))
        chosen = np.zeros(len(order), dtype=bool)
        chosen[order[: last + 1]] = True
        near: np.ndarray = allowed & chosen[self._groups]
        return near

    def _vectors(self, rows: "np.ndarray") -> "np.ndarray":
        if not len(rows):
            return np.empty((0, self._index.d), dtype=np.float32)
        found: np.ndarray = self._index.reconstruct_batch(rows) / np.float32(self._scale)
        return found


def live_runs(runs: Sequence[Run], live: "np.ndarray") -> list[Run]:
    """The runs of the rows that are left when only `live` ones stay; each keeps its `added`."""
    kept: list[Run] = []
    start = 0
    for run in runs:
        mask = live[start : start + run.count]
        start += run.count
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
        for first, end in pairwise(edges.tolist()):
            if mask[first]:
                kept.append(msgspec.structs.replace(run, first=run.first + first, count=end - first))
    return kept


def _runs(ids: Iterable[ChunkId]) -> list[Run]:
    runs: list[Run] = []
    for chunk in ids:
        last = runs[-1] if runs else None
        document = (chunk.owner, chunk.document_id, chunk.version)
        if last is not None and last.document == document and last.first + last.count == chunk.number:
            runs[-1] = msgspec.structs.replace(last, count=last.count + 1)
        else:
            runs.append(Run(*document, first=chunk.number, count=1))
    return runs
