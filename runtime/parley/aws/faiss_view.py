"""Searching the segments of a FAISS index: by vectors, by words, or by both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np

from parley.aws.faiss_lexical import K1
from parley.aws.faiss_manifest import Manifest
from parley.aws.faiss_rows import Mask
from parley.aws.faiss_segment import Matrix, Segment
from parley.knowledge.chunks import Hit
from parley.knowledge.filters import Filter
from parley.knowledge.lexical import terms

VECTOR_WEIGHT = 0.3
"""What vectors count beside words, in [0, 1]. Chosen on XQuAD in trials with forerunners of this index and of the
sandbox's embedder: recall@5 hardly changed from 0.2 to 0.4 and was above reciprocal rank fusion's.
`scripts/evaluate` measures this one value only. An embedder that knows synonyms deserves more: measure with it."""

COUNTED_ROWS = 100
"""A smaller index is counted as one of so many rows: in a few rows every word would seem common, and a question's few
unknown words would outweigh all others. So `Hit.coverage` means about the same in 5 rows as in 240: with the threshold
that was chosen for 240 rows of XQuAD, collections of 5, 10, 20 and 60 of them refuse at most 2 % of the questions with
an answer, where without this it is up to 12 %."""

type _Place = tuple[str, int]
"""A row: its segment and its number there."""


@dataclass(frozen=True, slots=True)
class View:
    """What searches see: replaced as a whole, so that a search never meets half a refresh."""

    manifest: Manifest | None
    segments: Mapping[str, Segment]
    live: Mapping[str, Mask]
    """Rows that count, by segment; a segment without an entry has only such rows."""

    def search(
        self,
        query: Matrix,
        owners: Sequence[str],
        limit: int,
        *,
        text: str,
        where: Filter,
        vector_weight: float,
    ) -> list[Hit]:
        """The best chunks of these owners that pass the filter, best first, each with its cosine similarity.

        With a text, similarities and BM25 scores are each divided by the best one's and added, weighted.
        """
        allowed = {
            id_: rows
            for id_, segment in self.segments.items()
            if (rows := segment.rows.allowed(owners, where, self.live.get(id_))) is not None
        }
        near = nlargest(
            limit,
            (
                (score, (id_, row))
                for id_, rows in allowed.items()
                for score, row in self.segments[id_].search(query, rows, limit)
            ),
        )
        similarities = {place: score for score, place in near}
        ranking = similarities
        coverage: dict[_Place, float] = {}
        if text and vector_weight < 1:
            lexical, highest = self._lexical(text, allowed, limit, similarities)
            similarities |= self._similarities(query, lexical.keys() - similarities.keys())
            ranking = _fused(similarities, lexical, vector_weight)
            coverage = {place: score / highest for place, score in lexical.items()}
        best = nlargest(limit, ranking, key=ranking.__getitem__)
        return [
            Hit(self.segments[id_].rows.chunk_id(row), similarities[id_, row], coverage.get((id_, row), 0.0))
            for id_, row in best
        ]

    def _lexical(
        self, text: str, allowed: Mapping[str, Mask], limit: int, others: Iterable[_Place]
    ) -> tuple[dict[_Place, float], float]:
        """The BM25 scores of the best `limit` allowed rows, and of `others`; and the highest there could be."""
        rows = sum(map(len, self.segments.values()))
        average_length = sum(segment.postings.total_length for segment in self.segments.values()) / max(rows, 1)
        asked = np.asarray(sorted(set(terms(text))), dtype=np.uint32)
        found = {id_: segment.postings.find(asked) for id_, segment in self.segments.items()}
        spread = sum((ends - begins for begins, ends in found.values()), start=np.zeros(len(asked), dtype=np.int64))
        weights = np.log(1 + (max(rows, COUNTED_ROWS) - spread + 0.5) / (spread + 0.5))
        # No repetition of a word brings more.
        highest = float(weights.sum()) * (K1 + 1)
        if not spread.any():
            return {}, highest
        best: list[tuple[float, _Place]] = []
        scores: dict[_Place, float] = {}
        for id_, may in allowed.items():
            mine = np.asarray([row for owner, row in others if owner == id_], dtype=np.int64)
            question = list(zip(weights.tolist(), *(edges.tolist() for edges in found[id_]), strict=True))
            places, values = self.segments[id_].postings.best(question, average_length, may, limit, mine)
            scored = [((id_, row), score) for row, score in zip(places.tolist(), values.tolist(), strict=True)]
            best += ((score, place) for place, score in scored[: len(scored) - len(mine)])
            scores |= scored[len(scored) - len(mine) :]
        return scores | {place: score for score, place in nlargest(limit, best)}, highest

    def _similarities(self, query: Matrix, places: set[_Place]) -> dict[_Place, float]:
        found: dict[_Place, float] = {}
        for id_, segment in self.segments.items():
            rows = [row for owner, row in places if owner == id_]
            if rows:
                found |= {(id_, row): float(s) for row, s in zip(rows, segment.similarities(query, rows), strict=True)}
        return found


def _fused(similarities: Mapping[_Place, float], lexical: Mapping[_Place, float], weight: float) -> dict[_Place, float]:
    nearest = max(similarities.values(), default=0.0)
    best = max(lexical.values(), default=0.0)
    return {
        place: (weight * max(score, 0.0) / nearest if nearest > 0 else 0.0)
        + ((1 - weight) * lexical.get(place, 0.0) / best if best > 0 else 0.0)
        for place, score in similarities.items()
    }
