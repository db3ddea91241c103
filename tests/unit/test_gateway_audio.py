"""The gateway's direct DynamoDB integration, with the deployed template: what it sends, and what it keeps quiet."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aws_cdk import Duration
from parley_constructs.voice_api.audio_route import audio_frame_template
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.gateway.app import GatewaySettings, create_gateway
from tests.unit.test_gateway import FakeAws, Gateway, Server, ask, closed

FRAME = base64.b64encode(bytes(range(256)) * 11).decode()
OVERHEAD = len(json.dumps({"action": "audio", "seq": 1, "data": ""}))


class Tables(FakeAws):
    """A FakeAws whose DynamoDB refuses numbers that are none, keeps any binary, and may be slow: as MiniStack's."""

    def __init__(self, *, burst: int = 1000) -> None:
        super().__init__()
        template = audio_frame_template(table_name="frames", keep_for=Duration.hours(1))
        self.RESOURCES["ws1/integrations"][1]["requestTemplates"] = {"$default": template}
        self.RESOURCES["ws1/integrations"][1]["timeoutInMillis"] = 200
        # As MiniStack gives back what CloudFormation set.
        self.RESOURCES["ws1/stages"][0]["routeSettings"]["audio"] = {
            "ThrottlingRateLimit": 0.001,
            "ThrottlingBurstLimit": burst,
        }
        self.refusals = 0
        self.delay = 0.0

    async def dynamodb(self, request: Request) -> Response:
        await asyncio.sleep(self.delay)
        try:
            item = (await request.json())["Item"]
            float(item["seq"]["N"])
        except (ValueError, KeyError):
            self.refusals += 1
            return JSONResponse({"__type": "com.amazon.coral.validate#ValidationException"}, 400)
        return await super().dynamodb(request)


def _serve(aws: Tables, folder: Path, *, concurrency: int | None = None) -> Iterator[Gateway]:
    (folder / "index.html").write_text("the page")
    upstream = Server(aws.app())
    settings = GatewaySettings(
        aws_endpoint=f"http://127.0.0.1:{upstream.port}",
        models_url="http://127.0.0.1:1",
        page=folder,
        outputs=folder,
        concurrency=concurrency,
    )
    server = Server(create_gateway(settings))
    yield Gateway(server.port, aws)
    server.stop()
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yield from _serve(Tables(), tmp_path_factory.mktemp("page"))


@pytest.fixture
def throttled(tmp_path: Path) -> Iterator[Gateway]:
    yield from _serve(Tables(burst=3), tmp_path)


def settle(socket: Any) -> None:
    """Return when what was sent before has been handled: one-way messages have no answer to wait for."""
    ask(socket, action="echo")
    time.sleep(0.3)


def frames(gateway: Gateway) -> list[dict[str, Any]]:
    found, gateway.aws.items = gateway.aws.items, []
    return found


def test_a_frame_is_put_once_under_the_session_that_the_authorizer_named(gateway: Gateway) -> None:
    before = time.time()
    with gateway.connect() as socket:
        connection_id = ask(socket, action="echo")["event"]["requestContext"]["connectionId"]
        socket.send(json.dumps({"action": "audio", "seq": 17, "data": FRAME}))
        settle(socket)

    [put] = frames(gateway)
    item = put["Item"]
    assert put["target"] == "DynamoDB_20120810.PutItem"
    assert (put["TableName"], put["ConditionExpression"]) == ("frames", "attribute_not_exists(session_id)")
    assert (item["session_id"], item["seq"]) == ({"S": "s-1"}, {"N": "17"})
    assert item["connection_id"] == {"S": connection_id}
    assert base64.b64decode(item["data"]["B"]) == bytes(range(256)) * 11
    assert before * 1000 - 1 <= int(item["received_at"]["N"]) <= time.time() * 1000
    assert 3590 <= int(item["expires_at"]["N"]) - time.time() <= 3601


@pytest.mark.parametrize(
    "message",
    [
        {"seq": '1"}, "owner": {"S": "somebody else', "data": FRAME},
        {"seq": 1, "data": 'AA=="}, "session_id": {"S": "s-2"}, "x": {"S": "'},
        {"seq": 1, "data": "it's"},
        {"seq": {"N": "1"}, "data": FRAME},
        {"seq": [1], "data": FRAME},
        {"seq": "one", "data": FRAME},
        {"seq": None, "data": FRAME},
        {"seq": 1, "data": {"B": FRAME}},
        {"seq": 1, "data": "not base64!"},
        {"seq": 1, "data": "\U0001f3a4 \u2028"},
        {"seq": "9" * 5000 + "x", "data": FRAME},
    ],
)
def test_what_is_no_frame_is_refused_in_silence_and_leaves_the_connection_as_it_was(
    gateway: Gateway, message: dict[str, Any]
) -> None:
    with gateway.connect() as socket:
        socket.send(json.dumps({"action": "audio", **message}))
        answer = ask(socket, action="echo")
        socket.send(json.dumps({"action": "audio", "seq": 2, "data": FRAME}))
        settle(socket)

    # Nothing came before the echo's own answer, and the next frame passed.
    assert answer["event"]["requestContext"]["routeKey"] == "echo"
    for put in frames(gateway):
        assert put["Item"]["session_id"] == {"S": "s-1"}
        assert set(put["Item"]) == {"session_id", "seq", "data", "connection_id", "received_at", "expires_at"}
        assert put["Item"]["seq"] == {"N": "2"}


