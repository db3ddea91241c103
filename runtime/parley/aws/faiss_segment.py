"""Segments of a FAISS index on S3: vectors of one byte a dimension, whose chunks they are, and the words of these.

One scale for a segment turns its vectors into bytes, so nothing is trained, and a segment of one vector is as good as
one of thousands; it changes a cosine similarity by about 0.001. Rows of a large segment stand in groups around
centroids: a search reads only the groups nearest to its query, each of them in one piece.

FAISS reads the vectors where the object's bytes lie in memory; they are never copied.
"""

import zlib
from collections.abc import Sequence

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from parley.aws.faiss_lexical import Postings, PostingsFile
from parley.aws.faiss_occurrences import DROPPED, Places, array_of, bytes_of
from parley.aws.faiss_rows import Mask, Rows, RowsFile
from parley.knowledge.chunks import IndexedChunk

# FAISS parallelises over queries. Ours come one at a time: its threads would only wait, and take a core to do so.
faiss.omp_set_num_threads(1)

FORMAT = 3
_HALF = np.dtype("<f2")
_ZERO = 128
"""The byte that stands for zero."""

GROUPED_FROM_ROWS = 2_048
"""Smaller segments are searched whole: that takes 0.1 ms."""

GROUP_ROWS = 64
MAX_GROUPS = 256
"""Rows of a group on average, and the most groups of a segment."""

SEARCHED_SHARE = 0.15
"""The share of a large segment's rows that one search looks at, as long as these are enough."""

SEARCHED_ROWS = 2_048
"""Rows that may be found which one search looks at, at least: of an owner with fewer it looks at all."""

SPARE_ROWS = 16
"""Rows that a search compares beyond those it was asked for."""

_BLOCK = 4_096
"""Rows that are turned into floats at once: 16 MB of them."""

type Matrix = NDArray[np.float32]
type Codes = NDArray[np.uint8]


class SegmentFile(msgspec.Struct, frozen=True, array_like=True):
    """A segment as it is stored, in MessagePack."""

    format: int
    checksum: int
    """CRC-32 of `content`."""
    content: memoryview
    """A `SegmentContent`, in MessagePack."""


class SegmentContent(msgspec.Struct, frozen=True):
    """What is in a segment."""

    rows: RowsFile
    postings: PostingsFile
    index: memoryview
    """An IndexScalarQuantizer, as FAISS writes it."""
    scale: float
    """What one is in its vectors."""
    centroids: memoryview
    """Rows of little-endian 16-bit floats; none in a small segment."""
    group_sizes: memoryview
    """How many rows each centroid has, one group after the other."""


# Made here and not where they are used: segments are read by several threads, and msgspec (0.22) crashes when a second
# thread decodes to a type that the first one's call has only begun to prepare.
_FILE = msgspec.msgpack.Decoder(SegmentFile)
_CONTENT = msgspec.msgpack.Decoder(SegmentContent)


def encode_chunks(chunks: Sequence[IndexedChunk]) -> tuple[bytes, int]:
    """A new segment's content, and how many rows it has. Of several chunks with the same id the last counts."""
    distinct = list({chunk.id: chunk for chunk in chunks}.values())
    matrix = np.asarray([chunk.vector for chunk in distinct], dtype=np.float32)
    scale = 127 / (float(np.abs(matrix).max()) or 1.0)
    codes = _rounded(matrix, scale)
    vectors, [places] = _arranged([(codes, scale)], [np.ones(len(distinct), dtype=bool)])
    ordered = [distinct[row] for row in np.argsort(places).tolist()]
    return vectors.encode(Rows.of_chunks(ordered), Postings.of_texts(chunk.text for chunk in ordered)), len(ordered)


def merge(segments: "Sequence[Segment]", masks: Sequence[Mask]) -> tuple[bytes, int]:
    """The content of one segment with the rows of several that are in their masks, and how many these are, above 0."""
    vectors, places = _arranged([(segment.codes, segment.scale) for segment in segments], masks)
    count = len(vectors.codes)
    rows = Rows.merged([(s.rows, p) for s, p in zip(segments, places, strict=True)], count)
    postings = Postings.merged([(s.postings, p) for s, p in zip(segments, places, strict=True)], count)
    return vectors.encode(rows, postings), count


