"""The gateway in front of a stand-in for MiniStack: API Gateway's limits, errors and routes."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from sandbox.gateway.app import GatewaySettings, create_gateway
from sandbox.gateway.deployment import Throttle
from sandbox.gateway.throttle import Throttler
from sandbox.gateway.websocket import Durations
from sandbox.server import bind, server_config

FRAME_TEMPLATE = (
    '{"TableName": "frames", "Item": {"session_id": {"S": "$context.authorizer.session_id"},'
    """ "data": {"S": "$util.escapeJavaScript($input.path('$.data')).replaceAll("\\\\'","'")"}}}"""
)


def function_uri(name: str) -> str:
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"


@dataclass
class FakeAws:
    """Answers the few calls that the gateway makes, and remembers them."""

    invocations: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    RESOURCES: Any = field(
        default_factory=lambda: {
            "": [
                {"apiId": "ws1", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action"},
                {"apiId": "http1", "protocolType": "HTTP"},
            ],
            "ws1/stages": [
                {
                    "stageName": "ws",
                    "routeSettings": {"limited": {"throttlingRateLimit": 0.001, "throttlingBurstLimit": 1}},
                }
            ],
            "ws1/routes": [
                {"routeKey": "$connect", "target": "integrations/fn", "authorizerId": "auth"},
                *({"routeKey": key, "target": "integrations/fn"} for key in ("$disconnect", "oneway")),
                *(
                    {"routeKey": key, "target": "integrations/fn", "routeResponseSelectionExpression": "$default"}
                    for key in ("$default", "echo", "fail", "slow", "limited")
                ),
                {"routeKey": "audio", "target": "integrations/ddb"},
            ],
            "ws1/integrations": [
                {"integrationId": "fn", "integrationType": "AWS_PROXY", "integrationUri": function_uri("ws")},
                {
                    "integrationId": "ddb",
                    "integrationType": "AWS",
                    "integrationUri": "arn:aws:apigateway:us-east-1:dynamodb:action/PutItem",
                    "requestTemplates": {"$default": FRAME_TEMPLATE},
                },
            ],
            "ws1/authorizers": [
                {
                    "authorizerId": "auth",
                    "authorizerUri": function_uri("authorizer"),
                    "identitySource": ["route.request.querystring.ticket"],
                }
            ],
            "http1/stages": [{"stageName": "$default"}],
            "http1/routes": [{"routeKey": "ANY /{proxy+}", "target": "integrations/fn"}],
            "http1/integrations": [
                {"integrationId": "fn", "integrationType": "AWS_PROXY", "integrationUri": function_uri("http")}
            ],
            "http1/authorizers": [],
        }
    )

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v2/apis{path:path}", self.control_plane),
                Route("/2015-03-31/functions/{function}/invocations", self.invoke, methods=["POST"]),
                Route("/2019-09-25/functions/{function}/event-invoke-config", self.event_config),
                Route("/", self.dynamodb, methods=["POST"]),
                Route("/_aws/execute-api/http1/$default/{path:any}", self.http_api, methods=["GET", "POST"]),
            ]
        )

    async def control_plane(self, request: Request) -> Response:
        return JSONResponse({"items": self.RESOURCES[request.path_params["path"].strip("/")]})

    async def event_config(self, request: Request) -> Response:
        return JSONResponse({"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60})

    async def invoke(self, request: Request) -> Response:
        event = await request.json()
        name = request.path_params["function"]
        self.invocations.append({"function": name, "event": event})
        if name == "authorizer":
            ticket = event["queryStringParameters"]["ticket"]
            if ticket == "raise":
                return JSONResponse({"errorMessage": "no"}, headers={"x-amz-function-error": "Unhandled"})
            effect = "Allow" if ticket == "good" else "Deny"
            statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
            context = {"session_id": "s-1", "flag": True}
            return JSONResponse({"principalId": "p", "policyDocument": {"Statement": [statement]}, "context": context})
        if name == "counted":
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            await asyncio.sleep(0.05)
            self.running -= 1
            return JSONResponse({})
        key = event["requestContext"]["routeKey"]
        if key == "slow":
            await asyncio.sleep(5)
        if key == "fail":
            return JSONResponse({"errorMessage": "no"}, headers={"x-amz-function-error": "Unhandled"})
        return JSONResponse({"statusCode": 200, "body": json.dumps({"event": event})})

    async def dynamodb(self, request: Request) -> Response:
        self.items.append({"target": request.headers["x-amz-target"], **await request.json()})
        return JSONResponse({})

    async def http_api(self, request: Request) -> Response:
        path = request.path_params["path"]
        if path == "slow":
            await asyncio.sleep(5)
        if path == "broken":
            return JSONResponse({"errorMessage": "a stack trace"}, 502)
        seen = {"path": path, "query": request.url.query}
        return JSONResponse(seen | {"size": len(await request.body())})


class Server:
    """An ASGI application on a free port, in a thread."""

    def __init__(self, app: Starlette) -> None:
        self.listener: socket.socket = bind(0)
        self.port: int = self.listener.getsockname()[1]
        self.server = uvicorn.Server(server_config(app))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@dataclass
class Gateway:
    port: int
    aws: FakeAws

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, query: str = "?ticket=good", **settings: Any) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}/ws{query}", max_size=None, compression=None, **settings)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("the page")
    aws = FakeAws()
    upstream = Server(aws.app())
    settings = GatewaySettings(
        aws_endpoint=f"http://127.0.0.1:{upstream.port}",
        models_url="http://127.0.0.1:1",
        page=folder,
        outputs=folder / "outputs.json",
        durations=Durations(integration=1.0, idle=2.0, connection=60.0),
        http_timeout=1.0,
        concurrency=3,
    )
    server = Server(create_gateway(settings))
    yield Gateway(server.port, aws)
    server.stop()
    upstream.stop()


def ask(socket: Any, **message: Any) -> dict[str, Any]:
    socket.send(json.dumps(message))
    answer: dict[str, Any] = json.loads(socket.recv(timeout=10))
    return answer


def closed(socket: Any) -> int | None:
    with pytest.raises(ConnectionClosed) as closing:
        socket.recv(timeout=10)
    return closing.value.rcvd.code if closing.value.rcvd else None


@pytest.mark.parametrize(
    ("query", "status"), [("", 401), ("?ticket=", 401), ("?ticket=bad", 403), ("?ticket=raise", 500)]
)
def test_a_refused_handshake_has_api_gateways_status(gateway: Gateway, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        gateway.connect(query)

    assert refused.value.response.status_code == status


def test_later_events_carry_the_authorizers_context_as_strings(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        context = ask(socket, action="echo")["event"]["requestContext"]

    assert context["authorizer"] == {"principalId": "p", "session_id": "s-1", "flag": "true"}
    assert (context["routeKey"], context["eventType"], context["stage"]) == ("echo", "MESSAGE", "ws")


@pytest.mark.parametrize("text", ["no json", "[]", '{"action": "unknown"}', '{"action": "$connect"}', '{"action": 5}'])
def test_what_names_no_route_goes_to_the_default_route(gateway: Gateway, text: str) -> None:
    with gateway.connect() as socket:
        socket.send(text)
        event = json.loads(socket.recv(timeout=10))["event"]

    assert event["requestContext"]["routeKey"] == "$default"
    assert event["body"] == text


@pytest.mark.parametrize("action", ["fail", "slow"])
def test_a_failing_integration_answers_api_gateways_error(gateway: Gateway, action: str) -> None:
    with gateway.connect() as socket:
        answer = ask(socket, action=action)

    assert answer["message"] == "Internal server error"
    assert answer.keys() == {"message", "connectionId", "requestId"}


def test_a_throttled_route_answers_too_many_requests(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        ask(socket, action="limited")
        answer = ask(socket, action="limited")

    assert answer["message"] == "Too Many Requests"


def test_a_one_way_route_does_not_answer(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        socket.send(json.dumps({"action": "oneway"}))
        answer = ask(socket, action="echo")

    assert answer["event"]["requestContext"]["routeKey"] == "echo"


def test_a_service_integration_writes_what_its_template_says(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        socket.send(json.dumps({"action": "audio", "data": "it's", "session_id": "somebody else's"}))
        deadline = time.monotonic() + 10
        while not gateway.aws.items and time.monotonic() < deadline:
            time.sleep(0.01)

    assert gateway.aws.items == [
        {
            "target": "DynamoDB_20120810.PutItem",
            "TableName": "frames",
            "Item": {"session_id": {"S": "s-1"}, "data": {"S": "it's"}},
        }
    ]


def test_a_frame_of_the_limit_passes(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        socket.send("a" * 32_768)

        assert len(json.loads(socket.recv(timeout=10))["event"]["body"]) == 32_768


def test_a_message_of_several_frames_passes(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        socket.send(["a" * 30_000] * 4)

        assert len(json.loads(socket.recv(timeout=10))["event"]["body"]) == 120_000


@pytest.mark.parametrize(
    ("message", "code"),
    [("a" * 32_769, 1009), ("a" * 3_000_000, 1009), (["a" * 30_000] * 5, 1009), (b"binary", 1003)],
    ids=["frame", "huge frame", "message", "binary"],
)
def test_what_is_too_large_or_binary_closes_the_connection(gateway: Gateway, message: Any, code: int) -> None:
    with gateway.connect() as socket:
        # The gateway may close before the whole message is sent.
        with suppress(ConnectionClosed):
            socket.send(message)

        assert closed(socket) == code


def test_an_idle_connection_is_closed_and_its_function_told(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        connection_id = ask(socket, action="echo")["event"]["requestContext"]["connectionId"]

        assert closed(socket) == 1001

    def goodbyes() -> list[dict[str, Any]]:
        contexts = [item["event"].get("requestContext", {}) for item in gateway.aws.invocations]
        mine = [context for context in contexts if context.get("connectionId") == connection_id]
        return [context for context in mine if context["routeKey"] == "$disconnect"]

    deadline = time.monotonic() + 10
    while not goodbyes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [context["disconnectStatusCode"] for context in goodbyes()] == [1001]


def test_the_management_api_posts_looks_and_deletes(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        connection_id = ask(socket, action="echo")["event"]["requestContext"]["connectionId"]
        url = f"{gateway.url}/@aws/ws/@connections/{connection_id}"
        assert httpx.post(url, content=b"first").status_code == 200
        assert httpx.post(url, content=b"second").status_code == 200
        assert [socket.recv(timeout=10), socket.recv(timeout=10)] == ["first", "second"]
        assert httpx.post(url, content=b"a" * (128 * 1024 + 1)).status_code == 413
        assert httpx.get(url).json()["identity"]["sourceIp"] == "127.0.0.1"
        assert httpx.delete(url).status_code == 204
        assert closed(socket) == 1000

    assert httpx.post(url, content=b"late").status_code == 410


def test_a_client_cannot_say_where_it_comes_from(gateway: Gateway) -> None:
    with gateway.connect(additional_headers={"x-forwarded-for": "203.0.113.9"}) as socket:
        context = ask(socket, action="echo")["event"]["requestContext"]

    assert context["identity"]["sourceIp"] == "127.0.0.1"


def test_a_client_that_does_not_read_fills_its_buffer(gateway: Gateway) -> None:
    # A bare socket: a WebSocket library would read on by itself.
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        client.connect(("127.0.0.1", gateway.port))
        key = base64.b64encode(b"0123456789abcdef").decode()
        client.sendall(
            f"GET /ws?ticket=good HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in client.recv(4096).split(b"\r\n")[0]
        connects = [item["event"] for item in gateway.aws.invocations if item["function"] == "ws"]
        connection_id = connects[-1]["requestContext"]["connectionId"]
        url = f"{gateway.url}/@aws/ws/@connections/{connection_id}"

        statuses = [httpx.post(url, content=b"a" * 100_000).status_code for _ in range(60)]

    assert 429 in statuses


def test_http_requests_reach_the_api_without_the_prefix(gateway: Gateway) -> None:
    response = httpx.post(f"{gateway.url}/api/conversations/a%20b?x=1", content=b"12345")

    answered = response.json()
    assert answered["path"] == "conversations/a b"
    assert (answered["query"], answered["size"]) == ("x=1", 5)
    assert response.headers["x-request-id"]


def test_a_line_break_in_a_path_is_part_of_it(gateway: Gateway) -> None:
    response = httpx.get(f"{gateway.url}/api/conversations/a%0Ab", trust_env=False)

    assert response.json()["path"] == "conversations/a\nb"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [("/api/slow", 503, "Service Unavailable"), ("/api/broken", 500, "Internal Server Error")],
)
def test_http_failures_have_api_gateways_bodies(gateway: Gateway, path: str, status: int, message: str) -> None:
    response = httpx.get(gateway.url + path, timeout=10)

    assert (response.status_code, response.json()) == (status, {"message": message})


def test_a_payload_above_ten_megabytes_is_refused(gateway: Gateway) -> None:
    response = httpx.post(f"{gateway.url}/api/x", content=b"a" * (10 * 1024 * 1024 + 1))

    assert (response.status_code, response.json()) == (413, {"message": "Request Entity Too Large"})


def test_an_asynchronous_event_waits_for_its_turn(gateway: Gateway) -> None:
    url = f"{gateway.url}/@aws/lambda/2015-03-31/functions/counted/invocations"

    for _ in range(10):
        assert httpx.post(url, json={}, headers={"x-amz-invocation-type": "Event"}).status_code == 202

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if sum(item["function"] == "counted" for item in gateway.aws.invocations) == 10:
            break
        time.sleep(0.01)
    assert sum(item["function"] == "counted" for item in gateway.aws.invocations) == 10
    assert gateway.aws.most_running <= 3


def test_the_page_answers_every_path_of_its_own_and_nothing_above_it(gateway: Gateway) -> None:
    assert httpx.get(f"{gateway.url}/").text == "the page"
    assert httpx.get(f"{gateway.url}/conversations/1").text == "the page"
    assert httpx.get(f"{gateway.url}/..%2f..%2fetc/passwd").text == "the page"
    configuration = httpx.get(f"{gateway.url}/config.json").json()
    assert configuration["environment"] == "local"
    assert (configuration["embedder"], configuration["recogniser"]) == ("unavailable", "unavailable")


def test_the_bucket_refills_at_its_rate() -> None:
    now = [0.0]
    throttler = Throttler(lambda: now[0])
    throttle = Throttle(rate=2.0, burst=3)

    assert [throttler.admit("route", throttle) for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [throttler.admit("route", throttle) for _ in range(2)] == [True, False]
    assert throttler.admit("another route", throttle)
    assert throttler.admit("route", Throttle())
