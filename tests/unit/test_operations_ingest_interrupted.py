"""`scripts/ingest` killed, interrupted or started twice: no document is lost or doubled, and the next run goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operations.environment import data_folder
from operations.memory import FILE
from tests.unit.documents_api_double import Answer, Asked
from tests.unit.ingest_desk import Desk, desk, own_home, pauses

__all__ = ["desk", "own_home", "pauses"]

PROJECT = Path(__file__).parents[2]


def test_a_run_that_is_killed_after_any_request_is_made_good_by_the_next(desk: Desk) -> None:
    """Each round is killed one request later: its effect has come, its answer has not."""
    for round_ in range(1, 40):
        desk.api.documents.clear()
        desk.api.deleted.clear()
        desk.api.faults.clear()
        changed = desk.write("changed.md", "old")
        assert desk.ingest(changed)[0] == 0
        desk.write("changed.md", "new")
        desk.write("text.md", "text")
        desk.write("file.pdf", "file")

        killed = _run_until_killed(desk, requests=round_)
        status, _, _ = desk.ingest()

        assert status == 0
        assert desk.contents() == {"changed.md": b"new", "text.md": b"text", "file.pdf": b"file"}
        assert len(desk.api.documents) == 3
        assert {document.state for document in desk.api.documents.values()} == {"ready"}
        if not killed:
            return
        (data_folder(desk.api.url) / FILE).unlink()
    raise AssertionError("It never came to its end.")


def _run_until_killed(desk: Desk, *, requests: int) -> bool:
    """Run the tool in a process of its own, and kill it with its n-th request; was it still running then?"""
    process = _start(desk, "--concurrency", "1")
    left = requests
    answer = desk.api.answer

    def answer_or_kill(asked: Asked, query: dict[str, list[str]]) -> Answer:
        nonlocal left
        left -= 1
        result = answer(asked, query)
        if left == 0:
            process.kill()
            process.wait()
            raise ConnectionError
        return result

    desk.api.answer = answer_or_kill  # type: ignore[method-assign]  # for as long as the process lives
    try:
        return process.wait(timeout=60) == -signal.SIGKILL
    finally:
        desk.api.answer = answer  # type: ignore[method-assign]  # and back


def _start(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "operations.ingest", str(desk.folder), "--url", desk.api.url, *arguments]
    environment = {**os.environ, "PARLEY_TOKEN": "good", "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_a_summary(desk: Desk, number: signal.Signals) -> None:
    desk.write("a.md")
    desk.write("b.md")
    desk.api.frozen = True
    process = _start(desk)

    def interrupt(asked: Asked) -> None:
        if asked.method == "GET" and len(desk.api.documents) == 2:
            process.send_signal(number)

    desk.api.faults.append(interrupt)
    out, err = process.communicate(timeout=60)
    desk.api.frozen = False
    desk.api.faults.clear()

    assert process.returncode == 130
    assert out.startswith("Nothing was done in")
    assert err.endswith("Interrupted. 2 files are not done: the same command goes on from here.\n")
    assert desk.ingest()[0] == 0
    assert len(desk.api.documents) == 2


def test_two_runs_at_once_are_refused(desk: Desk) -> None:
    desk.write("a.md")
    inner: list[tuple[int, str, str]] = []

    def run_again(asked: Asked) -> None:
        if not inner:
            inner.append((0, "", ""))
            process = _start(desk)
            out, err = process.communicate(timeout=60)
            inner[0] = (process.returncode, out, err)

    desk.api.faults.append(run_again)

    assert desk.ingest()[0] == 0
    assert inner == [(2, "", "Another ingest is sending to this environment: wait until it is done.\n")]
