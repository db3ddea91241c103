"""Who is let in by the functions: what came through CloudFront, and what is within its limits."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients
from parley.functions import admission
from parley.functions.http import HttpApi, Request
from parley.functions.identity import websocket_caller

from tests.unit.conversation_doubles import Context

SECRET = {"x-parley-origin": "current-value"}


class Service:
    """A small function behind the HTTP API, with the tables and the secret that the test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.calls = 0
        api = HttpApi()

        @api.route("GET", "/things", summary="Things")
        def things(request: Request[None]) -> None:
            self.calls += 1

        @api.route("GET", "/open", summary="Open", authorized=False)
        def open_(request: Request[None]) -> None:
            self.calls += 1

        @api.route("POST", "/documents", summary="Documents")
        def documents(request: Request[None]) -> None:
            with admission.document_of(request.caller.subject):
                self.calls += 1
                if "fail" in request.query:
                    raise KeyError

        self._handler = api.handler()

    def count(self, **limits: int) -> None:
        """Count from now on, with these limits."""
        dynamodb = boto3.client("dynamodb", "us-east-1")
        # moto answers botocore alone.
        self._monkeypatch.setattr(clients, "usage_dynamodb", lambda: dynamodb)
        dynamodb.create_table(
            TableName="usage",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        self._monkeypatch.setenv("USAGE_TABLE", "usage")
        self._monkeypatch.setenv("LIMITS", json.dumps(limits))

    def demand_origin(self, value: str | None) -> None:
        """Demand the secret from now on; with None there is none to read."""
        if value is not None:
            boto3.client("secretsmanager", "us-east-1").create_secret(
                Name="origin", SecretString=json.dumps({"current": value})
            )
        self._monkeypatch.setenv("ORIGIN_SECRET_ARN", "origin")

    def get(
        self, path: str = "/things", *, subject: str = "ada", address: str = "192.0.2.7", **event: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """The answer's status, error (if it is one) and headers."""
        method = "POST" if path == "/documents" else "GET"
        context = {
            "requestId": "request-1",
            "stage": "$default",
            "http": {"method": method, "path": path, "sourceIp": address},
            "authorizer": {"jwt": {"claims": {"sub": subject}}},
        }
        request = {"version": "2.0", "rawPath": path, "headers": {}, "requestContext": context}
        answer = self._handler(request | event, Context())
        body = json.loads(answer["body"]) if answer.get("body") else {}
        return answer["statusCode"], body.get("error"), answer["headers"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    caches = (
        admission.settings,
        admission.origin,
        admission.allowances,
        clients.secrets_manager,
    )
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ENDPOINT_URL", "USAGE_TABLE", "LIMITS", "ORIGIN_SECRET_ARN"):
        monkeypatch.delenv(name, raising=False)
    for cached in caches:
        cached.cache_clear()
    with mock_aws():
        yield Service(monkeypatch)
    for cached in caches:
        cached.cache_clear()


# The origin


def test_who_goes_round_cloudfront_is_refused_in_our_own_words(service: Service) -> None:
    service.demand_origin("current-value")
    for path in ("/things", "/open"):
        for headers in ({}, {"X-Parley-Origin": "guessed"}):
            status, error, _ = service.get(path, headers=headers)
            assert (status, error["code"], error["request_id"]) == (403, "forbidden", "request-1")
    assert service.calls == 0
    assert service.get(headers=SECRET)[0] == 200


def test_without_a_secret_to_compare_with_nobody_is_let_in(service: Service) -> None:
    service.demand_origin(None)
    assert service.get(headers=SECRET)[0] == 403
    assert service.get("/open", headers={"x-parley-origin": ""})[0] == 403


def test_where_no_secret_is_demanded_its_header_means_nothing(service: Service) -> None:
    service.count(requests_per_minute_per_address=1)
    assert service.get(headers={"x-parley-viewer": "198.51.100.1"})[0] == 200
    # Still the same address: the client chose the header.
    assert service.get(headers={"x-parley-viewer": "198.51.100.2"})[0] == 429
    assert admission.public_host({"x-parley-host": "evil.example"}) is None


def test_behind_cloudfront_its_word_on_the_viewer_is_believed(service: Service) -> None:
    service.demand_origin("current-value")
    service.count(requests_per_minute_per_address=1)
    edge = "203.0.113.9"
    assert service.get(address=edge, headers={**SECRET, "x-parley-viewer": "198.51.100.1"})[0] == 200
    assert service.get(address=edge, headers={**SECRET, "x-parley-viewer": "198.51.100.2"})[0] == 200
    assert service.get(address=edge, headers={**SECRET, "x-parley-viewer": "198.51.100.1"})[0] == 429
    assert admission.public_host({"x-parley-host": "talk.example.com"}) == "talk.example.com"


def test_a_message_counts_for_the_address_that_its_connection_came_from() -> None:
    request = {"connectionId": "c-1", "identity": {"sourceIp": "203.0.113.9"}}
    granted = {"subject": "ada", "session_id": "s-1"}
    through = websocket_caller({"requestContext": {**request, "authorizer": {**granted, "address": "198.51.100.1"}}})
    direct = websocket_caller({"requestContext": {**request, "authorizer": granted}})
    assert (through.address, direct.address) == ("198.51.100.1", "203.0.113.9")


# Limits


def test_a_user_over_the_limit_is_told_when_to_come_back(service: Service) -> None:
    service.count(requests_per_minute=2)
    assert [service.get()[0] for _ in range(3)][:2] == [200, 200]
    # Fixed minutes: a third request in the next one is admitted, a fifth in it is not.
    answers = [service.get() for _ in range(4)]
    status, error, headers = answers[-1]
    assert (status, error["code"]) == (429, "throttled")
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert service.get(subject="bob")[0] == 200


def test_who_is_not_signed_in_counts_for_the_address_alone(service: Service) -> None:
    service.count(requests_per_minute=1, requests_per_minute_per_address=2)
    answers = [service.get("/open")[0] for _ in range(6)]
    assert 429 in answers
    assert service.get("/open", address="192.0.2.8")[0] == 200


def test_a_document_over_the_quota_is_refused_until_tomorrow(service: Service) -> None:
    service.count(documents_per_day=1)
    assert service.get("/documents", queryStringParameters={"fail": "1"})[0] == 500
    # What was not added is not counted.
    assert service.get("/documents")[0] == 200
    status, error, headers = service.get("/documents")
    assert (status, error["code"]) == (429, "quota_exceeded")
    assert 1 <= int(headers["Retry-After"]) <= 86_400
    assert service.calls == 2


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_counters_that_fail_let_everybody_in_and_are_noticed(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    service.count(requests_per_minute=1, requests_per_minute_per_address=1, documents_per_day=1)

    def fail(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": code}}, "UpdateItem")

    monkeypatch.setattr(clients.usage_dynamodb(), "_make_api_call", fail, raising=False)
    assert [service.get("/documents")[0] for _ in range(3)] == [200, 200, 200]
    assert "UsageUncounted" in capsys.readouterr().out


def test_an_environment_without_counters_counts_nothing(service: Service) -> None:
    assert [service.get("/documents")[0] for _ in range(3)] == [200, 200, 200]
