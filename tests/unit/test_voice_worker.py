"""The session worker's function: its settings, its tools, its handover, and what it measures."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from moto import mock_aws
from parley.aws import clients
from parley.aws.client_channel import ClientChannel
from parley.aws.http import Response
from parley.aws.session_routes import SessionRoutes, VoiceRequest
from parley.aws.sessions import SessionTable
from parley.aws.signed_http import DynamoDbCalls
from parley.conversation.tools import registry
from parley.conversation.tools.tool import Tool, ToolCall, ToolResult
from parley.functions import voice_worker
from parley.functions.telemetry import metrics
from parley.functions.voice_worker import Handover, Metrics, VoiceTools
from parley.speech.engine import ToolRequest
from parley.speech.playback import ClientBusy, ClientGone

from tests.unit.conversation_doubles import Clock, Context
from tests.unit.dynamodb_calls import Calls
from tests.unit.scripted_engine import EngineScript
from tests.unit.virtual_time import VirtualClock


class _Arguments(msgspec.Struct):
    word: str


def _shout(arguments: _Arguments, call: ToolCall) -> ToolResult:
    return ToolResult(content={"shouted": arguments.word.upper(), "for": call.subject})


@pytest.fixture
def shout(monkeypatch: pytest.MonkeyPatch) -> None:
    tools: Mapping[str, Tool] = {"shout": Tool("shout", "Shouts.", _Arguments, _shout)}
    monkeypatch.setattr(registry, "offered", lambda knowledge: tools)


def use(tools: VoiceTools, name: str, **arguments: Any) -> ToolResult:
    request = ToolRequest("r-1", name, arguments)
    return asyncio.run(tools.use(request, conversation_id=None, passages=()))


@pytest.mark.usefixtures("shout")
def test_the_registrys_tools_are_used_on_behalf_of_the_sessions_user() -> None:
    tools = VoiceTools("ada", None)
    assert [spec.name for spec in tools.specs] == ["shout"]
    assert use(tools, "shout", word="hello").content == {"shouted": "HELLO", "for": "ada"}


@pytest.mark.usefixtures("shout")
def test_a_tool_that_is_not_there_is_an_error_for_the_model() -> None:
    assert use(VoiceTools("ada", None), "whisper").is_error


class _Api:
    """The management API, for what goes through botocore."""

    class meta:
        endpoint_url = "http://127.0.0.1:9"
        region_name = "us-east-1"

    def delete_connection(self, *, ConnectionId: str) -> None:
        raise ConnectTimeoutError(endpoint_url="x")


class _Http:
    """Answers posts with one outcome."""

    def __init__(self, outcome: int | Exception) -> None:
        self._outcome = outcome
        self.paths: list[str] = []

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        self.paths.append(path)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return Response(self._outcome, {}, b"")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (200, None),
        (410, ClientGone),
        (403, ClientGone),
        (429, ClientBusy),
        (500, ClientBusy),
        (EndpointConnectionError(endpoint_url="x"), ClientBusy),
    ],
)
def test_a_post_tells_a_client_that_left_from_one_that_is_busy(
    answer: int | Exception, outcome: type[Exception] | None
) -> None:
    http = _Http(answer)
    channel = ClientChannel(http, _Api())  # type: ignore[arg-type]  # what it calls of them
    if outcome is None:
        asyncio.run(channel.post("c/1=", b"{}"))
    else:
        with pytest.raises(outcome):
            asyncio.run(channel.post("c/1=", b"{}"))
    assert http.paths == ["/@connections/c%2F1%3D"]


def test_a_connection_that_cannot_be_closed_ends_by_itself() -> None:
    asyncio.run(ClientChannel(_Http(200), _Api()).disconnect("c-1"))  # type: ignore[arg-type]  # what it calls of them


def test_what_is_measured_is_written_while_a_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[str] = []
    flushes: list[int] = []
    monkeypatch.setattr(metrics, "add_metric", lambda name, unit, value: added.append(name))
    monkeypatch.setattr(metrics, "flush_metrics", lambda: flushes.append(len(added)))
    clock = Clock()
    meter = Metrics(now=clock)
    meter.count("Resends")
    assert not flushes
    clock.sleep(61)
    meter.milliseconds("RelayLatency", 12.345)
    meter.count("Resends")
    assert added == ["Resends", "RelayLatency", "Resends"]
    assert flushes == [2]


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tables of a deployment, a voice session in them, and a function that can be invoked."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "SESSIONS_TABLE": "sessions",
        "AUDIO_FRAMES_TABLE": "frames",
        "CONVERSATIONS_TABLE": "conversations",
        "MODELS": '{"quick": ["m"]}',
        "RETENTION_DAYS": "30",
        "WEBSOCKET_CALLBACK_URL": "https://example.com/live",
        "LANGUAGES": '["en-US"]',
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        dynamodb, kms = boto3.client("dynamodb"), boto3.client("kms")
        monkeypatch.setenv("CONTENT_KEY_ARN", kms.create_key()["KeyMetadata"]["Arn"])
        for table, keys in {"sessions": {"session_id": "S"}, "frames": {"session_id": "S", "seq": "N"}}.items():
            dynamodb.create_table(
                TableName=table,
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind}  # type: ignore[typeddict-item]  # the two kinds there are
                    for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[
                    {"AttributeName": key, "AttributeType": kind}  # type: ignore[typeddict-item]  # see above
                    for key, kind in keys.items()
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        SessionTable("sessions", dynamodb, retention_days=1).create("s-1", "ada")
        routes = SessionRoutes("sessions", dynamodb)
        started = routes.start_voice(
            "s-1", routes.find("s-1", "ada"), "c-1", VoiceRequest(engine="x", language="en-US")
        )
        assert started
        for made_once in (voice_worker.settings, voice_worker.cipher, voice_worker.engine):
            made_once.cache_clear()
        for client in (clients.dynamodb, clients.kms, clients.lambda_):
            client.cache_clear()
        monkeypatch.setattr(clients, "connections_api", lambda url: _Api())
        # moto answers botocore alone.
        calls = Calls(dynamodb)
        monkeypatch.setattr(DynamoDbCalls, "call", lambda self, operation, request: calls.call(operation, request))
        monkeypatch.setattr(voice_worker, "engine", lambda name: EngineScript(VirtualClock()))
        yield dynamodb
        for made_once in (voice_worker.settings, voice_worker.cipher, voice_worker.engine):
            getattr(made_once, "cache_clear", lambda: None)()
        for client in (clients.dynamodb, clients.kms, clients.lambda_):
            client.cache_clear()


def test_a_worker_with_no_time_left_hands_the_session_on(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Handover] = []

    class Function:
        def __init__(self, name: str, client: Any) -> None:
            assert name == "worker"

        def start(self, payload: bytes) -> None:
            started.append(msgspec.json.decode(payload, type=Handover))

    monkeypatch.setattr(voice_worker, "BackgroundFunction", Function)
    voice_worker.serve({"session_id": "s-1", "silent_seconds": 5.0}, Context(seconds=20.0))
    assert [order.session_id for order in started] == ["s-1"]
    assert started[0].silent_seconds > 5.0
    item = deployment.get_item(TableName="sessions", Key={"session_id": {"S": "s-1"}})["Item"]
    assert item["state"] == {"S": "handing_over"}
    assert item["lease_until"] == {"N": "0"}


def test_a_worker_that_nobody_needs_leaves_at_once(deployment: Any) -> None:
    voice_worker.serve({"session_id": "unknown"}, Context(seconds=20.0))


def test_a_crash_is_counted_and_raised(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(metrics, "add_metric", lambda name, unit, value: counted.append(name))
    monkeypatch.setattr(voice_worker, "voice_system", lambda knowledge: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        voice_worker.serve({"session_id": "s-1"}, Context(seconds=20.0))
    assert counted == ["WorkerCrashes"]
