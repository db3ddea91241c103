"""`scripts/reindex` on the deployed assistant, while people ask, and add, replace and delete documents."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sandbox.state import PROJECT
from tests.sandbox.people import Person, Sandbox

COMMAND = [sys.executable, "-m", "operations.reindex"]
SECONDS_TO_INDEX = 60
SECONDS_TO_REINDEX = 300


class Shelf:
    """Documents of one person, each with a word that nobody else says."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.words: dict[str, str] = {}
        self.gone: list[str] = []

    def add(self) -> str:
        word = uuid.uuid4().hex
        body = {"name": f"{word[:6]}.md", "text": f"The lighthouse is called {word}."}
        document_id: str = (
            self.person.http.post("/knowledge/documents", json=body).raise_for_status().json()["document_id"]
        )
        self.words[document_id] = word
        return document_id

    def replace(self, document_id: str) -> None:
        self.gone.append(self.words[document_id])
        self.words[document_id] = word = uuid.uuid4().hex
        body = {"text": f"The lighthouse is called {word}."}
        self.person.http.put(f"/knowledge/documents/{document_id}", json=body).raise_for_status()

    def delete(self, document_id: str) -> None:
        self.person.http.delete(f"/knowledge/documents/{document_id}").raise_for_status()
        self.gone.append(self.words.pop(document_id))

    def finds(self, word: str) -> bool:
        asked = {"query": f"Which lighthouse is called {word}?", "top_k": 3}
        answer = self.person.http.post("/rag/query", json=asked).raise_for_status().json()
        return any(word in passage["text"] for passage in answer["passages"])

    def settle(self) -> None:
        for document_id in self.words:
            _wait(lambda it=document_id: self._state(it) == "ready")  # type: ignore[misc]  # one for each

    def _state(self, document_id: str) -> str:
        state: str = self.person.http.get(f"/knowledge/documents/{document_id}").raise_for_status().json()["state"]
        return state


@pytest.mark.alone
def test_a_reindex_costs_no_answer_and_brings_nothing_back(sandbox: Sandbox, user: Person) -> None:
    before = _active(sandbox)
    steady, changing = Shelf(user), Shelf(user)
    for _ in range(8):
        steady.add()
    deleted = changing.add()
    steady.settle()
    changing.settle()
    changing.delete(deleted)

    # So that it is killed while it builds; it embeds this text, where the questions differ from it.
    sandbox.fault(containing=f"The lighthouse is called {next(iter(steady.words.values()))}", delay=2.0)
    with _meanwhile(lambda: _ask(steady)) as missing, _meanwhile(lambda: _change(changing)) as broken:
        with _started("Building") as killed:
            killed.kill()
        with _started("Keeping", "--keep-old") as going:
            refused = _reindex()
            going.wait(timeout=SECONDS_TO_REINDEX)
        done = _reindex("--json")

    assert (refused.returncode, refused.stderr) == (1, "Another reindex is running; wait for it to end.\n")
    assert (killed.returncode, going.returncode) == (-signal.SIGKILL, 0)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["found"] >= result["expected"] >= len(steady.words)
    # Twice there and back.
    assert result["active"] == _active(sandbox) == before
    assert missing == []
    assert broken == []
    changing.settle()
    for shelf in (steady, changing):
        assert [word for word in shelf.words.values() if not shelf.finds(word)] == []
        assert [word for word in shelf.gone if shelf.finds(word)] == []
    assert len(changing.gone) > 5
    assert _objects(sandbox, result["previous"]) == []
    assert _objects(sandbox, before) != []


def _ask(shelf: Shelf) -> list[str]:
    return [word for word in shelf.words.values() if not shelf.finds(word)]


def _change(shelf: Shelf) -> list[str]:
    """Add two documents, replace one and delete the other, and see that searches agree at once."""
    kept, dropped = shelf.add(), shelf.add()
    shelf.settle()
    wrong = [word for word in list(shelf.words.values())[-2:] if not shelf.finds(word)]
    shelf.replace(kept)
    shelf.delete(dropped)
    return wrong + [word for word in shelf.gone[-2:] if shelf.finds(word)]


@contextmanager
def _meanwhile(do: Callable[[], list[str]]) -> Iterator[list[str]]:
    """Do something again and again; the list gets what it returned, and what went wrong."""
    found: list[str] = []
    over = threading.Event()

    def again() -> None:
        while not over.is_set():
            try:
                found.extend(do())
            except Exception as error:
                found.append(repr(error))

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@contextmanager
def _started(until: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run that has come to say `until`."""
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=PROJECT, env=_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = next((line for line in process.stderr if line.startswith(until)), None)
        assert said is not None
        yield process


def _reindex(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=PROJECT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_REINDEX,
        check=False,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _active(sandbox: Sandbox) -> str:
    table = sandbox.outputs_of("Data")["KnowledgeTableName"]
    found = sandbox.aws("dynamodb").get_item(
        TableName=table, Key={"pk": {"S": "indexes"}, "sk": {"S": "current"}}, ConsistentRead=True
    )
    return str(found["Item"]["active"]["S"]) if "Item" in found else "faiss/a"


def _objects(sandbox: Sandbox, address: str) -> list[str]:
    """The segments of an index."""
    bucket, slot = sandbox.outputs_of("Data")["DocumentsBucketName"], address.split("/")[1]
    listed = sandbox.aws("s3").list_objects_v2(Bucket=bucket, Prefix=f"indexes/faiss/{slot}/segments/")
    return [each["Key"] for each in listed.get("Contents", [])]


def _wait(settled: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_TO_INDEX
    while not settled():
        assert time.monotonic() < until
        time.sleep(0.3)
