"""Connections and frames through the WebSocket function: what each is answered, and what is handed on."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from parley.errors import StoreUnavailable

from tests.unit.conversation_doubles import Context
from tests.unit.text_function_doubles import ADA, Cloud, cloud

__all__ = ["cloud"]


def test_a_connection_is_recorded_and_forgotten(cloud: Cloud) -> None:
    assert cloud.frame("", kind="CONNECT")["statusCode"] == 200
    assert [item["subject"]["S"] for item in cloud.items("connections")] == [ADA]
    assert cloud.frame("", kind="DISCONNECT")["statusCode"] == 200
    assert cloud.items("connections") == []
    assert cloud.frame("", kind="CONNECT", authorizer={})["statusCode"] == 401


def test_a_connection_that_cannot_be_recorded_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.module("websocket").connections(), "_table", "elsewhere")

    def busy(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("parley.aws.sessions.ConnectionTable.record", busy)
    monkeypatch.setattr("parley.aws.sessions.ConnectionTable.forget", busy)
    assert cloud.frame("", kind="CONNECT")["statusCode"] == 503
    assert cloud.frame("", kind="DISCONNECT")["statusCode"] == 200


def test_a_session_that_starts_warms_retrieval_up(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.frame({"action": "session.start"})
    assert cloud.functions.invoked == [], "without documents there is nothing to warm up"
    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    cloud.module("websocket").settings.cache_clear()
    cloud.frame({"action": "session.start"})
    [asked] = cloud.functions.invoked
    assert (asked["FunctionName"], asked["InvocationType"]) == ("retrieval", "Event")
    assert json.loads(asked["Payload"]) == {"warm_up": True, "correlation_id": Context.aws_request_id}
    cloud.functions.failure = EndpointConnectionError(endpoint_url="x")
    cloud.frame({"action": "session.start"})
    assert cloud.told() == ["session.ready"] * 3


def test_a_session_begins_answers_pings_and_ends(cloud: Cloud) -> None:
    for message in ({"action": "session.start"}, {"action": "ping"}, {"action": "session.end"}):
        assert cloud.frame(message)["statusCode"] == 200
    assert cloud.told() == ["session.ready", "pong", "session.ended"]
    assert cloud.posts.messages[0] == {"to": "c-1", "type": "session.ready", "session_id": "s-1"}


def test_a_text_is_handed_on_with_the_verified_identity(cloud: Cloud) -> None:
    cloud.frame({"action": "text", "message": "Why?", "request_id": "r-1"})
    [invoked] = cloud.functions.invoked
    assert (invoked["FunctionName"], invoked["InvocationType"]) == ("turn", "Event")
    order = json.loads(invoked["Payload"])
    assert (order["subject"], order["connection_id"], order["message"]) == (ADA, "c-1", "Why?")
    assert cloud.posts.messages == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("[1]", "validation_failed"),
        ({"action": "dance"}, "bad_request"),
        ({"message": "x"}, "validation_failed"),
        ({"action": "text"}, "validation_failed"),
        ({"action": "text", "message": "x", "subject": "bob"}, "validation_failed"),
        ({"action": "text", "message": ""}, "validation_failed"),
        ({"action": "text", "message": "x" * 32_001}, "payload_too_large"),
        ({"action": "session.start", "session_id": "another"}, "not_found"),
    ],
)
def test_a_bad_frame_gets_its_documented_error(cloud: Cloud, frame: Any, code: str) -> None:
    assert cloud.frame(frame)["statusCode"] == 200
    [error] = cloud.posts.messages
    assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)
    assert cloud.functions.invoked == []


def test_an_error_comes_back_with_its_request(cloud: Cloud) -> None:
    cloud.frame({"action": "text", "message": "", "request_id": "r-1"})
    assert cloud.posts.messages[0]["request_id"] == "r-1"


def test_a_turn_that_cannot_start_now_is_a_retryable_error(cloud: Cloud) -> None:
    cloud.functions.failure = ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")
    cloud.frame({"action": "text", "message": "x"})
    assert (cloud.posts.messages[0]["code"], cloud.posts.messages[0]["retryable"]) == ("throttled", True)


def test_a_route_never_raises(cloud: Cloud) -> None:
    cloud.functions.failure = ZeroDivisionError("secret")
    assert cloud.frame({"action": "text", "message": "x"})["statusCode"] == 200
    assert cloud.posts.messages[0]["code"] == "internal"
    assert "secret" not in json.dumps(cloud.posts.messages)
    cloud.posts.gone = True
    assert cloud.frame({"action": "ping"})["statusCode"] == 200
