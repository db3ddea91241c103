from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from parley.functions.knowledge_parts import KnowledgeSettings
from parley.knowledge.calibration import CALIBRATIONS, UNKNOWN, calibration
from parley.knowledge.chunks import Chunk, ChunkId, Hit, IndexedChunk
from parley.knowledge.documents import SHARED, Document, DocumentState
from parley.knowledge.retrieval import Retrieval

from benchmarks.knowledge_local import MemoryRecords, SandboxEmbedder
from benchmarks.knowledge_stores import local_index

TITAN = "amazon.titan-embed-text-v2:0"


def settings() -> KnowledgeSettings:
    return KnowledgeSettings(knowledge_table="t", documents_bucket="b", embedding_model=TITAN, vector_store="faiss")


@pytest.mark.parametrize("store", ["faiss", "s3vectors", "opensearch"])
def test_every_store_has_numbers_with_their_source(store: str) -> None:
    found = CALIBRATIONS[store, TITAN]
    assert 0 < found.minimum_score < 1
    assert 0 < found.minimum_coverage <= 1
    assert found.source


def test_a_pair_that_nobody_measured_says_so() -> None:
    assert calibration("faiss", "another.model") is UNKNOWN
    assert "no measurement" in UNKNOWN.source


def test_a_setting_overrides_the_calibrated_score(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().calibration() == CALIBRATIONS["faiss", TITAN]
    for name, value in {
        "KNOWLEDGE_TABLE": "t",
        "DOCUMENTS_BUCKET": "b",
        "EMBEDDING_MODEL": TITAN,
        "VECTOR_STORE": "faiss",
        "MINIMUM_SCORE": "0.4",
    }.items():
        monkeypatch.setenv(name, value)
    assert KnowledgeSettings.load().calibration().minimum_score == 0.4
    assert KnowledgeSettings.load().calibration().minimum_coverage == CALIBRATIONS["faiss", TITAN].minimum_coverage
    monkeypatch.setenv("MINIMUM_COVERAGE", "0.5")
    assert KnowledgeSettings.load().calibration().minimum_coverage == 0.5


EMBEDDER = SandboxEmbedder()


def hits(folder: Path, texts: list[str], question: str) -> list[Hit]:
    """What FAISS finds for a question among texts."""
    store = local_index(folder).deployed
    vectors = EMBEDDER.embed(texts)
    store.add(
        [
            IndexedChunk(ChunkId(SHARED, str(number), "v1", 0), vector, text)
            for number, (vector, text) in enumerate(zip(vectors, texts, strict=True))
        ]
    )
    store.prepare()
    [vector] = EMBEDDER.embed([question])
    return store.search(vector, owners=[SHARED], limit=5, text=question)


OPENING = "Our opening hours are nine to five."


def test_a_passage_with_a_questions_words_covers_it_and_others_do_not(tmp_path: Path) -> None:
    texts = [OPENING, "Bees make honey.", "The volcano erupted in 1883."]
    [best, *rest] = hits(tmp_path / "asked", texts, "What are the opening hours?")
    assert best.id.document_id == "0"
    assert best.coverage > CALIBRATIONS["faiss", TITAN].minimum_coverage
    assert all(hit.coverage < best.coverage / 3 for hit in rest)
    foreign = hits(tmp_path / "foreign", texts, "Who painted the ceiling of the Sistine chapel?")
    assert all(hit.coverage < CALIBRATIONS["faiss", TITAN].minimum_coverage for hit in foreign)


def test_a_knowledge_base_of_one_passage_answers_too(tmp_path: Path) -> None:
    [only] = hits(tmp_path, [OPENING], "What are the opening hours?")
    assert CALIBRATIONS["faiss", TITAN].minimum_coverage < only.coverage < 1


def test_words_that_the_index_does_not_know_count_against_every_passage(tmp_path: Path) -> None:
    [known] = hits(tmp_path / "known", [OPENING], "opening hours")
    [unknown] = hits(tmp_path / "unknown", [OPENING], "opening hours of the swimming bath")
    assert unknown.coverage < known.coverage / 2


@dataclass
class Found:
    """An index that finds one passage."""

    hit: Hit

    def prepare(self) -> None: ...

    def add(self, chunks: Sequence[IndexedChunk]) -> None: ...

    def remove(self, ids: Sequence[ChunkId]) -> None: ...

    def search(self, *_: object, **__: object) -> list[Hit]:
        return [self.hit]


@pytest.mark.parametrize(("score", "coverage", "answered"), [(0.3, 0.0, True), (0.01, 0.2, True), (0.24, 0.13, False)])
def test_a_passage_may_answer_by_its_meaning_or_by_its_words(score: float, coverage: float, answered: bool) -> None:
    records = MemoryRecords()
    id_ = ChunkId(SHARED, "0", "v1", 0)
    records.records[SHARED, "0"] = Document(
        owner=SHARED, document_id="0", name="a.txt", key="a", state=DocumentState.READY, version="v1"
    )
    records.texts[id_] = Chunk(0, OPENING)
    numbers = CALIBRATIONS["faiss", TITAN]
    retrieval = Retrieval(EMBEDDER, Found(Hit(id_, score, coverage)), records, lambda: numbers)
    assert bool(retrieval.passages("ada", "When do you open?", top_k=5)) is answered
