"""What a citation links to opens, for those who were given it, and is never kept."""

import json
import time
import uuid
from typing import Any

import httpx
import pytest

from tests.sandbox.people import Person, Sandbox
from tests.unit.document_files import pdf

SECONDS_TO_INDEX = 60


@pytest.fixture
def stranger(sandbox: Sandbox) -> Person:
    return sandbox.new_user()


def test_a_citation_opens_the_document_and_the_stored_turn_has_no_link(user: Person, stranger: Person) -> None:
    word = uuid.uuid4().hex
    text = f"# The boat\n\nThe name of the wooden boat in the shed is {word}.\n"
    document_id = _ready(user, user.http.post("/knowledge/documents", json={"name": "boat.md", "text": text}))

    answer = user.chat("What is the name of the wooden boat in the shed?").raise_for_status().json()

    [citation] = [found for found in answer["citations"] if found["document_id"] == document_id]
    opened = _open(citation["source_url"])
    assert opened.text == text
    assert opened.headers["content-type"] == "text/plain; charset=utf-8"
    assert opened.headers["content-disposition"].startswith("inline")
    stored = user.http.get(f"/conversations/{answer['conversation_id']}").json()
    assert [found["document_id"] for found in stored["turns"][1]["citations"]]
    assert "source_url" not in json.dumps(stored)
    later = user.http.get(f"/knowledge/documents/{document_id}").json()["source_url"]
    assert _open(later).text == text
    assert stranger.http.get(f"/knowledge/documents/{document_id}").status_code == 404


def test_a_streamed_answer_links_too(user: Person) -> None:
    word = uuid.uuid4().hex
    text = f"The name of the wooden boat in the shed is {word}.\n"
    _ready(user, user.http.post("/knowledge/documents", json={"name": "boat.txt", "text": text}))

    with user.connected() as connection:
        done = connection.ask("What is the name of the wooden boat in the shed?")

    assert _open(done["citations"][0]["source_url"]).text == text


def test_a_passage_of_a_pdf_opens_at_its_page(user: Person) -> None:
    word = uuid.uuid4().hex
    content = pdf(["Cover."], [f"The lighthouse keeper is called {word}."])
    added = user.http.post("/knowledge/documents", json={"name": "keepers.pdf", "size": len(content)})
    form = added.raise_for_status().json()["upload"]
    httpx.post(form["url"], data=form["fields"], files={"file": content}, trust_env=False).raise_for_status()
    document_id = _ready(user, added)

    passages = _passages(user, "Who is the lighthouse keeper?", {"document_id": document_id})

    [passage] = [found for found in passages if word in found["text"]]
    assert passage["source_url"].endswith("#page=2")
    opened = _open(passage["source_url"])
    assert opened.content == content
    assert opened.headers["content-type"] == "application/pdf"


def test_html_is_downloaded_and_never_shown(user: Person) -> None:
    added = user.http.post(
        "/knowledge/documents", json={"name": "page.html", "text": "<p>Gulls</p><script>alert(1)</script>"}
    )
    document_id = _ready(user, added)
    opened = _open(user.http.get(f"/knowledge/documents/{document_id}").json()["source_url"])
    assert opened.headers["content-type"] == "application/octet-stream"
    assert opened.headers["content-disposition"].startswith("attachment")


def test_a_link_is_signed_for_fifteen_minutes_and_one_file(user: Person) -> None:
    added = user.http.post("/knowledge/documents", json={"name": "gulls.txt", "text": "Gulls."})
    document_id = _ready(user, added)
    url = httpx.URL(user.http.get(f"/knowledge/documents/{document_id}").json()["source_url"])
    assert url.params["X-Amz-Expires"] == "900"

    in_the_past = url.copy_set_param("X-Amz-Date", "20200101T000000Z")

    assert httpx.get(in_the_past, trust_env=False).status_code == 403


def test_a_filter_lets_only_some_records_through(user: Person) -> None:
    records = [
        {"word": "bonjour", "language": "fr", "level": 1, "formal": True},
        {"word": "salut", "language": "fr", "level": 2, "formal": False},
        {"word": "hallo", "language": "de", "level": 1, "formal": False},
    ]
    added = user.http.post("/knowledge/documents", json={"name": "words.json", "text": json.dumps(records)})
    document_id = _ready(user, added)

    def words(**where: Any) -> set[str]:
        found = _passages(user, "word language level formal", {"document_id": document_id, **where})
        return {passage["text"].split("\n")[0].removeprefix("word: ") for passage in found}

    assert words() == {"bonjour", "salut", "hallo"}
    assert words(language="fr") == {"bonjour", "salut"}
    assert words(language=["fr", "de"], formal=False) == {"salut", "hallo"}
    assert words(level=2) == {"salut"}
    assert words(level="2") == set()
    refused = user.http.post("/rag/query", json={"query": "word", "filter": {"language": {"$ne": "fr"}}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_failed")


def _passages(person: Person, query: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    answer = person.http.post("/rag/query", json={"query": query, "top_k": 20, "filter": where})
    passages: list[dict[str, Any]] = answer.raise_for_status().json()["passages"]
    return passages


def _ready(person: Person, added: httpx.Response) -> str:
    """The id of a document that was just added, once it is ready."""
    document_id: str = added.raise_for_status().json()["document_id"]
    until = time.monotonic() + SECONDS_TO_INDEX
    while (state := person.http.get(f"/knowledge/documents/{document_id}").json()["state"]) != "ready":
        assert state != "failed"
        assert time.monotonic() < until, f"the document is still {state}"
        time.sleep(0.3)
    return document_id


def _open(url: str) -> httpx.Response:
    """What a browser gets that follows a link: it sends no token."""
    return httpx.get(url, trust_env=False).raise_for_status()
