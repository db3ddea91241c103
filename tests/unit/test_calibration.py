import pytest
from parley.functions.knowledge_parts import KnowledgeSettings
from parley.knowledge.calibration import CALIBRATIONS, UNKNOWN, calibration

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