class _Vectors(msgspec.Struct, frozen=True):
    """Vectors in the order of their groups."""

    codes: Codes
    scale: float
    centroids: Matrix
    group_sizes: "NDArray[np.int64]"

    def encode(self, rows: Rows, postings: Postings) -> bytes:
        """A segment's content."""
        index = _empty_index(self.codes.shape[1])
        index.add_sa_codes(self.codes)
        content = msgspec.msgpack.encode(
            SegmentContent(
                rows.encode(),
                postings.encode(),
                faiss.serialize_index(index).data,
                self.scale,
                bytes_of(self.centroids.astype(_HALF)),
                bytes_of(self.group_sizes.astype("<u4")),
            )
        )
        return msgspec.msgpack.encode(SegmentFile(FORMAT, zlib.crc32(content), memoryview(content)))


def _arranged(parts: Sequence[tuple[Codes, float]], masks: Sequence[Mask]) -> tuple[_Vectors, list[Places]]:
    """The rows in the masks as one segment's vectors, and for each part where its rows went."""
    chosen = [np.flatnonzero(mask) for mask in masks]
    scale = min(scale for (_, scale), rows in zip(parts, chosen, strict=True) if len(rows))
    count = sum(map(len, chosen))
    centroids = _centroids([(codes, s, rows) for (codes, s), rows in zip(parts, chosen, strict=True)], count)
    groups = np.zeros(count, dtype=np.int64)
    if len(centroids):
        start = 0
        for (codes, part_scale), rows in zip(parts, chosen, strict=True):
            for first in range(0, len(rows), _BLOCK):
                values = _floats(codes[rows[first : first + _BLOCK]], part_scale)
                groups[start : start + len(values)] = (values @ centroids.T).argmax(axis=1)
                start += len(values)
    order = np.argsort(groups, kind="stable")
    targets = np.empty(count, dtype=np.int64)
    targets[order] = np.arange(count)
    arranged = np.empty((count, parts[0][0].shape[1]), dtype=np.uint8)
    places: list[Places] = []
    start = 0
    for (codes, part_scale), rows, mask in zip(parts, chosen, masks, strict=True):
        into = targets[start : start + len(rows)]
        start += len(rows)
        for first in range(0, len(rows), _BLOCK):
            block = codes[rows[first : first + _BLOCK]]
            # Bytes of the same scale stay what they are, however often they are merged.
            arranged[into[first : first + _BLOCK]] = (
                block if part_scale == scale else _rounded(_floats(block, part_scale), scale)
            )
        places.append(np.full(len(mask), DROPPED, dtype=np.int64))
        places[-1][rows] = into
    sizes = np.bincount(groups, minlength=len(centroids)) if len(centroids) else np.empty(0, dtype=np.int64)
    return _Vectors(arranged, scale, centroids, sizes), places


