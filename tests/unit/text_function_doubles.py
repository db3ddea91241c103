"""Stands in for what the functions of the text path call: moto's tables and keys, a model, Lambda, API Gateway."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients
from parley.aws.bedrock_models import BedrockModels

from tests.unit.conversation_doubles import Context, Model

ADA, BOB = "ada-0001", "bob-0002"
MODEL = "amazon.nova-lite-v1:0"
KEYS = {
    "conversations": ("pk", "sk"),
    "idempotency": ("id",),
    "credentials": ("credential_id",),
    "sessions": ("session_id",),
    "connections": ("connection_id",),
}


class Posts:
    """API Gateway's management API: keeps what is posted, or says that the client has left."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gone = False

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:
        if self.gone:
            raise ClientError({"Error": {"Code": "GoneException"}}, "PostToConnection")
        assert len(Data) <= 32 * 1024
        self.messages.append({"to": ConnectionId} | json.loads(Data))


class Functions:
    """The Lambda service: keeps what is invoked."""

    def __init__(self) -> None:
        self.invoked: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        if self.failure:
            raise self.failure
        self.invoked.append(arguments)
        return {"StatusCode": 202}


@dataclass
class Cloud:
    dynamodb: Any
    model: Model = field(default_factory=Model)
    posts: Posts = field(default_factory=Posts)
    functions: Functions = field(default_factory=Functions)

    def handler(self, name: str) -> Any:
        return self.module(name).handler

    @staticmethod
    def module(name: str) -> ModuleType:
        return importlib.import_module(f"parley.functions.{name}")

    def items(self, table: str) -> list[dict[str, Any]]:
        return list(self.dynamodb.scan(TableName=table)["Items"])

    def http(
        self, function: str, method: str, path: str, body: Any = None, *, subject: str | None = ADA, **event: Any
    ) -> tuple[int, Any, dict[str, str]]:
        claims = {"authorizer": {"jwt": {"claims": {"sub": subject}}}} if subject else {}
        request = {
            "version": "2.0",
            "rawPath": path,
            "headers": {},
            "body": body if isinstance(body, str) or body is None else json.dumps(body),
            "requestContext": {
                "requestId": "request-1",
                "stage": "$default",
                "http": {"method": method, "path": path},
                **claims,
            },
        }
        response = self.handler(function)(request | event, Context())
        return (
            response["statusCode"],
            json.loads(response["body"]) if response.get("body") else None,
            response["headers"],
        )

    def chat(self, message: str = "Why?", *, key: str | None = None, subject: str = ADA, **body: Any) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        return self.http("chat", "POST", "/chat", {"message": message, **body}, subject=subject, headers=headers)

    def frame(self, body: Any, *, kind: str = "MESSAGE", authorizer: dict[str, str] | None = None) -> Any:
        identity = {"subject": ADA, "session_id": "s-1", "groups": "curators"} if authorizer is None else authorizer
        event = {
            "requestContext": {"connectionId": "c-1", "eventType": kind, "authorizer": identity},
            "body": body if isinstance(body, str) else json.dumps(body),
        }
        return self.handler("websocket")(event, Context())

    def order(self, **values: Any) -> None:
        event = {"connection_id": "c-1", "subject": ADA, "message": "Why?", **values}
        self.handler("turn")(event, Context())

    def told(self) -> list[str]:
        return [message["type"] for message in self.posts.messages]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with mock_aws():
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_METRICS_NAMESPACE": "Parley",
            "POWERTOOLS_SERVICE_NAME": "test",
            "CONVERSATIONS_TABLE": "conversations",
            "IDEMPOTENCY_TABLE": "idempotency",
            "CREDENTIALS_TABLE": "credentials",
            "SESSIONS_TABLE": "sessions",
            "CONNECTIONS_TABLE": "connections",
            "MODELS": json.dumps({"quick": [MODEL, "b"], "reasoning": ["b"]}),
            "RETENTION_DAYS": "30",
            "WEBSOCKET_URL": "wss://example.com/ws",
            "WEBSOCKET_CALLBACK_URL": "https://example.com/ws",
            "TURN_FUNCTION": "turn",
            "CONTENT_KEY_ARN": boto3.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"],
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("RETRIEVAL_FUNCTION", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        clients.dynamodb.cache_clear()
        clients.kms.cache_clear()
        found = Cloud(clients.dynamodb())
        for table, keys in KEYS.items():
            found.dynamodb.create_table(
                TableName=table,
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                BillingMode="PAY_PER_REQUEST",
            )
        for module, names in {
            "chat": ["answering"],
            "conversations": ["store"],
            "tickets": ["tickets"],
            "health": ["checks", "_brief_dynamodb"],
            "ticket_authorizer": ["credentials"],
            "api_key_authorizer": ["credentials"],
            "websocket": ["settings", "connections", "turns"],
            "turn": ["settings", "answering", "connections"],
        }.items():
            for name in names:
                getattr(found.module(module), name).cache_clear()
        monkeypatch.setattr(
            BedrockModels, "generate", lambda _, *args, **options: found.model.generate(*args, **options)
        )
        monkeypatch.setattr("parley.conversation.models.BACKOFF_SECONDS", 0.0)
        monkeypatch.setattr(clients, "connections_api", lambda url: found.posts)
        monkeypatch.setattr(clients, "lambda_", lambda *_: found.functions)
        yield found
        clients.dynamodb.cache_clear()
        clients.kms.cache_clear()


def authorize(cloud: Cloud, ticket: str | None) -> dict[str, Any]:
    query = {"ticket": ticket} if ticket else None
    policy: dict[str, Any] = cloud.handler("ticket_authorizer")(
        {"methodArn": "arn:x", "queryStringParameters": query}, Context()
    )
    return policy


def effect(policy: dict[str, Any]) -> str:
    return str(policy["policyDocument"]["Statement"][0]["Effect"])
