"""Tokens of turns, and the way of a connection through CloudFront: the functions of the text path at their limits."""

import json
from typing import Any

import boto3
import pytest
from parley.aws import clients
from parley.errors import QuotaExceeded
from parley.functions import admission

from tests.unit.conversation_doubles import Context
from tests.unit.text_function_doubles import ADA, BOB, Cloud, authorize, cloud, effect

__all__ = ["cloud"]

TOKENS_OF_A_TURN = 110


@pytest.fixture
def counted(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the cloud limits: `counted(tokens_per_day=100)`."""
    caches = (admission.settings, admission.origin, admission.allowances)

    def forget() -> None:
        for cached in caches:
            cached.cache_clear()

    def limit(**limits: int) -> Cloud:
        cloud.dynamodb.create_table(
            TableName="usage",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        # moto answers botocore alone.
        monkeypatch.setattr(clients, "usage_dynamodb", lambda: cloud.dynamodb)
        monkeypatch.setenv("USAGE_TABLE", "usage")
        monkeypatch.setenv("LIMITS", json.dumps(limits))
        forget()
        return cloud

    yield limit
    forget()


def tokens(cloud: Cloud) -> int:
    """What the table has counted, of everybody."""
    return sum(int(item.get("tokens", {"N": "0"})["N"]) for item in cloud.items("usage"))


def test_no_model_is_asked_once_the_days_tokens_are_spent(counted: Any) -> None:
    cloud = counted(tokens_per_day=TOKENS_OF_A_TURN + 1)
    assert [cloud.chat()[0] for _ in range(2)] == [200, 200]
    calls = len(cloud.model.calls)
    status, error, headers = cloud.chat()
    assert (status, error["error"]["code"]) == (429, "quota_exceeded")
    assert int(headers["Retry-After"]) > 0
    assert len(cloud.model.calls) == calls
    assert cloud.chat(subject=BOB)[0] == 200


def test_a_turn_that_is_asked_for_twice_is_counted_once_and_answered_again(counted: Any) -> None:
    cloud = counted(tokens_per_day=TOKENS_OF_A_TURN)
    first = cloud.chat(key="k-1")[1]
    again = cloud.chat(key="k-1")
    assert (again[0], again[1]["turn_id"]) == (200, first["turn_id"])
    assert tokens(cloud) == TOKENS_OF_A_TURN


def test_a_turn_that_was_not_stored_is_not_counted(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = counted(tokens_per_day=1000)

    def busy(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("parley.aws.conversation_table.ConversationTable.append", busy)
    assert cloud.chat()[0] == 500
    assert tokens(cloud) == 0


def test_a_streamed_turn_is_refused_with_the_time_to_come_back(counted: Any) -> None:
    cloud = counted(tokens_per_day=1)
    cloud.order(request_id="r-1")
    assert tokens(cloud) == TOKENS_OF_A_TURN
    cloud.posts.messages.clear()
    cloud.order(request_id="r-2")
    [refused] = cloud.posts.messages
    assert (refused["type"], refused["code"], refused["request_id"]) == ("error", "quota_exceeded", "r-2")
    assert not refused["retryable"]
    assert 0 < refused["retry_after"] <= 86_400


def test_messages_are_counted_like_requests_and_pings_are_not(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = counted(requests_per_minute=1)
    for name in ("settings", "connections", "turns", "voice"):
        getattr(cloud.module("websocket"), name).cache_clear()
    for _ in range(3):
        cloud.frame({"action": "ping"})
        cloud.frame({"action": "text", "message": "Why?"})
    # Of three messages at most two fall into different minutes.
    assert 1 <= len(cloud.functions.invoked) <= 2
    [*_, refused] = [message for message in cloud.posts.messages if message["type"] == "error"]
    assert (refused["code"], refused["retryable"]) == ("throttled", True)
    assert 1 <= refused["retry_after"] <= 60
    assert cloud.told().count("pong") == 3


class Calls:
    """The voice sessions of the WebSocket routes."""

    def __init__(self) -> None:
        self.started = 0

    def start(self, *_: Any) -> None:
        self.started += 1


def test_no_call_begins_once_its_minutes_are_spent(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, calls = counted(voice_minutes_per_day=1), Calls()
    monkeypatch.setattr(cloud.module("websocket"), "voice", lambda: calls)
    cloud.frame({"action": "session.start", "medium": "voice"})
    assert calls.started == 1
    limits = admission.allowances()
    assert limits is not None
    with pytest.raises(QuotaExceeded):
        limits.spend_voice(ADA, 60)
    cloud.frame({"action": "session.start", "medium": "voice"})
    assert calls.started == 1
    [refused] = [message for message in cloud.posts.messages if message["type"] == "error"]
    assert refused["code"] == "quota_exceeded"


@pytest.fixture
def through_cloudfront(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The headers that CloudFront adds in an environment that asks for them."""
    caches = (admission.settings, admission.origin, clients.secrets_manager)
    for cached in caches:
        cached.cache_clear()
    manager = boto3.client("secretsmanager", "us-east-1")
    manager.create_secret(Name="origin", SecretString=json.dumps({"current": "value"}))
    monkeypatch.setenv("ORIGIN_SECRET_ARN", "origin")
    yield {"x-parley-origin": "value", "x-parley-host": "talk.example.com", "x-parley-viewer": "198.51.100.1"}
    for cached in caches:
        cached.cache_clear()


def test_a_ticket_opens_a_connection_through_cloudfront_and_no_other(
    cloud: Cloud, through_cloudfront: dict[str, str]
) -> None:
    status, ticket, _ = cloud.http("tickets", "POST", "/tickets", headers=through_cloudfront)
    assert (status, ticket["websocket_url"]) == (201, "wss://talk.example.com/ws")
    # Going round it does not even use the ticket up.
    assert effect(authorize(cloud, ticket["ticket"])) == "Deny"
    event = {
        "methodArn": "arn:aws:execute-api:us-east-1:000000000000:api/ws/$connect",
        "queryStringParameters": {"ticket": ticket["ticket"]},
        "headers": {name.title(): value for name, value in through_cloudfront.items()},
        "requestContext": {"identity": {"sourceIp": "203.0.113.9"}},
    }
    policy = cloud.handler("ticket_authorizer")(event, Context())
    assert effect(policy) == "Allow"
    assert policy["context"]["address"] == "198.51.100.1"