def test_the_session_stays_the_authorizers_whatever_the_body_says(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        theirs = {"session_id": "s-2", "connection_id": "c", "TableName": "sessions", "authorizer": {"session_id": "s"}}
        socket.send(json.dumps({"action": "audio", "seq": 3, "data": FRAME, **theirs}))
        settle(socket)

    [put] = frames(gateway)
    assert (put["TableName"], put["Item"]["session_id"]) == ("frames", {"S": "s-1"})


def test_json_that_is_nested_too_deep_is_no_message_and_harms_nobody(gateway: Gateway) -> None:
    with gateway.connect() as socket:
        socket.send('{"action": "audio", "seq": 1, "data": ' + "[" * 30_000)
        # Not JSON, so it is the default route's.
        assert json.loads(socket.recv(timeout=10))["event"]["requestContext"]["routeKey"] == "$default"
        assert ask(socket, action="echo")


def test_a_frame_of_32_kb_passes_and_a_larger_one_ends_the_connection(gateway: Gateway) -> None:
    largest = "A" * ((32 * 1024 - OVERHEAD) // 4 * 4)
    with gateway.connect() as socket:
        socket.send(json.dumps({"action": "audio", "seq": 4, "data": largest}))
        settle(socket)
        [put] = frames(gateway)
        assert put["Item"]["data"]["B"] == largest

        socket.send(json.dumps({"action": "audio", "seq": 5, "data": largest + "A" * 64}))
        assert closed(socket) == 1009
    assert frames(gateway) == []


def test_frames_above_the_routes_own_throttle_vanish_and_other_routes_go_on(throttled: Gateway) -> None:
    with throttled.connect() as socket:
        for seq in range(1, 11):
            socket.send(json.dumps({"action": "audio", "seq": seq, "data": FRAME}))
        assert ask(socket, action="echo")["event"]["requestContext"]["routeKey"] == "echo"
        settle(socket)

    assert len(frames(throttled)) == 3


def test_a_table_that_does_not_answer_loses_the_frame_and_nothing_else(throttled: Gateway) -> None:
    aws = throttled.aws
    assert isinstance(aws, Tables)
    aws.delay = 2.0
    with throttled.connect() as socket:
        socket.send(json.dumps({"action": "audio", "seq": 1, "data": FRAME}))
        time.sleep(0.5)
        aws.delay = 0.0
        socket.send(json.dumps({"action": "audio", "seq": 2, "data": FRAME}))
        settle(socket)

    assert {"N": "2"} in [put["Item"]["seq"] for put in frames(throttled)]


class Holding(Tables):
    """A FakeAws whose functions are not done before the test says so. `worker` may run for a quarter of an hour."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.ended = threading.Event()

    async def invoke(self, request: Request) -> Response:
        self.started.append(request.path_params["function"])
        while not self.ended.is_set():
            await asyncio.sleep(0.01)
        return JSONResponse({})

    async def configuration(self, request: Request) -> Response:
        return JSONResponse({"Timeout": 900 if request.path_params["function"] == "worker" else 29})

    def app(self) -> Starlette:
        app = super().app()
        app.routes.insert(0, Route("/2015-03-31/functions/{function}/configuration", self.configuration))
        return app

    def most_started(self, function: str, *, seconds: float, enough: int) -> int:
        """How many invocations have begun after a while, or as soon as it is enough."""
        deadline = time.monotonic() + seconds
        while self.started.count(function) < enough and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.started.count(function)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Gateway]:
    aws = Holding()
    yield from _serve(aws, tmp_path, concurrency=2)
    aws.ended.set()


def _invoke(gateway: Gateway, function: str, kind: str) -> int:
    url = f"{gateway.url}/@aws/lambda/2015-03-31/functions/{function}/invocations"
    return httpx.post(url, json={}, headers={"x-amz-invocation-type": kind}, timeout=60).status_code


def test_calls_do_not_wait_for_each_other_to_end(holding: Gateway) -> None:
    aws = holding.aws
    assert isinstance(aws, Holding)
    for _ in range(20):
        assert _invoke(holding, "worker", "Event") == 202
        assert _invoke(holding, "turn", "Event") == 202

    assert aws.most_started("worker", seconds=20, enough=20) == 20
    assert aws.started.count("turn") == 2, "those that work wait for a processor"
    aws.ended.set()
    assert aws.most_started("turn", seconds=20, enough=20) == 20


def test_a_route_that_waits_for_something_lends_its_place(holding: Gateway) -> None:
    aws = holding.aws
    assert isinstance(aws, Holding)
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(_invoke, holding, "route", "RequestResponse") for _ in range(5)]
        started = aws.most_started("route", seconds=30, enough=5)
        aws.ended.set()

        assert started == 5
        assert [answer.result() for answer in answers] == [200] * 5
