"""The lexical half of a FAISS segment: which terms stand in which rows, scored by BM25.

It is part of its segment's object, so both are written, loaded, merged and deleted as one.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from parley.aws.faiss_occurrences import DROPPED, Occurrences, OccurrencesFile, Places, array_of, bytes_of
from parley.knowledge.lexical import terms

K1 = 1.2
B = 0.75
"""BM25's constants, as Lucene has them: how soon repetition saturates, and how much a long text is held back."""

SPARSE_ROWS = 1_024
"""Rows so few that looking each term up for each of them costs less than going through the terms' rows."""

_TERM = np.dtype("<u4")
_LENGTH = np.dtype("<u4")


class PostingsFile(msgspec.Struct, frozen=True):
    """Postings as they are stored."""

    terms: OccurrencesFile
    frequencies: memoryview
    """Compressed: how often the term stands in the row, at most 255."""
    lengths: memoryview
    """How many terms each row has."""


class Postings:
    """Rows by term."""

    def __init__(
        self, occurrences: Occurrences, frequencies: "NDArray[np.uint8]", lengths: "NDArray[np.uint32]"
    ) -> None:
        """`frequencies` has one per occurrence, `lengths` one per row."""
        self._occurrences = occurrences
        self._frequencies = frequencies
        self._lengths = lengths
        self.total_length = int(lengths.sum())

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
        occurrences, order = Occurrences.of_pairs(np.asarray(found, dtype=_TERM), np.asarray(rows, dtype=np.uint32))
        return cls(occurrences, np.asarray(frequencies, dtype=np.uint8)[order], np.asarray(lengths, dtype=_LENGTH))

    @classmethod
    def merged(cls, parts: "Sequence[tuple[Postings, Places]]", rows: int) -> "Postings":
        """The postings of the rows that have a place among `rows`."""
        occurrences, order = Occurrences.merged([(postings._occurrences, places) for postings, places in parts])
        frequencies = np.concatenate([p._frequencies[p._occurrences.kept(places)] for p, places in parts])
        lengths = np.zeros(rows, dtype=_LENGTH)
        for postings, places in parts:
            live = places != DROPPED
            lengths[places[live]] = postings._lengths[live]
        return cls(occurrences, frequencies[order], lengths)

    @classmethod
    def decode(cls, file: PostingsFile, rows: int) -> "Postings":
        """From `encode`'s result. Raises ValueError or zlib.error when it is damaged."""
        occurrences = Occurrences.decode(file.terms, _TERM, rows)
        frequencies = np.frombuffer(zlib.decompress(file.frequencies), np.uint8)
        lengths = array_of(file.lengths, _LENGTH)
        if len(frequencies) != len(occurrences.rows) or len(lengths) != rows:
            raise ValueError("Postings and rows do not match.")
        return cls(occurrences, frequencies, lengths)

    def encode(self) -> PostingsFile:
        """What is stored."""
        return PostingsFile(
            terms=self._occurrences.encode(len(self._lengths)),
            frequencies=memoryview(zlib.compress(self._frequencies, 1)),
            lengths=bytes_of(self._lengths),
        )

    def rows_with(self, term: int) -> int:
        """How many rows hold a term."""
        at = self._occurrences.at(term)
        return int(at.stop - at.start)

    def best(
        self, weights: Mapping[int, float], average_length: float, allowed: "NDArray[np.bool_]", limit: int
    ) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
        """The `limit` allowed rows with the highest scores above 0, in any order, and their scores."""
        rows = np.flatnonzero(allowed) if np.count_nonzero(allowed) <= SPARSE_ROWS else None
        if rows is None:
            rows = self._candidates(weights, average_length, allowed, limit)
        scores = self.scores(weights, average_length, rows)
        if len(rows) > limit:
            top = np.argpartition(scores, -limit)[-limit:]
            rows, scores = rows[top], scores[top]
        return rows[scores > 0], scores[scores > 0]

    def scores(
        self, weights: Mapping[int, float], average_length: float, rows: "NDArray[np.int64]"
    ) -> "NDArray[np.float32]":
        """These rows' BM25 scores for terms with these weights (their inverse document frequencies)."""
        total = np.zeros(len(rows), dtype=np.float32)
        for term, weight in weights.items():
            at = self._occurrences.at(term)
            holding = self._occurrences.rows[at]
            if not len(holding):
                continue
            places = np.searchsorted(holding, rows.astype(holding.dtype))
            places[places == len(holding)] = 0
            found = np.flatnonzero(holding[places] == rows)
            total[found] += self._parts(weight, average_length, rows[found], self._frequencies[at][places[found]])
        return total

    def _candidates(
        self, weights: Mapping[int, float], average_length: float, allowed: "NDArray[np.bool_]", limit: int
    ) -> "NDArray[np.int64]":
        """Allowed rows, all of the best `limit` among them: MaxScore's way.

        Rare terms come first. Once `limit` rows have more than all terms to come could give together, no other row can
        be among the best; so a term that stands in almost every row is hardly ever gone through.
        """
        total = np.zeros(len(allowed), dtype=np.float32)
        rare_first = sorted(weights, key=weights.__getitem__, reverse=True)
        to_come = sum(weights.values()) * (K1 + 1)
        found = np.empty(0, dtype=np.int64)
        for term in rare_first:
            if len(found) >= limit:
                scores = total[found]
                worst = np.partition(scores, -limit)[-limit]
                if worst > to_come:
                    found = found[scores + np.float32(to_come) >= worst]
                    break
            at = self._occurrences.at(term)
            rows = self._occurrences.rows[at]
            total[rows] += self._parts(weights[term], average_length, rows, self._frequencies[at])
            to_come -= weights[term] * (K1 + 1)
            found = np.flatnonzero((total > 0) & allowed)
        return found

    def _parts(
        self, weight: float, average_length: float, rows: "NDArray[np.integer]", frequencies: "NDArray[np.uint8]"
    ) -> "NDArray[np.float32]":
        """What a term that stands so often in each of these rows gives it."""
        lengths = self._lengths[rows].astype(np.float32)
        held_back = np.float32(K1 * (1 - B)) + np.float32(K1 * B / average_length) * lengths
        found: NDArray[np.float32] = np.float32(weight * (K1 + 1)) * frequencies / (frequencies + held_back)
        return found
