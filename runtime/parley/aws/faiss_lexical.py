"""The lexical half of a FAISS segment: which terms stand in which rows, scored by BM25.

It is part of its segment's object, so both are written, loaded, merged and deleted as one.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

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
        self._known_held_back: tuple[float, NDArray[np.float32]] | None = None

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
        """From `encode`'s result. Raises ValueError when it does not fit `rows`."""
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

    def find(self, terms_: "NDArray[np.uint32]") -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Where the postings of each of these terms begin and end."""
        return self._occurrences.find(terms_)

    def best(
        self,
        question: Sequence[tuple[float, int, int]],
        average_length: float,
        allowed: "NDArray[np.bool_]",
        limit: int,
        others: "NDArray[np.int64]",
    ) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
        """The `limit` allowed rows with the highest scores above 0, in any order, then `others`; and their scores.

        `question` has for each term its weight (inverse document frequency) and where its postings begin and end.
        """
        held_back = self._held_back(average_length)
        known = [entry for entry in question if entry[2] > entry[1]]
        total = np.zeros(len(allowed), dtype=np.float32)
        common: Sequence[tuple[float, int, int]]
        if np.count_nonzero(allowed) <= SPARSE_ROWS:
            rows, common = np.flatnonzero(allowed), known
        else:
            rows, common = self._candidates(known, held_back, allowed, limit, total)
        rows = np.concatenate((rows, others))
        scores = total[rows]
        for weight, begin, end in common:
            holding = self._occurrences.rows[begin:end]
            places = holding.searchsorted(rows.astype(holding.dtype))
            places[places == len(holding)] = 0
            found = (holding[places] == rows).nonzero()[0]
            frequencies = self._frequencies[begin:end][places[found]]
            scores[found] += np.float32(weight * (K1 + 1)) * frequencies / (frequencies + held_back[rows[found]])
        count = len(rows) - len(others)
        top = np.argpartition(scores[:count], -limit)[-limit:] if count > limit else np.arange(count)
        chosen = np.concatenate((top[scores[top] > 0], np.arange(count, len(rows))))
        return rows[chosen], scores[chosen]

    def _candidates(
        self,
        question: Sequence[tuple[float, int, int]],
        held_back: "NDArray[np.float32]",
        allowed: "NDArray[np.bool_]",
        limit: int,
        total: "NDArray[np.float32]",
    ) -> "tuple[NDArray[np.int64], Sequence[tuple[float, int, int]]]":
        """Allowed rows with all of the best `limit` among them, and the terms that `total` does not have yet: MaxScore.

        Rare terms come first. Once `limit` rows have more than all terms to come could give together, no other row can
        be among the best; so a term that stands in almost every row is hardly ever gone through.
        """
        rare_first = sorted(question, reverse=True)
        to_come = sum(weight for weight, _, _ in rare_first) * (K1 + 1)
        for done, (weight, begin, end) in enumerate(rare_first):
            # Looking whether it is enough costs as much as going through this many postings.
            if end - begin > len(total) // 16:
                found = ((total > 0) & allowed).nonzero()[0]
                scores = total[found]
                worst = np.partition(scores, -limit)[-limit] if len(found) >= limit else 0.0
                if worst > to_come:
                    return found[scores + np.float32(to_come) >= worst], rare_first[done:]
            rows, frequencies = self._occurrences.rows[begin:end], self._frequencies[begin:end]
            total[rows] += np.float32(weight * (K1 + 1)) * frequencies / (frequencies + held_back[rows])
            to_come -= weight * (K1 + 1)
        return ((total > 0) & allowed).nonzero()[0], []

    def _held_back(self, average_length: float) -> "NDArray[np.float32]":
        """By how much the length of each row holds its terms back."""
        known = self._known_held_back
        if known is None or known[0] != average_length:
            factor = np.float32(K1 * B / average_length)
            known = average_length, np.float32(K1 * (1 - B)) + factor * self._lengths.astype(np.float32)
            self._known_held_back = known
        return known[1]
