"""The assistant's main job: an answer from documents, with citations, over HTTP and over WebSocket."""

import hashlib
import re

import pytest
from websockets.exceptions import InvalidStatus

from tests.sandbox.people import Person, Sandbox, unique

QUESTION = "How long is a ticket valid?"


def test_an_answer_over_http_cites_the_documents_it_came_from(user: Person) -> None:
    answer = user.chat(QUESTION).raise_for_status().json()

    assert "60" in answer["message"]
    assert answer["knowledge"] == "used"
    assert answer["citations"]
    for citation in answer["citations"]:
        assert f"[{citation['id']}]" in answer["message"]
        assert citation["document"].endswith(".md")
        assert citation["heading"]
    assert answer["usage"]["input_tokens"] > 0
    assert answer["model"]


def test_an_answer_over_websocket_arrives_in_pieces_that_make_up_the_whole(user: Person) -> None:
    with user.connected() as connection:
        connection.send("session.start")
        assert connection.receive("session.ready")["session_id"]
        connection.send("text", message=QUESTION, request_id="first")
        pieces = []
        while (message := connection.receive("message.delta", "message.done"))["type"] == "message.delta":
            assert message["request_id"] == "first"
            pieces.append(message["text"])

    assert message["type"] == "message.done"
    assert "".join(pieces) == message["message"]
    assert "60" in message["message"]
    assert [citation["document"] for citation in message["citations"]]


def test_both_media_share_one_history(user: Person) -> None:
    first = user.chat(QUESTION).json()
    with user.connected() as connection:
        second = connection.ask("And how often may it be used?", conversation_id=first["conversation_id"])

    assert second["conversation_id"] == first["conversation_id"]
    detail = user.http.get(f"/conversations/{first['conversation_id']}").json()
    assert [turn["role"] for turn in detail["turns"]] == ["user", "assistant", "user", "assistant"]
    assert detail["turns"][0]["message"] == QUESTION
    assert detail["turns"][3]["message"] == second["message"]


def test_content_is_not_readable_in_the_store(sandbox: Sandbox, user: Person) -> None:
    question = unique("What is a turn?")
    user.chat(question).raise_for_status()
    table = sandbox.outputs_of("Data")["ConversationsTableName"]

    pages = sandbox.aws("dynamodb").get_paginator("scan").paginate(TableName=table)
    stored = [item for page in pages for item in page["Items"]]

    assert stored
    assert question not in str(stored)


def test_conversations_are_listed_exported_and_deleted(user: Person) -> None:
    conversation_id = user.chat(QUESTION).json()["conversation_id"]

    assert [entry["conversation_id"] for entry in user.conversations()] == [conversation_id]
    export = user.http.get(f"/conversations/{conversation_id}/export")
    assert "attachment" in export.headers["content-disposition"]
    assert len(export.json()["turns"]) == 2
    assert user.http.delete(f"/conversations/{conversation_id}").status_code == 204
    assert user.http.get(f"/conversations/{conversation_id}").status_code == 404
    assert user.conversations() == []


def test_passages_are_found_without_a_conversation(user: Person) -> None:
    passages = user.http.post("/rag/query", json={"query": QUESTION, "top_k": 3}).raise_for_status().json()["passages"]

    assert 1 <= len(passages) <= 3
    assert "60" in passages[0]["text"]
    assert all(0 < passage["score"] <= 1 for passage in passages)


def test_health_is_open_and_says_what_it_checked(sandbox: Sandbox) -> None:
    health = sandbox.person(None).http.get("/health")

    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert health.json()["checks"]


def test_a_ticket_opens_one_connection(user: Person) -> None:
    ticket = user.ticket()["ticket"]
    with user.connected(ticket) as connection:
        connection.send("ping")
        assert connection.receive("pong")

    with pytest.raises(InvalidStatus) as refused, user.connected(ticket):
        pass
    assert refused.value.response.status_code in {401, 403}


def test_a_ticket_expires_after_a_minute(sandbox: Sandbox, user: Person) -> None:
    ticket = user.ticket()["ticket"]
    dynamodb, table = sandbox.aws("dynamodb"), sandbox.outputs_of("Data")["CredentialsTableName"]
    [item] = [
        item
        for page in dynamodb.get_paginator("scan").paginate(TableName=table)
        for item in page["Items"]
        if item["credential_id"]["S"] == f"ticket#{_sha256(ticket)}"
    ]
    assert ticket not in str(item)
    dynamodb.update_item(
        TableName=table,
        Key={"credential_id": item["credential_id"]},
        UpdateExpression="SET expires_at = expires_at - :minute",
        ExpressionAttributeValues={":minute": {"N": "61"}},
    )

    with pytest.raises(InvalidStatus) as refused, user.connected(ticket):
        pass
    assert refused.value.response.status_code in {401, 403}


def test_a_session_is_its_owners(sandbox: Sandbox, user: Person) -> None:
    session_id = user.ticket()["session_id"]

    assert user.ticket(session_id=session_id)["session_id"] == session_id
    assert sandbox.new_user().http.post("/tickets", json={"session_id": session_id}).status_code == 404


def test_every_answer_of_the_page_and_the_apis_comes_from_one_address(sandbox: Sandbox) -> None:
    page = sandbox.person(None).http.get(sandbox.outputs["web_url"])

    assert page.status_code == 200
    assert re.search(r"<title>[^<]*Parley", page.text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
