"""A question whose first retrieval misses: the model looks again, in other words, and answers from what it finds."""

import json
import time
from typing import Any

from tests.sandbox.people import Connected, Person, Sandbox

QUESTION = "How long is a ticket valid?"
# It names nothing, in a word that no document has: only with the question before it does a search find the tickets.
FOLLOW_UP = "Could you elaborate?"


def told(connection: Connected) -> list[dict[str, Any]]:
    """All messages of one answer."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["type"] not in {"message.done", "error"}:
        messages.append(json.loads(connection.socket.recv(timeout=60)))
    return messages


def test_the_first_retrieval_finds_nothing_about_tickets(user: Person) -> None:
    passages = user.http.post("/rag/query", json={"query": FOLLOW_UP}).raise_for_status().json()["passages"]

    assert not [passage for passage in passages if "ticket is valid" in passage["text"]]


def test_a_follow_up_is_answered_from_a_second_look_and_cites_it(user: Person) -> None:
    first = user.chat(QUESTION).raise_for_status().json()

    answer = user.chat(FOLLOW_UP, conversation_id=first["conversation_id"]).raise_for_status().json()

    assert "opens one connection" in answer["message"]
    assert answer["knowledge"] == "used"
    assert answer["citations"]
    for citation in answer["citations"]:
        assert f"[{citation['id']}]" in answer["message"]
        assert citation["source_url"]
    # Both calls of the model are counted; the second had the conversation, and passages as the first answer had them.
    assert answer["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_the_client_is_told_of_the_second_look_once(user: Person) -> None:
    first = user.chat(QUESTION).json()
    with user.connected() as connection:
        asked = {"message": FOLLOW_UP, "conversation_id": first["conversation_id"], "request_id": "look-again"}
        connection.send("text", **asked)
        *before, done = told(connection)
        connection.receive("usage")
        connection.send("text", **asked)
        again = told(connection)

    tools = [(message["name"], message["status"]) for message in before if message["type"] == "tool"]
    assert tools == [("search_knowledge", "started"), ("search_knowledge", "done")]
    assert [message["type"] for message in before[:2]] == ["tool", "tool"]
    assert "".join(message.get("text", "") for message in before) == done["message"]
    assert [message["type"] for message in again] == ["message.done"]
    assert again[0]["message"] == done["message"]


def test_the_tool_finds_what_its_user_may_read_and_nothing_else(sandbox: Sandbox, user: Person) -> None:
    owner = sandbox.new_user()
    text = "# Zanzibar\n\nThe zanzibar protocol lasts ninety days."
    document = owner.http.post("/knowledge/documents", json={"name": "zanzibar.md", "text": text}).raise_for_status()
    path = f"/knowledge/documents/{document.json()['document_id']}"
    deadline = time.monotonic() + 60
    while owner.http.get(path).json()["state"] != "ready":
        assert time.monotonic() < deadline, "the document never became ready"
        time.sleep(0.2)

    def second_look(person: Person) -> str:
        begun = person.chat("Tell me about the zanzibar protocol.").json()["conversation_id"]
        return str(person.chat("How long does it last?", conversation_id=begun).json()["message"])

    assert "ninety days" in second_look(owner)
    assert "ninety days" not in second_look(user)
