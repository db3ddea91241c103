"""A user sees only what is theirs."""

import time
import uuid

import pytest

from tests.sandbox.people import Person, Sandbox

SECONDS_TO_INDEX = 60


@pytest.fixture
def stranger(sandbox: Sandbox) -> Person:
    return sandbox.new_user()


def test_a_foreign_conversation_does_not_exist(user: Person, stranger: Person) -> None:
    conversation_id = user.chat("What is a turn?").json()["conversation_id"]
    path = f"/conversations/{conversation_id}"

    answers = [
        stranger.http.get(path),
        stranger.http.get(f"{path}/export"),
        stranger.http.delete(path),
        stranger.chat("Go on.", conversation_id=conversation_id),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.json()["error"]["code"] for answer in answers} == {"not_found"}
    assert stranger.conversations() == []
    assert len(user.http.get(path).json()["turns"]) == 2


def test_a_foreign_conversation_does_not_exist_over_websocket_either(user: Person, stranger: Person) -> None:
    conversation_id = user.chat("What is a turn?").json()["conversation_id"]

    with stranger.connected() as connection:
        refused = connection.ask("Go on.", conversation_id=conversation_id, request_id="foreign")

    assert (refused["type"], refused["code"], refused["request_id"]) == ("error", "not_found", "foreign")
    assert len(user.http.get(f"/conversations/{conversation_id}").json()["turns"]) == 2


def test_a_private_document_answers_its_owner_alone(user: Person, stranger: Person) -> None:
    password = uuid.uuid4().hex
    document_id = _add(user, "boat.md", f"# The boat\n\nThe name of the wooden boat in the shed is {password}.\n")

    question = "What is the name of the wooden boat in the shed?"
    assert password in user.chat(question).json()["message"]
    assert password not in stranger.chat(question).text
    assert password not in stranger.http.post("/rag/query", json={"query": question}).text
    assert password not in stranger.http.get("/knowledge/documents").text
    for method in ("GET", "DELETE"):
        assert stranger.http.request(method, f"/knowledge/documents/{document_id}").status_code == 404


def test_only_curators_write_for_everyone(sandbox: Sandbox, user: Person) -> None:
    mine = {"name": "notice.md", "text": "# Notice\n\nThe canteen is closed.\n", "shared": True}

    refused = user.http.post("/knowledge/documents", json=mine)

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    curator = sandbox.new_user(groups=["curators"])
    token = uuid.uuid4().hex
    document_id = _add(curator, "notice.md", f"# Notice\n\nThe word of the harbour notice is {token}.\n", shared=True)
    assert token in user.chat("What is the word of the harbour notice?").json()["message"]
    assert user.http.delete(f"/knowledge/documents/{document_id}").status_code in {403, 404}
    assert curator.http.delete(f"/knowledge/documents/{document_id}").is_success
    assert token not in user.chat("What is the word of the harbour notice?").text


def _add(person: Person, name: str, text: str, *, shared: bool = False) -> str:
    """The id of a new document, once it is ready."""
    added = person.http.post("/knowledge/documents", json={"name": name, "text": text, "shared": shared})
    document_id: str = added.raise_for_status().json()["document_id"]
    until = time.monotonic() + SECONDS_TO_INDEX
    while (state := person.http.get(f"/knowledge/documents/{document_id}").json()["state"]) != "ready":
        assert state != "failed"
        assert time.monotonic() < until, f"the document is still {state}"
        time.sleep(0.3)
    return document_id
