"""After a replacement or a deletion was acknowledged, nothing of the old document is ever retrieved."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from parley.aws.items import from_item

from tests.sandbox.people import Person, Sandbox

SECONDS = 120
ROUNDS = 4
QUESTION = "Which word opens the harbour gate?"


class Asking(threading.Thread):
    """Asks all the time, and remembers for each question when it was asked and which words came back."""

    def __init__(self, user: Person, document_id: str) -> None:
        super().__init__(daemon=True)
        self._user, self._document_id = user, document_id
        self._enough = threading.Event()
        self.answers: list[tuple[float, str]] = []

    def run(self) -> None:
        while not self._enough.is_set():
            asked = time.monotonic()
            answer = self._user.http.post("/rag/query", json={"query": QUESTION, "top_k": 20})
            texts = [
                passage["text"]
                for passage in answer.raise_for_status().json()["passages"]
                if passage["document_id"] == self._document_id
            ]
            self.answers.append((asked, "\n".join(texts)))

    def stop(self) -> None:
        self._enough.set()
        self.join()

    def wait_for(self, word: str) -> None:
        """Wait until the last answer has a word."""
        _wait_for(lambda: bool(self.answers) and word in self.answers[-1][1])

    def after(self, moment: float) -> list[str]:
        """What came back for the questions asked after a moment."""
        return [texts for asked, texts in self.answers if asked > moment]


@contextmanager
def asking(user: Person, document_id: str) -> Iterator[Asking]:
    thread = Asking(user, document_id)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


def test_no_old_word_is_found_after_a_replacement_or_a_deletion(sandbox: Sandbox, user: Person) -> None:
    words = [uuid.uuid4().hex for _ in range(ROUNDS)]
    added = user.http.post("/knowledge/documents", json={"name": "gate.md", "text": _text(words[0])})
    document_id = added.raise_for_status().json()["document_id"]
    replaced: list[float] = []

    with asking(user, document_id) as questions:
        for round_, word in enumerate(words[1:]):
            if round_:
                # The first replacement follows at once, while the first version may be on its way into the index.
                questions.wait_for(words[round_])
            body = {"text": _text(word)}
            user.http.put(f"/knowledge/documents/{document_id}", json=body).raise_for_status()
            replaced.append(time.monotonic())
        questions.wait_for(words[-1])
        user.http.delete(f"/knowledge/documents/{document_id}").raise_for_status()
        deleted = time.monotonic()
        _wait_for(lambda: len(questions.after(deleted)) > 10)

    for moment, old in zip(replaced, words, strict=False):
        assert not [texts for texts in questions.after(moment) if old in texts]
    assert not any(questions.after(deleted))
    _wait_for(lambda: _chunks(sandbox, document_id) == [])


def _text(word: str) -> str:
    """Several chunks, each of which says the word."""
    return "\n\n".join(f"# Gate {number}\n\nThe word {word} opens the harbour gate." for number in range(30))


def _chunks(sandbox: Sandbox, document_id: str) -> list[Any]:
    """The keys of a document's chunks in the knowledge table."""
    table = sandbox.outputs_of("Data")["KnowledgeTableName"]
    pages = sandbox.aws("dynamodb").get_paginator("scan").paginate(TableName=table)
    items = (from_item(item) for page in pages for item in page["Items"])
    return [item["sk"] for item in items if item["pk"].endswith(f"#{document_id}")]


def _wait_for(settled: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not settled():
        assert time.monotonic() < until
        time.sleep(0.2)