def _centroids(parts: "Sequence[tuple[Codes, float, NDArray[np.int64]]]", count: int) -> Matrix:
    """Centroids of a large segment; the same rows always give the same ones. None for a small one."""
    dimensions = parts[0][0].shape[1]
    if count < GROUPED_FROM_ROWS:
        return np.empty((0, dimensions), dtype=np.float32)
    wanted = min(count // GROUP_ROWS, MAX_GROUPS)
    share = min(1.0, wanted * 64 / count)
    random = np.random.default_rng(1)
    sample = np.concatenate(
        [_floats(codes[rows[random.random(len(rows)) < share]], scale) for codes, scale, rows in parts]
    )
    # FAISS's defaults but for fewer rounds, and a seed of its own.
    means = faiss.Kmeans(dimensions, wanted, niter=8, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(sample)
    # As they will be stored, so that a row's group is the one a search finds it in.
    return np.asarray(means.centroids).astype(_HALF).astype(np.float32)


def _rounded(matrix: Matrix, scale: float) -> Codes:
    return (np.rint(matrix * np.float32(scale)) + _ZERO).astype(np.uint8)


def _floats(codes: Codes, scale: float) -> Matrix:
    found: Matrix = (codes.astype(np.float32) - np.float32(_ZERO)) / np.float32(scale)
    return found


def _empty_index(dimensions: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        dimensions, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )


class Segment:
    """A segment in memory."""

    def __init__(self, content: bytes, generation: int) -> None:
        """`generation` added it. Raises ValueError when the content is damaged."""
        try:
            file = _FILE.decode(content)
            if file.format != FORMAT or zlib.crc32(file.content) != file.checksum:
                raise ValueError("The segment is damaged, or of another format.")
            parts = _CONTENT.decode(file.content)
        except msgspec.MsgspecError as error:
            raise ValueError("The segment is damaged.") from error
        self._stored = np.frombuffer(parts.index, np.uint8)
        # FAISS keeps no reference to these bytes: `_stored` does.
        # faiss's stubs do not know this reader.
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(self._stored), self._stored.size)  # type: ignore[attr-defined]
        self._index = faiss.read_index(reader)
        dimensions, count = self._index.d, self._index.ntotal
        self.codes: Codes = self._stored[self._stored.size - count * dimensions :].reshape(count, dimensions)
        """The vectors, as bytes around 128."""
        self.scale = parts.scale
        """What one is in `codes`."""
        self.rows = Rows.decode(parts.rows, count, generation)
        self.postings = Postings.decode(parts.postings, count)
        self._centroids = array_of(parts.centroids, _HALF).astype(np.float32).reshape(-1, dimensions)
        self._group_sizes = array_of(parts.group_sizes, "<u4").astype(np.int64)
        self._group_ends = np.cumsum(self._group_sizes)

    def __len__(self) -> int:
        return len(self.rows)

    def search(self, query: Matrix, allowed: Mask, limit: int) -> list[tuple[float, int]]:
        """The best (similarity, row) among the allowed rows."""
        near = self._near(query, allowed, limit)
        # faiss's stubs describe the C++ constructors; its Python layer takes an array, and keywords.
        selector = faiss.IDSelectorBitmap(np.packbits(near, bitorder="little"))  # type: ignore[call-arg, arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        # FAISS cuts the query's values to whole numbers as well: so they are rounded to a byte each, and what is found,
        # with some to spare, is compared with the query itself.
        rounded = np.rint(query * np.float32(127 / (float(np.abs(query).max()) or 1.0)))
        count = min(limit + SPARE_ROWS, len(self))
        _, found = self._index.search(rounded.reshape(1, -1), count, params=parameters)
        rows = found[0][found[0] >= 0]
        scores = self.similarities(query, rows)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(float(scores[place]), int(rows[place])) for place in best]

    def similarities(self, query: Matrix, rows: "Sequence[int] | NDArray[np.int64]") -> Matrix:
        """The cosine similarity of each of these rows."""
        found: Matrix = _floats(self.codes[np.asarray(rows, dtype=np.int64)], self.scale) @ query
        return found

    def _near(self, query: Matrix, allowed: Mask, limit: int) -> Mask:
        """The allowed rows of the groups nearest to the query: a share of them all, and enough to choose from."""
        if not len(self._centroids):
            return allowed
        total = np.count_nonzero(allowed)
        wanted = max(SEARCHED_SHARE * total, SEARCHED_ROWS, 4 * limit)
        if wanted >= total:
            return allowed
        order = np.argsort(-(self._centroids @ query))
        sizes = self._group_sizes
        if total < len(allowed):
            sizes = np.diff(np.concatenate(([0], np.cumsum(allowed)))[self._group_ends], prepend=0)
        last = int(np.searchsorted(np.cumsum(sizes[order]), wanted))
        chosen = np.zeros(len(order), dtype=bool)
        chosen[order[: last + 1]] = True
        near: Mask = np.repeat(chosen, self._group_sizes)
        return near & allowed
