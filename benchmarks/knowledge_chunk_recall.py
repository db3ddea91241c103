"""Recall@5 of chunks: does one of the five that are retrieved hold the whole answer?

Each article of a data set is one document. Both splitters cut it into chunks of the same size and overlap, and the same
retriever searches them: by words alone (bm25s at its defaults), and as deployed (FAISS and words, the sandbox's
embedder).
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import bm25s
import numpy as np
from parley.knowledge.chunks import ChunkId, IndexedChunk
from parley.knowledge.documents import SHARED

from benchmarks.knowledge_local import SandboxEmbedder
from benchmarks.knowledge_squad import DataSet, Question
from benchmarks.knowledge_stores import local_index

type Splitter = Callable[[str], Sequence[str]]

RETRIEVED = 5


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and where in which article its answer stands."""

    text: str
    article: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk, and where in which article it stands."""

    text: str
    article: int
    start: int

    def holds(self, asked: _Asked) -> bool:
        return self.article == asked.article and self.start <= asked.start and asked.end <= self.start + len(self.text)


def articles(data: DataSet, separator: str) -> list[str]:
    """The articles of a data set, their paragraphs joined."""
    return [
        separator.join(paragraph.text for paragraph in group)
        for _, group in groupby(data.paragraphs, key=lambda paragraph: paragraph.article)
    ]


class ChunkRecall:
    """A data set whose questions are asked of its articles' chunks, by whatever splitter."""

    def __init__(self, data: DataSet, separator: str) -> None:
        """`separator` stands between the paragraphs of an article."""
        self._articles = articles(data, separator)
        starts: list[int] = []
        for _, group in groupby(data.paragraphs, key=lambda paragraph: paragraph.article):
            start = 0
            for paragraph in group:
                starts.append(start)
                start += len(paragraph.text) + len(separator)
        numbers = {article: number for number, article in enumerate(dict.fromkeys(p.article for p in data.paragraphs))}
        self._asked = [
            _Asked(question.text, numbers[data.paragraphs[question.paragraph].article], *place)
            for question in data.questions
            if (place := _place(question, starts)) is not None
        ]

    def measure(self, splitter: Splitter) -> dict[str, float]:
        """Recall@5 by retriever."""
        pieces = [
            _Piece(text, number, start)
            for number, article in enumerate(self._articles)
            for text, start in _located(article, splitter(article))
        ]
        return {
            "bm25s": self._recall(pieces, _by_words(pieces, self._asked)),
            "hybrid": self._recall(pieces, _as_deployed(pieces, self._asked)),
        }

    def _recall(self, pieces: Sequence[_Piece], found: Sequence[Sequence[int]]) -> float:
        hits = [
            any(pieces[number].holds(asked) for number in numbers)
            for asked, numbers in zip(self._asked, found, strict=True)
        ]
        return float(np.mean(hits))


def _place(question: Question, starts: Sequence[int]) -> tuple[int, int] | None:
    """Where in its article a question's answer starts and ends."""
    if question.answer is None:
        return None
    start = starts[question.paragraph]
    return start + question.answer.start, start + question.answer.stop


def _located(article: str, texts: Sequence[str]) -> list[tuple[str, int]]:
    """Chunks with their places: each begins after the one before did."""
    found: list[tuple[str, int]] = []
    start = -1
    for text in texts:
        start = article.index(text, start + 1)
        found.append((text, start))
    return found


def _by_words(pieces: Sequence[_Piece], asked: Sequence[_Asked]) -> list[list[int]]:
    index = bm25s.BM25()
    index.index(_tokens([piece.text for piece in pieces]), show_progress=False)
    found, _ = index.retrieve(
        _tokens([question.text for question in asked]), k=min(RETRIEVED, len(pieces)), show_progress=False
    )
    return [row.tolist() for row in found]


def _tokens(texts: list[str]) -> list[list[str]]:
    tokens = bm25s.tokenize(texts, stopwords=None, show_progress=False, return_ids=False)
    return [list(words) for words in tokens]


def _as_deployed(pieces: Sequence[_Piece], asked: Sequence[_Asked]) -> list[list[int]]:
    embedder = SandboxEmbedder()
    vectors = embedder.embed([piece.text for piece in pieces])
    with tempfile.TemporaryDirectory() as folder:
        index = local_index(Path(folder)).deployed
        index.add(
            [
                IndexedChunk(ChunkId(SHARED, "articles", "v1", number), vector, piece.text)
                for number, (piece, vector) in enumerate(zip(pieces, vectors, strict=True))
            ]
        )
        index.prepare()
        return [
            [hit.id.number for hit in index.search(vector, owners=[SHARED], limit=RETRIEVED, text=question.text)]
            for question, vector in zip(asked, embedder.embed([question.text for question in asked]), strict=True)
        ]
