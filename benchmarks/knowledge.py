"""`scripts/bench knowledge`: retrieval quality beside BM25, chunking beside LangChain's, FAISS beside its limits."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import bm25s
from parley.knowledge.calibration import calibration

from benchmarks import knowledge_chunking, knowledge_faiss, knowledge_query
from benchmarks.knowledge_evaluate import TITAN
from benchmarks.knowledge_held_out import evidence, held_out_recall
from benchmarks.knowledge_local import SandboxEmbedder
from benchmarks.knowledge_quality import Evidence, Library, evaluate, ranking_quality, refused_share
from benchmarks.knowledge_squad import DataSet, load_all
from benchmarks.knowledge_stores import local_index
from benchmarks.report import Measurement, measurement

PARTS = ("quality", "chunking", "faiss", "query")

MAY_REFUSE = 0.02
"""The most questions with an answer that may be refused."""


def measure(*, data: Path, parts: Sequence[str], rounds: int) -> dict[str, Measurement]:
    """The parts that were asked for. Raises SystemExit with one sentence when the data sets cannot be read."""
    measured: dict[str, Measurement] = {}
    if "quality" in parts:
        measured |= _quality(data)
    if "chunking" in parts:
        measured |= knowledge_chunking.measure(rounds=rounds)
    if "faiss" in parts:
        measured |= knowledge_faiss.measure(rounds=rounds)
    if "query" in parts:
        measured |= knowledge_query.measure()
    return measured


def _quality(path: Path) -> dict[str, Measurement]:
    try:
        libraries = [Library(data, SandboxEmbedder()) for data in load_all(path)]
    except ValueError as error:
        raise SystemExit(str(error)) from error
    measured: dict[str, Measurement] = {}
    peers = {library.data.name: _bm25_recall(library.data) for library in libraries}
    held_out, weights = held_out_recall(libraries)
    for library in libraries:
        name = library.data.name
        with tempfile.TemporaryDirectory() as folder:
            index = local_index(Path(folder)).deployed
            index.add(library.chunks())
            found = evaluate(library, index, "faiss", "hybrid").recall_at_5
            measured |= _refusals(library, evidence(library, index, "faiss"), found)
        measured[f"recall@5 {name}"] = measurement(
            found, "", baseline=peers[name], note="baseline: bm25s, at its defaults"
        )
        measured[f"recall@5 {name}, held out"] = measurement(
            held_out[name],
            "",
            baseline=peers[name],
            note=f"weight of vectors {weights[0]:g} and {weights[1]:g}, each chosen on the other half of the articles",
        )
    return dict(sorted(measured.items()))


def _refusals(library: Library, seen: Sequence[Evidence], recall: float) -> dict[str, Measurement]:
    """What the calibrated thresholds refuse."""
    deployed = calibration("faiss", TITAN)
    name = library.data.name
    wrongly = refused_share(seen, deployed, answerable=True)
    rightly = refused_share(seen, deployed, answerable=False)
    left = f"baseline: the limit; recall@5 is {recall * (1 - wrongly):.4f} after it"
    return {
        f"refused {name}, with an answer": measurement(wrongly, "", baseline=MAY_REFUSE, note=left),
        f"refused {name}, without one": measurement(rightly, "", baseline=1, note="baseline: all of them"),
    }


def _bm25_recall(data: DataSet) -> float:
    """Recall@5 of bm25s over whole paragraphs."""
    index = bm25s.BM25()
    texts = [paragraph.text for paragraph in data.paragraphs]
    index.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    asked = bm25s.tokenize([q.text for q in data.questions], stopwords=None, show_progress=False)
    found, _ = index.retrieve(asked, k=min(5, len(texts)), show_progress=False)
    ranks: list[float] = [
        1 + row.tolist().index(question.paragraph) if question.paragraph in row.tolist() else float("inf")
        for row, question in zip(found, data.questions, strict=True)
    ]
    return ranking_quality(ranks)[1]
