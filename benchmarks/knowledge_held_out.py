"""Numbers that are chosen on one half of the articles and measured on the other, so that nothing flatters them.

The halves are the articles with even and with odd numbers: a question's neighbours, which share its paragraph or its
subject, are never in the other half.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from parley.aws.faiss_store import FaissStore
from parley.knowledge.calibration import Calibration
from parley.knowledge.ports import VectorIndex

from benchmarks.knowledge_local import LocalObjects, Remembering
from benchmarks.knowledge_quality import ANSWER_FROM, Evidence, Library, ask, rank, refused_share
from benchmarks.knowledge_squad import Question
from benchmarks.knowledge_stores import local_index

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""The fusion weights that are tried."""

MAY_REFUSE = 0.015
"""The share of answered questions that a threshold may refuse where it is chosen: 2 % is the goal on others."""

HALVES = (0, 1)


def held_out_recall(libraries: Sequence[Library]) -> tuple[dict[str, float], dict[int, float]]:
    """Recall@5 of hybrid search by data set, and the weights of vectors beside words that gave it, by half.

    The weight for each half is the best one, over all data sets together, for the other half's questions.
    """
    found = {library.data.name: _found_by_weight(library) for library in libraries}
    weights: dict[int, float] = {}
    for half in HALVES:
        other = {
            weight: np.mean([np.mean(by[weight][_half(lib) != half]) for lib, by in _with(libraries, found)])
            for weight in WEIGHTS
        }
        weights[half] = max(WEIGHTS, key=other.__getitem__)
    recall = {
        library.data.name: float(np.mean(np.where(_half(library) == 0, by[weights[0]], by[weights[1]])))
        for library, by in _with(libraries, found)
    }
    return recall, weights


def _with(
    libraries: Sequence[Library], found: Mapping[str, dict[float, np.ndarray]]
) -> list[tuple[Library, dict[float, np.ndarray]]]:
    return [(library, found[library.data.name]) for library in libraries]


def _half(library: Library) -> np.ndarray:
    """The half of each question."""
    paragraphs = library.data.paragraphs
    return np.asarray([paragraphs[question.paragraph].article % 2 for question in library.data.questions])


def _found_by_weight(library: Library) -> dict[float, np.ndarray]:
    """Whether each question's paragraph is among the first 5, by weight."""
    remembering = library.with_embedder(Remembering(library.embedder))
    with tempfile.TemporaryDirectory() as folder:
        client = LocalObjects.client(Path(folder))
        FaissStore(client, "local", "faiss/").add(library.chunks())
        found = {}
        for weight in WEIGHTS:
            store = FaissStore(client, "local", "faiss/", vector_weight=weight)
            retrieval = remembering.retrieval(store)
            ranks = [rank(ask(retrieval, each, top_k=ANSWER_FROM), each) for each in library.data.questions]
            found[weight] = np.asarray(ranks) <= ANSWER_FROM
    return found


def evidence(library: Library, index: VectorIndex, store: str) -> list[Evidence]:
    """What every question leaves to decide by: where search finds its paragraph, and where the article is taken away.

    From FAISS it is really away, and its words with it. From an index in the cloud, which knows no words or needs
    minutes to forget, its passages are only left out of what is found.
    """
    seen: list[Evidence] = []
    retrieval = library.retrieval(index)
    for article, questions in groupby(library.data.questions, key=lambda each: _article(library, each)):
        asked = list(questions)
        for question in asked:
            found = ask(retrieval, question)
            if rank(found, question) <= ANSWER_FROM:
                seen.append(Evidence.of(article, found, answerable=True))
            if store != "faiss":
                others = (passage for passage in found if library.article(passage.document_id) != article)
                seen.append(Evidence.of(article, others, answerable=False))
        if store == "faiss":
            seen += _without(library, article, asked)
    return seen


def _without(library: Library, article: int, questions: Sequence[Question]) -> list[Evidence]:
    rest = library.chunks(without_article=article)
    with tempfile.TemporaryDirectory() as folder:
        index = local_index(Path(folder)).deployed
        if rest:
            index.add(rest)
        retrieval = library.retrieval(index)
        return [Evidence.of(article, ask(retrieval, each, top_k=ANSWER_FROM), answerable=False) for each in questions]


def _article(library: Library, question: Question) -> int:
    return library.data.paragraphs[question.paragraph].article


def half_of(seen: Sequence[Evidence], half: int) -> list[Evidence]:
    """The evidence of one half of the articles."""
    return [each for each in seen if each.article % 2 == half]


def at(start: Calibration, threshold: float, *, by_coverage: bool) -> Calibration:
    """The calibration with this threshold, of coverage or of the score."""
    return replace(start, minimum_coverage=threshold) if by_coverage else replace(start, minimum_score=threshold)


def calibrated(seen: Sequence[Evidence], start: Calibration, *, by_coverage: bool) -> float:
    """The highest threshold, to the hundredth, that refuses at most MAY_REFUSE of the answered questions."""
    steps = [step / 100 for step in range(100)]
    allowed = (
        step
        for step in reversed(steps)
        if refused_share(seen, at(start, step, by_coverage=by_coverage), answerable=True) <= MAY_REFUSE
    )
    return next(allowed)
