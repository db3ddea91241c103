"""How well retrieval finds the paragraph that answers a question, and how well it tells that there is none."""

import time
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from parley.knowledge.calibration import Calibration
from parley.knowledge.chunking import chunk_sections
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import SHARED, Document, DocumentState
from parley.knowledge.passages import Passage
from parley.knowledge.ports import Embedder, VectorIndex
from parley.knowledge.retrieval import MAX_TOP_K, Retrieval
from parley.knowledge.sections import Section

from benchmarks.knowledge_local import MemoryRecords
from benchmarks.knowledge_squad import DataSet, Question

ANSWER_FROM = 5
"""Passages that a chat turn is given."""

_VERSION = "v1"
_EVERYTHING = -1.0


@dataclass(frozen=True, slots=True)
class Quality:
    """What one mode of one store reached on one data set."""

    data_set: str
    store: str
    mode: str
    recall_at_1: float
    recall_at_5: float
    mean_reciprocal_rank: float
    """Over the first 20 passages; one that is not among them counts 0."""
    p50_ms: float
    p99_ms: float
    """From question to passages, embedding included."""


class Library:
    """A data set as a knowledge base: each paragraph is a document, cut and embedded as documents are."""

    def __init__(self, data: DataSet, embedder: Embedder) -> None:
        self.data = data
        self.embedder = embedder
        self._records = MemoryRecords()
        chunks: list[tuple[ChunkId, Chunk]] = []
        for number, paragraph in enumerate(data.paragraphs):
            document = Document(
                owner=SHARED,
                document_id=str(number),
                name=f"{number}.txt",
                key=str(number),
                state=DocumentState.READY,
                version=_VERSION,
            )
            self._records.records[SHARED, document.document_id] = document
            for chunk in chunk_sections([Section(text=paragraph.text)]):
                chunks.append((ChunkId(SHARED, document.document_id, _VERSION, chunk.number), chunk))
        self._records.texts = dict(chunks)
        texts = [chunk.embedded_text() for _, chunk in chunks]
        vectors = embedder.embed(texts)
        self._chunks = [
            IndexedChunk(id_, vector, text) for (id_, _), vector, text in zip(chunks, vectors, texts, strict=True)
        ]

    def chunks(self, *, without_article: int | None = None) -> list[IndexedChunk]:
        """What an index is filled with, one article left out if asked for."""
        return [chunk for chunk in self._chunks if self.article(chunk.id.document_id) != without_article]

    def with_embedder(self, embedder: Embedder) -> "Library":
        """The same library, whose questions are embedded by another object."""
        other = copy(self)
        other.embedder = embedder
        return other

    def article(self, document_id: str) -> int:
        """The article whose paragraph a document is."""
        return self.data.paragraphs[int(document_id)].article

    def retrieval(self, index: VectorIndex) -> Retrieval:
        """Retrieval as it is deployed, but that it refuses nothing."""
        return Retrieval(self.embedder, index, self._records, _EVERYTHING)


def ask(retrieval: Retrieval, question: Question, *, top_k: int = MAX_TOP_K) -> list[Passage]:
    """The passages for a question."""
    return retrieval.passages("evaluation", question.text, top_k=top_k)


def evaluate(library: Library, index: VectorIndex, store: str, mode: str) -> Quality:
    """Ask every question of the data set once; every one gets its passages, whatever their scores."""
    ranks: list[float] = []
    seconds: list[float] = []
    retrieval = library.retrieval(index)
    # The first search makes connections, or loads the index.
    ask(retrieval, library.data.questions[0])
    for question in library.data.questions:
        started = time.perf_counter()
        found = ask(retrieval, question)
        seconds.append(time.perf_counter() - started)
        ranks.append(rank(found, question))
    recall_1, recall_5, reciprocal = ranking_quality(ranks)
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99]).tolist()
    return Quality(library.data.name, store, mode, recall_1, recall_5, reciprocal, p50, p99)


def rank(found: Sequence[Passage], question: Question) -> float:
    """The place of the paragraph that answers among the passages, from 1; infinity when it is not there."""
    places = (place for place, passage in enumerate(found, 1) if passage.document_id == str(question.paragraph))
    return next(places, float("inf"))


def ranking_quality(ranks: Sequence[float]) -> tuple[float, float, float]:
    """Recall@1, recall@5 and mean reciprocal rank of ranks from 1; infinity for what was not found."""
    found = np.asarray(ranks)
    return float((found <= 1).mean()), float((found <= 5).mean()), float((1 / found).mean())


@dataclass(frozen=True, slots=True)
class Evidence:
    """What retrieval could see of a question when it decides whether the documents hold an answer."""

    article: int
    answerable: bool
    score: float
    coverage: float
    """The best ones of the passages that a chat turn is given."""

    @classmethod
    def of(cls, article: int, passages: Iterable[Passage], *, answerable: bool) -> "Evidence":
        """The evidence of these passages."""
        given = list(passages)[:ANSWER_FROM]
        score = max((passage.score for passage in given), default=_EVERYTHING)
        coverage = max((passage.coverage for passage in given), default=0.0)
        return cls(article, answerable, score, coverage)

    def refused(self, calibration: Calibration) -> bool:
        """Would retrieval say that it does not know?"""
        return self.score < calibration.minimum_score and self.coverage < calibration.minimum_coverage


def refused_share(evidence: Iterable[Evidence], calibration: Calibration, *, answerable: bool) -> float:
    """The share of the questions of one kind that is refused."""
    refused = [each.refused(calibration) for each in evidence if each.answerable == answerable]
    return float(np.mean(refused)) if refused else 0.0
