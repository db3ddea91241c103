"""The store throttles: the deployed code, its SDK and its tables, with a proxy between that refuses for a while."""

import importlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, override

import httpx
import pytest
from parley.aws import clients

from tests.sandbox.people import Sandbox, without_links
from tests.unit.conversation_doubles import Context


class ThrottlingStore(ThreadingHTTPServer):
    """DynamoDB behind a proxy that throttles the next `refusals[operation]` calls of an operation."""

    def __init__(self, store: str) -> None:
        super().__init__(("127.0.0.1", 0), Proxy)
        self.store = httpx.Client(base_url=store, trust_env=False)
        self.refusals: dict[str, int] = {}
        self.refused = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Proxy(BaseHTTPRequestHandler):
    server: ThrottlingStore
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        operation = self.headers["x-amz-target"].partition(".")[2]
        if self.server.refusals.get(operation, 0) > 0:
            self.server.refusals[operation] -= 1
            self.server.refused += 1
            kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
            self.answer(400, json.dumps({"__type": kind, "message": "Slow down."}).encode())
        else:
            response = self.server.store.post("/", content=body, headers=dict(self.headers.items()))
            self.answer(response.status_code, response.content)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def store(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThrottlingStore]:
    """The proxy, with this process told to be the chat function behind it."""
    server = ThrottlingStore(sandbox.outputs["aws_endpoint"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    deployed = sandbox.function("chat")["Environment"]["Variables"]
    for name, value in deployed.items() | {
        ("AWS_ENDPOINT_URL", sandbox.outputs["aws_endpoint"]),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sandbox.outputs["models_url"]),
        ("AWS_ENDPOINT_URL_DYNAMODB", server.url),
        ("AWS_DEFAULT_REGION", sandbox.outputs["region"]),
        ("AWS_ACCESS_KEY_ID", "000000000000"),
        ("AWS_SECRET_ACCESS_KEY", "sandbox"),
        ("POWERTOOLS_TRACE_DISABLED", "true"),
    }:
        monkeypatch.setenv(name, value)
    _forget_clients()
    yield server
    _forget_clients()
    server.shutdown()
    server.server_close()
    server.store.close()


def test_a_short_throttle_is_waited_out(store: ThrottlingStore) -> None:
    store.refusals = {"TransactWriteItems": 2}

    status, body, _ = _chat("What is a turn?")

    assert status == 200
    assert body["message"]
    assert store.refused == 2


def test_a_long_throttle_is_a_retryable_error_and_stores_nothing(store: ThrottlingStore) -> None:
    store.refusals = {"TransactWriteItems": 1000}
    subject, key = f"subject-{uuid.uuid4()}", str(uuid.uuid4())

    status, body, headers = _chat("What is a turn?", subject=subject, key=key)

    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert 1 < store.refused < 50

    store.refusals = {}
    status, body, _ = _chat("What is a turn?", subject=subject, key=key)
    assert status == 200
    again = _chat("What is a turn?", subject=subject, key=key)
    assert again[1] == without_links(body)


def _chat(message: str, *, subject: str = "throttled", key: str | None = None) -> tuple[int, Any, dict[str, str]]:
    event = {
        "version": "2.0",
        "rawPath": "/chat",
        "headers": {"Idempotency-Key": key} if key else {},
        "body": json.dumps({"message": message}),
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "stage": "$default",
            "http": {"method": "POST", "path": "/chat"},
            "authorizer": {"jwt": {"claims": {"sub": subject}}},
        },
    }
    response = importlib.import_module("parley.functions.chat").handler(event, Context())
    return response["statusCode"], json.loads(response["body"]), response["headers"]


def _forget_clients() -> None:
    """Clients and parts are made once in a process: the next test's process is another one."""
    for made_once in (clients.dynamodb, clients.kms, clients.lambda_, clients.bedrock_runtime):
        made_once.cache_clear()
    importlib.import_module("parley.functions.chat").answering.cache_clear()
