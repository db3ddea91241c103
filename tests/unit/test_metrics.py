"""Where metrics go, and what they are measured by."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from parley.aws import failures
from parley.conversation.models import Completion, Prompt
from parley.functions import service_levels
from parley.functions.http import STATUS_BY_CODE
from parley.functions.service_levels import SERVER_FAULTS, ModelTime, Timed

from tests.unit.conversation_doubles import Clock, Model

PROMPT = Prompt(system="", messages=())

EMIT = """
from parley.functions.telemetry import instrument, metrics
from tests.unit.conversation_doubles import Context
instrument(lambda event, context: metrics.add_metric("Turns", "Count", 1))({}, Context())
"""


def test_a_process_writes_where_its_environment_says_without_saying_which_function() -> None:
    environment = os.environ | {
        "POWERTOOLS_METRICS_NAMESPACE": "Parley/staging",
        "POWERTOOLS_SERVICE_NAME": "chat",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", EMIT], env=environment, capture_output=True, text=True, check=True)
    [record] = [json.loads(line) for line in done.stdout.splitlines()]
    [directive] = record["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Parley/staging"
    assert directive["Dimensions"] == [["service"]]
    assert record["service"] == "assistant"


def test_faults_of_ours_are_those_that_http_answers_with_500_and_above() -> None:
    """A session that cannot begin has no status: it is refused over its connection."""
    assert {code for code, status in STATUS_BY_CODE.items() if status >= 500} | {"session_unavailable"} == SERVER_FAULTS


def test_the_models_time_ends_where_its_words_are_passed_on() -> None:
    clock = Clock()
    spent = ModelTime(clock)
    heard: list[str] = []

    class Speaker(Model):
        def generate(
            self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: object = None
        ) -> Completion:
            assert callable(on_text)
            clock.sleep(3)
            on_text("One ")
            clock.sleep(2)
            on_text("two.")
            clock.sleep(1)
            return Completion(text="One two.", input_tokens=1, output_tokens=1)

    def slow_client(text: str) -> None:
        clock.sleep(10)
        heard.append(text)

    Timed(Speaker(), spent).generate("m", PROMPT, timeout_seconds=30, on_text=slow_client)
    assert heard == ["One ", "two."]
    assert (spent.seconds, spent.until_first_text) == (6, 3)
    Timed(Model(spends=4, clock=clock), spent).generate("m", PROMPT, timeout_seconds=30)
    assert (spent.seconds, spent.until_first_text) == (10, 3)
    spent.begin()
    assert (spent.seconds, spent.until_first_text) == (0, None)


@pytest.mark.parametrize("moment", [None, 0, "now", 1_700_000_000, -5, 4_000_000_000_000])
def test_a_moment_that_cannot_be_is_now(monkeypatch: pytest.MonkeyPatch, moment: object) -> None:
    monkeypatch.setattr("parley.functions.service_levels.time.time", lambda: 1_700_000_100.0)
    assert service_levels.seconds_since_epoch(moment) == 1_700_000_100.0
    assert service_levels.seconds_since_epoch(1_700_000_097_500) == 1_700_000_097.5


def test_only_refusals_for_want_of_capacity_are_throttles() -> None:
    failures.take_store_throttles()
    for code in ("ThrottlingException", "ConditionalCheckFailedException", "RequestLimitExceeded", ""):
        failures.note_store_answer(code)
    assert failures.take_store_throttles() == 2
    assert failures.take_store_throttles() == 0


def test_every_metric_is_described_and_every_described_metric_is_written() -> None:
    root = Path(__file__).parents[2]
    code = "\n".join(path.read_text() for path in (root / "runtime" / "parley").rglob("*.py"))
    called = r'(?:add_metric\((?:name=)?|\.count\(|_count\(|\.milliseconds\(|SESSION_FAILED = )"([A-Z]\w+)"'
    written = set(re.findall(called, code))
    section = (root / "docs" / "monitoring.md").read_text().partition("## The assistant's own metrics")[2]
    rows = re.findall(r"^\| ([A-Z][\w, ]+) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == written
