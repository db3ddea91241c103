import json
from pathlib import Path

import pytest

from benchmarks import knowledge_evaluate
from benchmarks.knowledge_quality import ranking_quality

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
    assert knowledge_evaluate.main([str(data_set), "--thresholds"]) == 0
    assert "small" in capsys.readouterr().out


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
