"""The lexical half of a FAISS segment: which terms stand in which rows, scored by BM25.

It is part of its segment's object, so both are written, loaded, merged and deleted as one.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from parley.knowledge.lexical import terms

K1 = 1.2
B = 0.75
"""BM25's constants, as Lucene has them: how soon repetition saturates, and how much a long text is held back."""

_TERM = np.dtype("<u4")
_LENGTH = np.dtype("<u4")


class PostingsFile(msgspec.Struct, frozen=True):
    """Postings as they are stored: bytes of arrays."""

    terms: bytes
    """Distinct terms, rising."""
    counts: bytes
    """How many postings each has."""
    rows: bytes
    """Compressed: each posting's row as its difference from the one before, all terms in one sequence."""
    frequencies: bytes
    """Compressed: how often the term stands in the row, at most 255."""
    lengths: bytes
    """How many terms each row has."""
    row_bytes: int


class Postings:
    """Rows by term."""

    def __init__(
        self,
        terms_: "NDArray[np.uint32]",
        rows: "NDArray[np.uint32]",
        frequencies: "NDArray[np.uint8]",
        lengths: "NDArray[np.uint32]",
    ) -> None:
        """From one entry per posting in any order; `lengths` has one per row."""
        order = np.lexsort((rows, terms_))
        self._terms, counts = np.unique(terms_, return_counts=True)
        self._ends = np.cumsum(counts)
        self._rows = rows[order]
        self._frequencies = frequencies[order]
        self.lengths = lengths

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "Postings":
        """The postings of texts; the row of each is its place."""
        found: list[int] = []
        rows: list[int] = []
        frequencies: list[int] = []
        lengths: list[int] = []
        for row, text in enumerate(texts):
            counted = Counter(terms(text))
            found += counted
            rows += [row] * len(counted)
            frequencies += (min(count, 255) for count in counted.values())
            lengths.append(counted.total())
        return cls(
            np.asarray(found, dtype=_TERM),
            np.asarray(rows, dtype=np.uint32),
            np.asarray(frequencies, dtype=np.uint8),
            np.asarray(lengths, dtype=_LENGTH),
        )

    @classmethod
    def merged(cls, parts: Sequence[tuple["Postings", "NDArray[np.bool_]"]]) -> "Postings":
        """The postings of the live rows of several, numbered on through all of them."""
        found, rows, frequencies, lengths = [], [], [], []
        start = 0
        for postings, live in parts:
            numbers = np.cumsum(live) - 1 + start
            kept = live[postings._rows]
            found.append(np.repeat(postings._terms, np.diff(postings._ends, prepend=0))[kept])
            rows.append(numbers[postings._rows[kept]].astype(np.uint32))
            frequencies.append(postings._frequencies[kept])
            lengths.append(postings.lengths[live])
            start += int(live.sum())
        return cls(np.concatenate(found), np.concatenate(rows), np.concatenate(frequencies), np.concatenate(lengths))

    @classmethod
    def decode(cls, content: bytes, rows: int) -> "Postings":
        """From `encode`'s bytes. Raises ValueError when they are damaged."""
        try:
            file = msgspec.msgpack.decode(content, type=PostingsFile)
            row_type = np.dtype(f"<u{file.row_bytes}")
            shuffled = np.frombuffer(zlib.decompress(file.rows), np.uint8).reshape(file.row_bytes, -1)
            steps = np.ascontiguousarray(shuffled.T).view(row_type).ravel()
            postings = cls.__new__(cls)
            postings._terms = np.frombuffer(file.terms, _TERM)
            postings._ends = np.cumsum(np.frombuffer(file.counts, _TERM), dtype=np.int64)
            postings._rows = np.cumsum(steps, dtype=row_type)
            postings._frequencies = np.frombuffer(zlib.decompress(file.frequencies), np.uint8)
            postings.lengths = np.frombuffer(file.lengths, _LENGTH)
        except (msgspec.MsgspecError, zlib.error, TypeError, ValueError) as error:
            raise ValueError("The segment's postings are damaged.") from error
        count = int(postings._ends[-1]) if len(postings._ends) else 0
        sizes = {count, len(postings._rows), len(postings._frequencies)}
        if (
            len(postings.lengths) != rows
            or len(sizes) != 1
            or len(postings._terms) != len(postings._ends)
            or (count and int(postings._rows.max()) >= rows)
        ):
            raise ValueError("The segment's postings are damaged.")
        return postings

    def encode(self) -> bytes:
        """What is stored."""
        row_type = np.dtype("<u2") if len(self.lengths) <= 2**16 else np.dtype("<u4")
        # Unsigned differences wrap around, and so does the sum that undoes them.
        steps = np.diff(self._rows.astype(row_type), prepend=row_type.type(0)).astype(row_type)
        shuffled = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, row_type.itemsize).T)
        return msgspec.msgpack.encode(
            PostingsFile(
                terms=self._terms.astype(_TERM).tobytes(),
                counts=np.diff(self._ends, prepend=0).astype(_TERM).tobytes(),
                rows=zlib.compress(shuffled.tobytes(), 1),
                frequencies=zlib.compress(self._frequencies.tobytes(), 1),
                lengths=self.lengths.astype(_LENGTH).tobytes(),
                row_bytes=row_type.itemsize,
            )
        )

    def rows_with(self, term: int) -> int:
        """How many rows hold a term."""
        at = self._slice(term)
        return int(at.stop - at.start)

    def scores(self, weights: Mapping[int, float], average_length: float) -> "NDArray[np.float32]":
        """Every row's BM25 score for terms with these weights (their inverse document frequencies)."""
        total = np.zeros(len(self.lengths), dtype=np.float32)
        held_back = (K1 * (1 - B + B * self.lengths / average_length)).astype(np.float32)
        for term, weight in weights.items():
            at = self._slice(term)
            rows, frequency = self._rows[at], self._frequencies[at]
            total[rows] += np.float32(weight * (K1 + 1)) * frequency / (frequency + held_back[rows])
        return total

    def _slice(self, term: int) -> slice:
        place = int(np.searchsorted(self._terms, np.uint32(term)))
        if place == len(self._terms) or self._terms[place] != term:
            return slice(0, 0)
        return slice(int(self._ends[place - 1]) if place else 0, int(self._ends[place]))
