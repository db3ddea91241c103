"""The functions of the text path through their entry points: moto's tables and keys, a scripted model."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from parley.aws import clients
from parley.aws.bedrock_models import BedrockModels
from parley.aws.invocations import RetrievalFunction
from parley.aws.items import to_item
from parley.conversation.tools.tool import ToolUse
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.settings import Settings, SettingsError

from tests.unit.conversation_doubles import Context, Library, Model, passage, throttled

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


# POST /chat


def test_a_chat_begins_and_goes_on(cloud: Cloud) -> None:
    status, first, headers = cloud.chat()
    assert status == 200
    assert first | {"conversation_id": "", "turn_id": ""} == {
        "conversation_id": "",
        "turn_id": "",
        "message": "An answer.",
        "citations": [],
        "model": MODEL,
        "usage": {"input_tokens": 100, "output_tokens": 10, "cost_usd": pytest.approx(0.0000084)},
        "knowledge": "off",
    }
    assert headers["Cache-Control"] == "no-store"
    _, second, _ = cloud.chat("And?", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert [message.text for message in cloud.model.prompts[-1].messages] == ["Why?", "An answer.", "And?"]


def test_a_role_chooses_its_models(cloud: Cloud) -> None:
    assert cloud.chat(model_role="reasoning")[1]["model"] == "b"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        ("\ud800", 400, "invalid_json"),
        ('{"message": "\\ud800"}', 400, "invalid_json"),
        ("[]", 422, "validation_failed"),
        ({}, 422, "validation_failed"),
        ({"message": 1}, 422, "validation_failed"),
        ({"message": " \n"}, 422, "validation_failed"),
        ({"message": "x", "extra": 1}, 422, "validation_failed"),
        ({"message": "x", "model_role": "summary"}, 422, "validation_failed"),
        ({"message": "x" * 100_000}, 413, "payload_too_large"),
        ({"message": "x", "conversation_id": "nope"}, 404, "not_found"),
        ({"message": "x", "conversation_id": "0" * 28}, 404, "not_found"),
    ],
)
def test_bad_input_gets_its_documented_error_and_leaves_nothing(
    cloud: Cloud, body: Any, status: int, code: str
) -> None:
    answered, error, _ = cloud.http("chat", "POST", "/chat", body)
    assert (answered, error["error"]["code"], error["error"]["request_id"]) == (status, code, "request-1")
    assert cloud.items("conversations") == []
    assert cloud.model.calls == []


def test_an_unknown_field_is_named(cloud: Cloud) -> None:
    assert "`extra`" in cloud.http("chat", "POST", "/chat", {"message": "x", "extra": 1})[1]["error"]["message"]


def test_a_body_in_base64_is_read(cloud: Cloud) -> None:
    assert cloud.http("chat", "POST", "/chat", "eyJtZXNzYWdlIjogIngifQ==", isBase64Encoded=True)[0] == 200
    assert cloud.http("chat", "POST", "/chat", "%%%", isBase64Encoded=True)[0] == 400


def test_nobody_without_an_identity_is_answered(cloud: Cloud) -> None:
    for subject in (None, "a#b"):
        assert cloud.http("chat", "POST", "/chat", {"message": "x"}, subject=subject)[0] == 401


def test_a_path_that_is_not_there_has_the_documented_error(cloud: Cloud) -> None:
    status, error, _ = cloud.http("chat", "GET", "/elsewhere")
    assert (status, error["error"]["code"]) == (404, "not_found")


def test_another_users_conversation_is_not_found(cloud: Cloud) -> None:
    hers = cloud.chat()[1]["conversation_id"]
    assert cloud.chat(subject=BOB, conversation_id=hers)[0] == 404


def test_the_next_model_answers_and_the_fallback_is_counted(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.model.script = {MODEL: [throttled(MODEL)]}
    assert cloud.chat()[1]["model"] == "b"
    assert "ModelFallbacks" in capsys.readouterr().out


def test_no_model_is_a_retryable_error(cloud: Cloud) -> None:
    cloud.model.script = {model: [throttled(model)] * 2 for model in (MODEL, "b")}
    status, error, headers = cloud.chat()
    assert (status, error["error"]["code"]) == (503, "model_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert cloud.items("conversations") == []


def test_a_busy_store_is_a_retryable_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("parley.aws.conversation_table.ConversationTable.append", busy)
    status, error, headers = cloud.chat()
    assert (status, error["error"]["code"], "Retry-After" in headers) == (503, "store_unavailable", True)


def test_without_the_knowledge_path_chat_answers_and_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise KnowledgeUnavailable

    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    monkeypatch.setattr(RetrievalFunction, "retrieve", down)
    status, answer, _ = cloud.chat()
    assert (status, answer["knowledge"], answer["message"]) == (200, "unavailable", "An answer.")


SOURCE = "https://bucket.example/documents/shared/doc-1/file-1.pdf?X-Amz-Signature=0123456789#page=2"


@pytest.fixture
def library(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Two passages, of which the model cites both; the second has no link."""
    found = Library([passage(1, page=2, source_url=SOURCE), passage(2)])
    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    monkeypatch.setattr(RetrievalFunction, "retrieve", lambda _, *args, **options: found.retrieve(*args, **options))
    cloud.model.answer = "It is so [1], and so [2]."
    return found


