"""Segments of a FAISS index on S3: vectors in half precision, and whose chunks they are.

Half precision needs no training, so a segment of one vector is as good as one of thousands, and it changes a cosine
similarity by less than 0.001.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import faiss
import msgspec
import numpy as np

from parley.knowledge.chunks import ChunkId, IndexedChunk

# FAISS parallelises over queries. Ours come one at a time: its threads would only wait, and take a core to do so.
faiss.omp_set_num_threads(1)

FORMAT = 1
_HALF = np.dtype("<f2")


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
    """Rows of little-endian 16-bit floats."""


def encode_chunks(chunks: Sequence[IndexedChunk]) -> bytes:
    """A new segment's content."""
    ordered = sorted(chunks, key=lambda c: (c.id.owner, c.id.document_id, c.id.version, c.id.number))
    matrix = np.asarray([chunk.vector for chunk in ordered], dtype=_HALF)
    return encode_rows(_runs(chunk.id for chunk in ordered), matrix)


def encode_rows(runs: Sequence[Run], matrix: "np.ndarray") -> bytes:
    """A segment's content from its rows."""
    return msgspec.msgpack.encode(SegmentFile(FORMAT, matrix.shape[1], tuple(runs), matrix.astype(_HALF).tobytes()))


class Segment:
    """A segment in memory."""

    def __init__(self, content: bytes, generation: int) -> None:
        """Raises ValueError when the content is damaged."""
        try:
            file = msgspec.msgpack.decode(content, type=SegmentFile)
        except msgspec.MsgspecError as error:
            raise ValueError("The segment is damaged.") from error
        rows = sum(run.count for run in file.runs)
        if file.format != FORMAT or len(file.vectors) != rows * file.dimensions * _HALF.itemsize:
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
        self._index = faiss.IndexScalarQuantizer(
            file.dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._index.add_sa_codes(np.frombuffer(file.vectors, dtype=np.uint8).reshape(rows, -1))

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
        """The vectors of the rows that are live, in half precision."""
        codes: np.ndarray = faiss.vector_to_array(self._index.codes)
        rows: np.ndarray = codes.view(_HALF).reshape(self.rows, -1)[live]
        return rows

    def search(
        self, query: "np.ndarray", owners: Sequence[str], live: "np.ndarray | None", limit: int
    ) -> list[tuple[float, int]]:
        """The best (similarity, row) among the live rows of these owners; `live` None: all are."""
        codes = [self._owners[owner] for owner in owners if owner in self._owners]
        if not codes:
            return []
        allowed = np.isin(self._owner_codes, codes)
        if live is not None:
            allowed &= live
        # faiss's stubs describe the C++ constructors; its Python layer takes an array, and keywords.
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))  # type: ignore[call-arg, arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, rows = self._index.search(query.reshape(1, -1), min(limit, self.rows), params=parameters)
        return [(float(score), int(row)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]


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
