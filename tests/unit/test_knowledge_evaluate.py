import json
from pathlib import Path

import pytest
from parley.knowledge.calibration import Calibration

from benchmarks import knowledge_evaluate
from benchmarks.knowledge_held_out import WEIGHTS, evidence, held_out_recall
from benchmarks.knowledge_local import SandboxEmbedder
from benchmarks.knowledge_quality import Evidence, Library, ranking_quality
from benchmarks.knowledge_squad import load
from benchmarks.knowledge_stores import local_index

PARAGRAPHS = {
    "Bees live in hives and make honey from nectar.": "What do bees make honey from?",
    "The volcano erupted in 1883 and was heard far away.": "When did the volcano erupt?",
    "Copper conducts electricity better than iron does.": "Which metal conducts better than iron?",
}


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    articles = [
        {"title": "t", "paragraphs": [{"context": text, "qas": [{"id": "1", "question": question, "answers": []}]}]}
        for text, question in PARAGRAPHS.items()
    ]
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


def test_every_mode_is_measured(data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert knowledge_evaluate.main([str(data_set), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["mode"] for row in rows] == ["vector", "lexical", "hybrid"]
    assert all(row["recall_at_5"] == 1 and row["data_set"] == "small" and row["p50_ms"] > 0 for row in rows)


def test_a_folder_is_evaluated_and_drawn(data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = data_set.parent / "plot.png"
    assert knowledge_evaluate.main([str(data_set.parent), "--mode", "hybrid", "--plot", str(picture)]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_thresholds_refuse_more_the_higher_they_are(data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert knowledge_evaluate.main([str(data_set), "--thresholds", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for kind in ("score", "coverage"):
        refused = [row["refused_without"] for row in rows if row["of"] == kind]
        assert refused == sorted(refused)
        assert sum(row["calibrated"] for row in rows if row["of"] == kind) == 1
    assert knowledge_evaluate.main([str(data_set), "--thresholds"]) == 0
    assert "small" in capsys.readouterr().out


def seen(article: int, score: float, coverage: float, *, answerable: bool = True) -> Evidence:
    return Evidence(article, answerable, score, coverage)


START = Calibration(0.25, 0.1, "test")


def test_a_threshold_is_chosen_on_even_articles_and_reported_on_odd_ones() -> None:
    even = [seen(0, 0.01, 0.3), seen(0, 0.01, 0.5), seen(0, 0.01, 0.9, answerable=False)]
    odd = [seen(1, 0.01, 0.2), seen(1, 0.01, 0.6), seen(1, 0.01, 0.1, answerable=False)]
    rows = knowledge_evaluate.thresholds([("set", [*even, *odd])], "faiss", "a model")
    [chosen] = [row for row in rows if row.calibrated and row.of == "coverage"]
    assert chosen.threshold == 0.3
    assert (chosen.refused_with_answer, chosen.refused_without) == (0.5, 1.0)


def test_a_question_is_refused_when_no_passage_is_near_nor_has_its_words() -> None:
    assert seen(0, 0.24, 0.09).refused(START)
    assert not seen(0, 0.25, 0.0).refused(START)
    assert not seen(0, 0.0, 0.1).refused(START)


def test_a_store_that_knows_no_words_is_calibrated_by_similarity() -> None:
    found = [seen(0, 0.4, 0.0), seen(1, 0.4, 0.0), seen(1, 0.2, 0.0, answerable=False)]
    rows = knowledge_evaluate.thresholds([("set", found)], "s3vectors", "a model")
    assert {row.of for row in rows} == {"score"}
    assert next(row.threshold for row in rows if row.calibrated) == 0.4


def test_the_weight_for_one_half_is_the_best_one_for_the_other(data_set: Path) -> None:
    recall, weights = held_out_recall([Library(load(data_set), SandboxEmbedder())])
    assert recall == {"small": 1.0}
    assert set(weights) == {0, 1}
    assert set(weights.values()) <= set(WEIGHTS)


def test_the_article_that_answers_is_really_taken_away(data_set: Path, tmp_path: Path) -> None:
    library = Library(load(data_set), SandboxEmbedder())
    index = local_index(tmp_path / "index").deployed
    index.add(library.chunks())
    found = evidence(library, index, "faiss")
    with_answer = [each.coverage for each in found if each.answerable]
    without = [each.coverage for each in found if not each.answerable]
    assert len(with_answer) == len(without) == 3
    assert min(with_answer) > max(without)


@pytest.mark.parametrize("content", ["{", "{}", '{"data": []}', None])
def test_what_is_no_data_set_is_one_sentence(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert knowledge_evaluate.main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_ranks_are_counted_as_their_names_say() -> None:
    recall_1, recall_5, reciprocal = ranking_quality([1, 2, 5, 6, float("inf")])
    assert (recall_1, recall_5) == (0.2, 0.6)
    assert reciprocal == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 6) / 5)
