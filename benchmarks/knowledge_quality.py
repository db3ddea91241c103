"""How well retrieval finds the paragraph that answers a question, by vectors, by words, or by both."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from parley.aws.faiss_store import FaissStore
from parley.aws.faiss_view import VECTOR_WEIGHT
from parley.knowledge.chunking import chunk_sections
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import SHARED, Document, DocumentState
from parley.knowledge.ports import Embedder
from parley.knowledge.retrieval import MAX_TOP_K, Retrieval
from parley.knowledge.sections import Section

from benchmarks.knowledge_local import LocalObjects, MemoryRecords
from benchmarks.knowledge_squad import DataSet

MODES = {"vector": 1.0, "lexical": 0.0, "hybrid": VECTOR_WEIGHT}
"""Retrieval modes, as the weight of vectors beside words."""

_VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Quality:
    """What one mode reached on one data set."""

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


class Collection:
    """A data set, indexed in a folder: each paragraph is a document."""

    def __init__(self, data: DataSet, embedder: Embedder, folder: Path) -> None:
        self.data = data
        self._embedder = embedder
        self._client = LocalObjects.client(folder)
        self.records = MemoryRecords()
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
            self.records.records[SHARED, document.document_id] = document
            for chunk in chunk_sections([Section(text=paragraph.text)]):
                chunks.append((ChunkId(SHARED, document.document_id, _VERSION, chunk.number), chunk))
        self.records.texts = dict(chunks)
        texts = [chunk.embedded_text() for _, chunk in chunks]
        vectors = embedder.embed(texts)
        self.store(VECTOR_WEIGHT).add(
            [IndexedChunk(id_, vector, text) for (id_, _), vector, text in zip(chunks, vectors, texts, strict=True)]
        )

    def store(self, vector_weight: float) -> FaissStore:
        """The index of this collection, searched with this weight of vectors beside words."""
        return FaissStore(self._client, "local", "faiss/", vector_weight=vector_weight)

    def retrieval(self, vector_weight: float, minimum_score: float) -> Retrieval:
        """Retrieval as it is deployed, but for its parts."""
        return Retrieval(self._embedder, self.store(vector_weight), self.records, minimum_score)


def evaluate(collection: Collection, mode: str, *, minimum_score: float) -> Quality:
    """Ask every question of the data set once."""
    retrieval = collection.retrieval(MODES[mode], minimum_score)
    ranks: list[float] = []
    seconds: list[float] = []
    retrieval.passages("evaluation", "warm", top_k=1)
    for question in collection.data.questions:
        started = time.perf_counter()
        found = retrieval.passages("evaluation", question.text, top_k=MAX_TOP_K)
        seconds.append(time.perf_counter() - started)
        places = [place for place, passage in enumerate(found) if passage.document_id == str(question.paragraph)]
        ranks.append(places[0] + 1 if places else float("inf"))
    recall_1, recall_5, reciprocal = ranking_quality(ranks)
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99]).tolist()
    return Quality(collection.data.name, "faiss", mode, recall_1, recall_5, reciprocal, p50, p99)


def ranking_quality(ranks: Sequence[float]) -> tuple[float, float, float]:
    """Recall@1, recall@5 and mean reciprocal rank of ranks from 1; infinity for what was not found."""
    found = np.asarray(ranks)
    return float((found <= 1).mean()), float((found <= 5).mean()), float((1 / found).mean())


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a minimum score would do to one data set."""

    score: float
    answered: float
    """The share of questions with their own paragraph among the first 5 that stay answered."""
    refused: float
    """The share of questions with nothing above it once the article that answers is taken away."""


def thresholds(collection: Collection, scores: Sequence[float]) -> list[Threshold]:
    """What each of these minimum scores would do."""
    retrieval = collection.retrieval(VECTOR_WEIGHT, -1.0)
    right: list[float] = []
    wrong: list[float] = []
    for question in collection.data.questions:
        article = collection.data.paragraphs[question.paragraph].article
        found = retrieval.passages("evaluation", question.text, top_k=MAX_TOP_K)
        if any(passage.document_id == str(question.paragraph) for passage in found[:5]):
            right.append(max(passage.score for passage in found[:5]))
        other = [
            passage.score
            for passage in found
            if collection.data.paragraphs[int(passage.document_id)].article != article
        ]
        wrong.append(max(other[:5], default=-1.0))
    return [
        Threshold(score, float((np.asarray(right) >= score).mean()), float((np.asarray(wrong) < score).mean()))
        for score in scores
    ]