def test_an_answers_citations_link_to_their_documents_and_the_stored_turn_does_not(
    cloud: Cloud, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, answer, _ = cloud.chat(key="k-1")
    assert [citation["source_url"] for citation in answer["citations"]] == [SOURCE, None]

    stored = cloud.http("conversations", "GET", f"/conversations/{answer['conversation_id']}")[1]
    [_, turn] = stored["turns"]
    assert [citation["document_id"] for citation in turn["citations"]] == ["doc-1", "doc-2"]
    assert "bucket.example" not in json.dumps(stored)
    export = cloud.http("conversations", "GET", f"/conversations/{answer['conversation_id']}/export")[1]
    assert "bucket.example" not in json.dumps(export)

    _, replayed, headers = cloud.chat(key="k-1")
    assert headers["Idempotent-Replayed"] == "true"
    assert [citation["source_url"] for citation in replayed["citations"]] == [None, None]


def test_a_streamed_answers_citations_link_to_their_documents(cloud: Cloud, library: Library) -> None:
    cloud.order(request_id="r-1")
    [done] = [message for message in cloud.posts.messages if message["type"] == "message.done"]
    assert [citation["source_url"] for citation in done["citations"]] == [SOURCE, None]
    assert [citation["page"] for citation in done["citations"]] == [2, None]
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert [citation["source_url"] for citation in cloud.posts.messages[0]["citations"]] == [None, None]


SEARCH = ToolUse("use-1", "search_knowledge", {"query": "the private words of a user"})


def test_chat_may_look_again_and_counts_it(
    cloud: Cloud, library: Library, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cloud.model.script = {MODEL: [[SEARCH], ["So it is [1]."]]}
    _, answer, _ = cloud.chat()
    assert [query for _, query, _ in library.asked] == ["Why?", "the private words of a user"]
    assert answer["usage"]["input_tokens"] == 200
    assert [citation["document_id"] for citation in answer["citations"]] == ["doc-1"]
    assert "ToolRuns" in capsys.readouterr().out
    assert "private" not in str([vars(record) for record in caplog.records])


def test_a_failing_tool_is_logged_by_its_kind_alone(
    cloud: Cloud, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def second_fails(*_: Any, **__: Any) -> Any:
        if cloud.model.calls:
            raise ZeroDivisionError("the private words of a user")
        return []

    monkeypatch.setattr(RetrievalFunction, "retrieve", second_fails)
    cloud.model.script = {MODEL: [[SEARCH], ["I could not look."]]}
    status, answer, _ = cloud.chat()
    assert (status, answer["message"]) == (200, "I could not look.")
    [failed] = [record for record in caplog.records if record.getMessage() == "A tool failed"]
    assert vars(failed)["tool"] == "search_knowledge"
    assert vars(failed)["kind"] == "ZeroDivisionError"
    assert "private" not in str([vars(record) for record in caplog.records])


def test_a_streamed_turn_tells_of_its_tools_after_what_was_said_before(cloud: Cloud, library: Library) -> None:
    cloud.model.script = {MODEL: [["Let me see.", SEARCH], ["So it is [1]."]]}
    cloud.order(request_id="r-1")
    kinds = [message["type"] for message in cloud.posts.messages]
    assert kinds == ["message.delta", "tool", "tool", "message.delta", "message.done", "usage"]
    _, started, done, _, whole, _ = cloud.posts.messages
    assert (started["name"], started["status"], done["status"]) == ("search_knowledge", "started", "done")
    assert started["turn_id"] == done["turn_id"] == whole["turn_id"]
    assert whole["message"] == "Let me see.\n\nSo it is [1]."
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert "tool" not in cloud.told()


def test_what_nobody_expected_is_an_error_without_a_trace(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(BedrockModels, "generate", crash)
    status, error, _ = cloud.chat()
    assert (status, error["error"]["code"]) == (500, "internal")
    assert "secret" not in json.dumps(error)


def test_nothing_that_was_said_is_logged(cloud: Cloud, capfd: pytest.CaptureFixture[str]) -> None:
    cloud.model.answer = "The answer is swordfish."
    cloud.chat("Is it swordfish?")
    logged = capfd.readouterr()
    assert "swordfish" not in logged.out + logged.err
    assert "Turns" in logged.out


def test_a_repeated_key_gets_the_same_answer_once_stored(cloud: Cloud) -> None:
    first, again = cloud.chat(key="k"), cloud.chat(key="k")
    assert (again[0], again[1]) == (first[0], first[1])
    assert again[2]["Idempotent-Replayed"] == "true"
    assert len(cloud.model.calls) == 1
    assert cloud.chat("Something else?", key="k")[1]["error"]["code"] == "validation_failed"
    assert cloud.chat(key="k", subject=BOB)[1]["conversation_id"] != first[1]["conversation_id"]
    assert cloud.chat(key="x" * 129)[0] == 422


def test_a_turn_that_was_killed_after_it_was_stored_is_not_stored_again(cloud: Cloud) -> None:
    first = cloud.chat(key="k")[1]
    for item in cloud.items("idempotency"):
        cloud.dynamodb.delete_item(TableName="idempotency", Key={"id": item["id"]})
    assert cloud.chat(key="k")[1] == first
    assert len([item for item in cloud.items("conversations") if item["sk"]["S"].startswith("turn#")]) == 2


def test_an_answer_that_is_stored_counts_although_its_request_cannot_be_noted(cloud: Cloud) -> None:
    generate = cloud.model.generate

    def and_the_table_goes(*arguments: Any, **options: Any) -> Any:
        cloud.dynamodb.delete_table(TableName="idempotency")
        return generate(*arguments, **options)

    cloud.model.generate = and_the_table_goes  # type: ignore[method-assign]  # the table fails during the turn
    status, answer, _ = cloud.chat(key="k")
    assert (status, answer["message"]) == (200, "An answer.")


def test_the_answer_of_a_deleted_conversation_is_gone(cloud: Cloud) -> None:
    conversation_id = cloud.chat(key="k")[1]["conversation_id"]
    cloud.http("conversations", "DELETE", f"/conversations/{conversation_id}")
    assert cloud.chat(key="k")[0] == 404


# Conversations


def test_conversations_are_listed_read_exported_and_deleted(cloud: Cloud) -> None:
    first, second = cloud.chat("First?")[1], cloud.chat("Second?")[1]
    _, page, _ = cloud.http("conversations", "GET", "/conversations", queryStringParameters={"limit": "1"})
    assert [c["title"] for c in page["conversations"]] == ["Second?"]
    rest = {"limit": "1", "cursor": page["cursor"]}
    _, page, _ = cloud.http("conversations", "GET", "/conversations", queryStringParameters=rest)
    assert [c["conversation_id"] for c in page["conversations"]] == [first["conversation_id"]]
    path = f"/conversations/{second['conversation_id']}"
    _, detail, _ = cloud.http("conversations", "GET", path)
    assert [turn["message"] for turn in detail["turns"]] == ["Second?", "An answer."]
    _, exported, headers = cloud.http("conversations", "GET", f"{path}/export")
    assert exported == detail
    assert "attachment" in headers["Content-Disposition"]
    assert cloud.http("conversations", "DELETE", path)[0] == 204
    assert cloud.http("conversations", "GET", path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_or_unknown_conversation_is_not_found(cloud: Cloud, method: str) -> None:
    hers = cloud.chat()[1]["conversation_id"]
    for conversation_id in (hers, "0" * 28, "nope"):
        status, body, _ = cloud.http("conversations", method, f"/conversations/{conversation_id}", subject=BOB)
        assert (status, body["error"]["code"]) == (404, "not_found")
    assert cloud.http("conversations", "GET", f"/conversations/{hers}")[0] == 200


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"limit": "²"}, {"cursor": "x"}])
def test_a_list_refuses_what_it_does_not_understand(cloud: Cloud, query: dict[str, str]) -> None:
    assert cloud.http("conversations", "GET", "/conversations", queryStringParameters=query)[0] == 422


# Tickets and authorizers


def authorize(cloud: Cloud, ticket: str | None) -> dict[str, Any]:
    query = {"ticket": ticket} if ticket else None
    policy: dict[str, Any] = cloud.handler("ticket_authorizer")(
        {"methodArn": "arn:x", "queryStringParameters": query}, Context()
    )
    return policy


def effect(policy: dict[str, Any]) -> str:
    return str(policy["policyDocument"]["Statement"][0]["Effect"])


def test_a_ticket_is_for_one_connection_of_its_owner(cloud: Cloud) -> None:
    status, ticket, _ = cloud.http("tickets", "POST", "/tickets")
    assert (status, ticket["websocket_url"]) == (201, "wss://example.com/ws")
    policy = authorize(cloud, ticket["ticket"])
    assert effect(policy) == "Allow"
    context = {"subject": ADA, "session_id": ticket["session_id"], "groups": "", "address": ""}
    assert policy["context"] == context
    assert effect(authorize(cloud, ticket["ticket"])) == "Deny"
    assert effect(authorize(cloud, "unknown")) == effect(authorize(cloud, None)) == "Deny"


def test_a_session_goes_on_for_its_owner_alone(cloud: Cloud) -> None:
    session = cloud.http("tickets", "POST", "/tickets", {})[1]["session_id"]
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": session})[1]["session_id"] == session
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": session}, subject=BOB)[0] == 404
    assert cloud.http("tickets", "POST", "/tickets", {"session_id": ""})[0] == 404
    assert cloud.http("tickets", "POST", "/tickets", {"other": 1})[0] == 422


def test_authorizers_refuse_when_they_cannot_look(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("parley.aws.credentials.CredentialTable.redeem_ticket", busy)
    monkeypatch.setattr("parley.aws.credentials.CredentialTable.check_api_key", busy)
    assert effect(authorize(cloud, "x")) == "Deny"
    event = {"headers": {"Authorization": "Bearer parley_k_s"}}
    assert cloud.handler("api_key_authorizer")(event, Context()) == {"isAuthorized": False}


def test_an_api_key_authorizes_its_owner(cloud: Cloud) -> None:
    secret_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    item = {"credential_id": "api-key#k", "owner": ADA, "secret_sha256": secret_sha256, "groups": "curators"}
    cloud.dynamodb.put_item(TableName="credentials", Item=to_item(item))
    handler = cloud.handler("api_key_authorizer")
    allowed = handler({"headers": {"authorization": "Bearer parley_k_secret"}}, Context())
    assert allowed == {"isAuthorized": True, "context": {"subject": ADA, "groups": "curators"}}
    for header in ("Bearer parley_k_wrong", "Basic parley_k_secret", "", "Bearer"):
        assert handler({"headers": {"authorization": header}}, Context()) == {"isAuthorized": False}


# Health


def test_health_asks_what_it_depends_on(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    status, body, _ = cloud.http("health", "GET", "/health", subject=None)
    assert (status, body) == (200, {"status": "ok", "checks": {"store": "ok", "retrieval": "ok"}})
    assert cloud.functions.invoked[0]["InvocationType"] == "DryRun"


def test_health_names_what_fails(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVERSATIONS_TABLE", "elsewhere")
    status, body, _ = cloud.http("health", "GET", "/health", subject=None)
    assert (status, body) == (503, {"status": "degraded", "checks": {"store": "failed"}})


# WebSocket


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


# Streamed turns


def test_a_turn_streams_and_is_stored(cloud: Cloud) -> None:
    cloud.model.script = {MODEL: [["One ", "two ", "three."]]}
    cloud.order(request_id="r-1")
    *deltas, done, usage = cloud.posts.messages
    assert {message["type"] for message in deltas} == {"message.delta"}
    assert "".join(message["text"] for message in deltas) == done["message"] == "One two three."
    assert (done["type"], done["request_id"], done["citations"], done["model"]) == ("message.done", "r-1", [], MODEL)
    assert {message["turn_id"] for message in deltas} == {done["turn_id"]} == {usage["turn_id"]}
    assert usage["type"] == "usage"
    path = f"/conversations/{done['conversation_id']}"
    assert cloud.http("conversations", "GET", path)[1]["turns"][1]["message"] == "One two three."


def test_a_repeated_turn_gets_the_stored_answer(cloud: Cloud) -> None:
    cloud.order(request_id="r-1")
    first = cloud.posts.messages[-2]
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert cloud.posts.messages[0] == first
    assert len(cloud.model.calls) == 1


def test_a_turn_that_fails_says_so(cloud: Cloud) -> None:
    cloud.model.script = {model: [throttled(model)] * 2 for model in (MODEL, "b")}
    cloud.order(request_id="r-1")
    [error] = cloud.posts.messages
    assert (error["code"], error["retryable"], error["request_id"]) == ("model_unavailable", True, "r-1")
    cloud.order(conversation_id="0" * 28)
    assert cloud.posts.messages[-1]["code"] == "not_found"


def test_a_turn_that_crashes_says_no_more_than_that(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(BedrockModels, "generate", crash)
    cloud.order()
    assert [message["code"] for message in cloud.posts.messages] == ["internal"]


def test_a_turn_whose_client_has_left_is_stored_all_the_same(cloud: Cloud) -> None:
    cloud.frame("", kind="CONNECT")
    cloud.posts.gone = True
    cloud.order()
    assert len([item for item in cloud.items("conversations") if item["sk"]["S"].startswith("turn#")]) == 2
    assert cloud.items("connections") == []


# Settings


class Example(Settings, frozen=True, kw_only=True):
    table: str
    days: int
    models: dict[str, list[str]]
    function: str | None = None


def test_settings_come_from_the_environment() -> None:
    example = Example.load({"TABLE": "t", "DAYS": "3", "MODELS": '{"quick": ["a"]}', "FUNCTION": "", "OTHER": "x"})
    assert example == Example(table="t", days=3, models={"quick": ["a"]}, function=None)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"DAYS": "3", "MODELS": "{}"}, "TABLE"),
        ({"TABLE": "t", "DAYS": "x", "MODELS": "{}"}, "DAYS"),
        ({"TABLE": "t", "DAYS": "3", "MODELS": "{"}, "MODELS"),
        ({"TABLE": "t", "DAYS": "3", "MODELS": '{"quick": 1}'}, "MODELS"),
    ],
)
def test_a_setting_that_is_missing_or_malformed_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Example.load(environment)
