"""Adapters of Bedrock, Lambda, API Gateway, and of the tables of credentials, sessions and requests."""

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    EventStreamError,
    ReadTimeoutError,
)
from moto import mock_aws
from parley.aws import clients
from parley.aws.bedrock_models import BedrockModels
from parley.aws.connection_posts import POST_ATTEMPTS, Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.credentials import CredentialTable
from parley.aws.idempotency import RequestsOnce
from parley.aws.invocations import BackgroundFunction, RetrievalFunction, can_invoke
from parley.aws.items import from_item, to_item
from parley.aws.sessions import ConnectionTable, SessionTable
from parley.conversation.errors import RequestKeyReused, TurnInProgress
from parley.conversation.models import Message, ModelFailure, Prompt
from parley.conversation.turns import RequestKey
from parley.errors import KnowledgeUnavailable, ModelUnavailable, StoreUnavailable, Throttled

from tests.unit.conversation_doubles import Clock, Context

PROMPT = Prompt(system="Be brief.", messages=[Message(role="user", text="Hi")])


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")  # type: ignore[typeddict-item]  # botocore fills the rest


class Scripted:
    """A client whose every call gives, or raises, the next thing in `results`."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result

        return call


# Bedrock


def converse_response(text: str = "Hello.") -> dict[str, Any]:
    content = [{"reasoningContent": {}}, {"text": text}]
    return {"output": {"message": {"content": content}}, "usage": {"inputTokens": 7, "outputTokens": 2}}


def test_converse_asks_as_documented_and_gives_text_and_tokens() -> None:
    client, asked = Scripted(converse_response()), []

    def client_for(seconds: int) -> Any:
        asked.append(seconds)
        return client

    completion = BedrockModels(client_for).generate("m", PROMPT, timeout_seconds=11.9)
    assert (completion.text, completion.input_tokens, completion.output_tokens) == ("Hello.", 7, 2)
    assert asked == [11]
    [(operation, request)] = client.calls
    assert (operation, request["modelId"], request["system"]) == ("converse", "m", [{"text": "Be brief."}])
    assert request["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (client_error("ThrottlingException", 429), "throttled"),
        (client_error("ModelTimeoutException", 408), "timeout"),
        (client_error("ServiceUnavailableException", 503), "unavailable"),
        (client_error("SomethingNew", 500), "unavailable"),
        (client_error("ValidationException"), "rejected"),
        (client_error("AccessDeniedException", 403), "rejected"),
        (ReadTimeoutError(endpoint_url="x"), "timeout"),
        (ConnectTimeoutError(endpoint_url="x"), "timeout"),
        (EndpointConnectionError(endpoint_url="x"), "unavailable"),
        (converse_response("  "), "unavailable"),
    ],
)
def test_what_goes_wrong_with_a_model_has_a_reason(failure: Any, reason: str) -> None:
    with pytest.raises(ModelFailure) as caught:
        BedrockModels(lambda _: Scripted(failure)).generate("m", PROMPT, timeout_seconds=5)  # type: ignore[arg-type, return-value]  # a scripted client
    assert (caught.value.reason, caught.value.model_id) == (reason, "m")


def delta(text: str) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": {"text": text}}}


def stream(events: Any) -> BedrockModels:
    return BedrockModels(lambda _: Scripted({"stream": events}))  # type: ignore[arg-type, return-value]  # a scripted client


def test_a_stream_gives_its_pieces_and_then_its_tokens() -> None:
    heard: list[str] = []
    usage = {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}}}
    events = [{"messageStart": {}}, delta("One "), delta(""), delta("two."), {"messageStop": {}}, usage]
    completion = stream(events).generate("m", PROMPT, timeout_seconds=5, on_text=heard.append)
    assert (heard, completion.text, completion.output_tokens) == (["One ", "two."], "One two.", 2)


def test_an_error_within_a_stream_has_a_reason() -> None:
    def events() -> Iterator[Any]:
        yield delta("One ")
        raise EventStreamError({"Error": {"Code": "throttlingException"}}, "ConverseStream")

    with pytest.raises(ModelFailure) as caught:
        stream(events()).generate("m", PROMPT, timeout_seconds=5, on_text=lambda _: None)
    assert caught.value.reason == "throttled"


def test_a_stream_that_trickles_ends_with_its_share_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("parley.aws.bedrock_models.time.monotonic", clock)

    def events() -> Iterator[Any]:
        while True:
            clock.sleep(1)
            yield delta(".")

    heard: list[str] = []
    with pytest.raises(ModelFailure) as caught:
        stream(events()).generate("m", PROMPT, timeout_seconds=5, on_text=heard.append)
    assert (caught.value.reason, len(heard)) == ("timeout", 5)


# Lambda


def payload(value: Any, **more: Any) -> dict[str, Any]:
    return {"Payload": io.BytesIO(json.dumps(value).encode()), **more}


def retrieval(*results: Any) -> RetrievalFunction:
    client = Scripted(*results)
    return RetrievalFunction("retrieval", lambda _: client)  # type: ignore[arg-type, return-value]  # a scripted client


def test_passages_come_from_the_retrieval_function() -> None:
    found = {
        "document_id": "d",
        "document": "a.md",
        "heading": "H",
        "page": None,
        "text": "T",
        "score": 1,
        "owner": "shared",
    }
    [first] = retrieval(payload({"passages": [found]})).retrieve("ada", "why", timeout_seconds=2.5)
    assert (first.document_id, first.text, first.score, first.page) == ("d", "T", 1.0, None)


@pytest.mark.parametrize(
    "result",
    [
        payload({"error": {"code": "knowledge_unavailable"}}),
        payload({"errorMessage": "crashed"}, FunctionError="Unhandled"),
        {"Payload": io.BytesIO(b"<html>")},
        payload({"passages": [{"text": 1}]}),
        client_error("TooManyRequestsException", 429),
        client_error("ResourceNotFoundException", 404),
        ReadTimeoutError(endpoint_url="x"),
    ],
)
def test_whatever_is_wrong_with_retrieval_is_one_error(result: Any) -> None:
    with pytest.raises(KnowledgeUnavailable):
        retrieval(result).retrieve("ada", "why")


def test_a_turn_is_started_and_not_waited_for() -> None:
    client = Scripted({})
    BackgroundFunction("turn", client).start(b"{}")  # type: ignore[arg-type]  # a scripted client
    assert client.calls == [("invoke", {"FunctionName": "turn", "InvocationType": "Event", "Payload": b"{}"})]


def test_a_turn_that_cannot_start_now_is_retryable() -> None:
    for failure in (client_error("TooManyRequestsException", 429), ReadTimeoutError(endpoint_url="x")):
        with pytest.raises(Throttled):
            BackgroundFunction("turn", Scripted(failure)).start(b"{}")  # type: ignore[arg-type]  # a scripted client
    with pytest.raises(ClientError):
        BackgroundFunction("turn", Scripted(client_error("AccessDeniedException", 403))).start(b"{}")  # type: ignore[arg-type]  # a scripted client


def test_whether_a_function_can_be_invoked() -> None:
    assert can_invoke(Scripted({"StatusCode": 204}), "f")  # type: ignore[arg-type]  # a scripted client
    assert not can_invoke(Scripted(client_error("ResourceNotFoundException", 404)), "f")  # type: ignore[arg-type]  # a scripted client


# Posts


def connection(*results: Any) -> tuple[Connection, Scripted]:
    client = Scripted(*results)
    return Connection("c", client, pause=lambda _: None), client  # type: ignore[arg-type]  # a scripted client


def test_a_full_buffer_is_given_time() -> None:
    slow, client = connection(client_error("LimitExceededException", 429), ReadTimeoutError(endpoint_url="x"), {})
    slow.post(b"x")
    assert [call[1]["Data"] for call in client.calls] == [b"x"] * 3


def test_a_client_that_has_left_is_told_apart_from_one_that_is_slow() -> None:
    with pytest.raises(ConnectionGone):
        connection(client_error("GoneException", 410))[0].post(b"x")
    with pytest.raises(ConnectionUnreachable):
        connection(*[client_error("LimitExceededException", 429)] * POST_ATTEMPTS)[0].post(b"x")
    with pytest.raises(ConnectionUnreachable):
        connection(client_error("ForbiddenException", 403))[0].post(b"x")


# Tables


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("dynamodb")
        for table, key in (
            ("credentials", "credential_id"),
            ("sessions", "session_id"),
            ("connections", "connection_id"),
            ("requests", "id"),
        ):
            client.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        yield client


def test_items_survive_the_way_to_the_table_and_back() -> None:
    values = {"text": "x", "n": 3, "price": 0.000012, "data": b"\0\1", "map": {"a": 1, "b": 0.5}, "list": ["x"]}
    assert from_item(to_item({**values, "absent": None})) == values


def test_a_ticket_opens_one_connection(dynamodb: Any) -> None:
    table = CredentialTable("credentials", dynamodb)
    issued = table.issue_ticket("ada", "s", frozenset({"curators", "b"}))
    assert issued.ticket not in repr(dynamodb.scan(TableName="credentials")["Items"])
    grant = table.redeem_ticket(issued.ticket)
    assert grant
    assert (grant.subject, grant.session_id, grant.groups) == ("ada", "s", "b curators")
    assert table.redeem_ticket(issued.ticket) is None
    assert table.redeem_ticket("unknown") is None


def test_a_ticket_expires(dynamodb: Any) -> None:
    clock = Clock()
    table = CredentialTable("credentials", dynamodb, clock=clock)
    issued = table.issue_ticket("ada", "s", frozenset())
    clock.sleep(60)
    assert table.redeem_ticket(issued.ticket) is None


def store_key(dynamodb: Any, key_id: str, secret: str, **more: Any) -> None:
    item = {
        "credential_id": f"api-key#{key_id}",
        "owner": "ada",
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        **more,
    }
    dynamodb.put_item(TableName="credentials", Item=to_item(item))


def test_an_api_key_names_its_owner_until_it_is_revoked(dynamodb: Any) -> None:
    table = CredentialTable("credentials", dynamodb)
    store_key(dynamodb, "k1", "se_cret", groups=["curators"])
    store_key(dynamodb, "k2", "secret", groups="a b")
    store_key(dynamodb, "k3", "secret", revoked_at="2026-11-21T00:00:00Z")
    first, second = table.check_api_key("parley_k1_se_cret"), table.check_api_key("parley_k2_secret")
    assert first
    assert (first.subject, first.groups) == ("ada", "curators")
    assert second
    assert second.groups == "a b"
    for refused in (
        "parley_k3_secret",
        "parley_k1_wrong",
        "parley_k9_secret",
        "parley_k1_",
        "parley",
        "x_k1_se_cret",
        "",
    ):
        assert table.check_api_key(refused) is None


def test_sessions_belong_to_their_subject_until_they_expire(dynamodb: Any) -> None:
    clock = Clock()
    table = SessionTable("sessions", dynamodb, retention_days=1, clock=clock)
    table.create("s", "ada")
    assert table.is_owned_by("s", "ada")
    assert not table.is_owned_by("s", "bob")
    assert not table.is_owned_by("t", "ada")
    clock.sleep(86_400)
    assert not table.is_owned_by("s", "ada")


def test_connections_are_recorded_and_forgotten(dynamodb: Any) -> None:
    table = ConnectionTable("connections", dynamodb)
    table.record("c", subject="ada", session_id="s", groups=frozenset({"x"}))
    [item] = map(from_item, dynamodb.scan(TableName="connections")["Items"])
    assert (item["subject"], item["session_id"], item["groups"]) == ("ada", "s", "x")
    table.forget("c")
    table.forget("c")
    assert dynamodb.scan(TableName="connections")["Items"] == []


# Requests that run once

KEY = RequestKey(key="key-1", fingerprint="f")


def test_a_request_runs_once(dynamodb: Any) -> None:
    once, runs = RequestsOnce("requests", dynamodb), []

    def work() -> str:
        runs.append(1)
        return f"turn-{len(runs)}"

    assert once.run("ada", KEY, Context(), work) == "turn-1"
    assert once.run("ada", KEY, Context(), work) == "turn-1"
    assert once.run("bob", KEY, Context(), work) == "turn-2"
    stored = repr(dynamodb.scan(TableName="requests")["Items"])
    assert KEY.key not in stored
    assert "ada" not in stored


def test_a_second_request_while_the_first_runs_is_told_to_wait(dynamodb: Any) -> None:
    once = RequestsOnce("requests", dynamodb)

    def work() -> str:
        with pytest.raises(TurnInProgress) as caught:
            once.run("ada", KEY, Context(), lambda: "never")
        assert caught.value.retryable
        return "turn"

    assert once.run("ada", KEY, Context(), work) == "turn"


def test_a_killed_request_can_run_again_when_its_invocation_is_over(dynamodb: Any) -> None:
    once = RequestsOnce("requests", dynamodb)

    class Killed(BaseException):
        pass

    def work() -> str:
        raise Killed

    with pytest.raises(Killed):
        once.run("ada", KEY, Context(seconds=-1), work)
    assert once.run("ada", KEY, Context(), lambda: "turn") == "turn"


def test_a_failed_request_may_run_again_and_keeps_its_reason(dynamodb: Any) -> None:
    once = RequestsOnce("requests", dynamodb)

    def fail() -> str:
        raise ModelUnavailable

    with pytest.raises(ModelUnavailable):
        once.run("ada", KEY, Context(), fail)
    assert once.run("ada", KEY, Context(), lambda: "turn") == "turn"


def test_a_failure_keeps_its_reason_even_when_the_record_cannot_be_removed(dynamodb: Any) -> None:
    def fail() -> str:
        dynamodb.delete_table(TableName="requests")
        raise ModelUnavailable

    with pytest.raises(ModelUnavailable):
        RequestsOnce("requests", dynamodb).run("ada", KEY, Context(), fail)


def test_a_key_with_another_content_is_refused(dynamodb: Any) -> None:
    once = RequestsOnce("requests", dynamodb)
    once.run("ada", KEY, Context(), lambda: "turn")
    with pytest.raises(RequestKeyReused):
        once.run("ada", RequestKey(key=KEY.key, fingerprint="other"), Context(), lambda: "turn")


def test_a_memory_of_requests_that_fails_is_a_retryable_error(dynamodb: Any) -> None:
    with pytest.raises(StoreUnavailable):
        RequestsOnce("missing-table", dynamodb).run("ada", KEY, Context(), lambda: "turn")


# Clients


def test_every_client_ends_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", raising=False)
    made: list[Any] = [
        clients.dynamodb.__wrapped__(),
        clients.kms.__wrapped__(),
        clients.bedrock_runtime.__wrapped__(7),
        clients.lambda_.__wrapped__(3),
        clients.connections_api.__wrapped__("https://api.example/ws"),
    ]
    for client in made:
        config = client.meta.config
        assert config.connect_timeout <= 2
        assert config.read_timeout <= 10
        assert config.retries["total_max_attempts"] <= 5
    assert made[-1].meta.endpoint_url == "https://api.example/ws"


def test_the_sdks_own_endpoint_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", "http://127.0.0.1:1/@aws/ws")
    client = clients.connections_api.__wrapped__("https://api.example/ws")
    assert client.meta.endpoint_url == "http://127.0.0.1:1/@aws/ws"
