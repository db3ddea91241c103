"""Whatever a client sends has a documented answer: never a 5xx, never half a turn."""

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sandbox.people import Person, Sandbox

UNKNOWN = "0" * 32

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "malformed": ({"content": b'{"message": '}, 400, "invalid_json"),
    "not JSON at all": ({"content": b"\xff\xfe"}, 400, "invalid_json"),
    "no body": ({"content": b""}, 400, "invalid_json"),
    "deeply nested": ({"content": b"[" * 50_000}, 422, "validation_failed"),
    "not an object": ({"json": ["message"]}, 422, "validation_failed"),
    "a missing field": ({"json": {}}, 422, "validation_failed"),
    "an unknown field": ({"json": {"message": "Hello", "temperature": 1}}, 422, "validation_failed"),
    "a wrong type": ({"json": {"message": 7}}, 422, "validation_failed"),
    "an empty message": ({"json": {"message": ""}}, 422, "validation_failed"),
    "100 KB": ({"json": {"message": "a" * 100_000}}, 413, "payload_too_large"),
    "an unknown conversation": ({"json": {"message": "Hello", "conversation_id": UNKNOWN}}, 404, "not_found"),
    "no conversation's id": ({"json": {"message": "Hello", "conversation_id": "../etc"}}, 404, "not_found"),
}


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_chat_refuses(user: Person, request_: dict[str, Any], status: int, code: str) -> None:
    refused = user.http.post("/chat", **request_)

    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert refused.json()["error"]["message"].endswith(".")
    assert refused.json()["error"]["request_id"]
    assert user.conversations() == []


def test_a_refusal_names_the_field(user: Person) -> None:
    assert "temperature" in user.http.post("/chat", json={"message": "Hello", "temperature": 1}).text
    assert "message" in user.http.post("/chat", json={}).json()["error"]["message"]


def test_an_unknown_path_is_not_found(user: Person) -> None:
    assert user.http.get("/nothing/here").status_code == 404
    assert user.http.get(f"/conversations/{UNKNOWN}").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("token", [None, "nonsense", "a.b.c"])
def test_nothing_is_answered_without_signing_in(sandbox: Sandbox, token: str | None) -> None:
    nobody = sandbox.person(token)

    assert nobody.http.get("/conversations").status_code == 401
    assert nobody.chat("Hello").status_code == 401
    assert nobody.http.post("/tickets", json={}).status_code == 401


MESSAGES: dict[str, tuple[str, str]] = {
    "malformed": ('{"action": "text", ', "invalid_json"),
    "not an object": ('["text"]', "bad_request"),
    "no action": ('{"message": "Hello"}', "bad_request"),
    "an unknown action": ('{"action": "dance"}', "bad_request"),
    "a missing field": ('{"action": "text", "request_id": "r"}', "validation_failed"),
    "an unknown field": ('{"action": "text", "message": "Hello", "colour": "red"}', "validation_failed"),
    "an empty message": ('{"action": "text", "message": ""}', "validation_failed"),
    "an unknown conversation": (
        json.dumps({"action": "text", "message": "Hello", "conversation_id": UNKNOWN}),
        "not_found",
    ),
}


def test_a_connection_survives_whatever_is_said_on_it(user: Person) -> None:
    with user.connected() as connection:
        for name, (message, code) in MESSAGES.items():
            connection.socket.send(message)
            refused = connection.receive()
            assert refused["code"] in {code, "validation_failed", "invalid_json", "bad_request"}, name
            assert refused["message"].endswith("."), name
        connection.send("ping")
        assert connection.receive("pong")["type"] == "pong"

    assert user.conversations() == []


@pytest.mark.parametrize(
    ("frame", "close_code"),
    [("x" * (32 * 1024 + 1), 1009), (b"binary", 1003)],
    ids=["a frame above 32 KB", "a binary frame"],
)
def test_a_frame_that_api_gateway_refuses_closes_the_connection(
    user: Person, frame: str | bytes, close_code: int
) -> None:
    with user.connected() as connection:
        connection.socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            connection.socket.recv(timeout=10)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == close_code
    assert user.conversations() == []


def test_a_message_in_several_frames_is_one_message(user: Person) -> None:
    """Above 32 KB a message needs several frames; up to 128 KB API Gateway puts them together."""
    with user.connected() as connection:
        connection.socket.send(iter(['{"action": "text", "message": "', "a" * 30_000, "b" * 30_000, '"}']))
        refused = connection.receive()

    assert refused["code"] == "payload_too_large"
