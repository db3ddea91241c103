"""One id follows a request from the client to the last function that works on it."""

import importlib
import io
import json
from collections.abc import Iterator
from logging import StreamHandler
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from parley import correlation
from parley.aws.invocations import RetrievalFunction
from parley.errors import KnowledgeUnavailable
from parley.functions.telemetry import instrument, logger

from tests.unit import test_voice_routes, text_function_doubles
from tests.unit.conversation_doubles import Context

OWN = "7d5e1c1a-5a0e-4f7b-9a53-0c9f6a1b2c3d"

text_cloud = text_function_doubles.cloud
voice_cloud = test_voice_routes.cloud


class Logged:
    """What functions log."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def ids(self) -> list[str]:
        """The id of each line since the last time."""
        found = [json.loads(line)["correlation_id"] for line in self.stream.getvalue().splitlines()]
        self.stream.seek(0)
        self.stream.truncate()
        return found


@pytest.fixture
def logged() -> Iterator[Logged]:
    found = Logged()
    handler = logger.registered_handler
    assert isinstance(handler, StreamHandler)
    before = handler.setStream(found.stream)
    yield found
    handler.setStream(before)


def test_an_answer_and_every_line_carry_api_gateways_id(text_cloud: Any, logged: Logged) -> None:
    _, _, headers = text_cloud.chat("Why?")
    assert headers["x-request-id"] == "request-1"
    assert set(logged.ids()) == {"request-1"}
    status, body, headers = text_cloud.chat("")
    assert (status, body["error"]["request_id"], headers["x-request-id"]) == (422, "request-1", "request-1")


def test_a_client_may_choose_the_id_if_it_is_a_uuid(text_cloud: Any, logged: Logged) -> None:
    _, body, headers = text_cloud.http("chat", "POST", "/chat", {"message": ""}, headers={"x-request-id": OWN})
    assert body["error"]["request_id"] == headers["x-request-id"] == OWN
    assert set(logged.ids()) == {OWN}
    for said in ("ada@example.com", "4111111111111111", f"{OWN}\nx", ""):
        _, _, headers = text_cloud.http("chat", "POST", "/chat", {"message": ""}, headers={"x-request-id": said})
        assert headers["x-request-id"] == "request-1"


def test_a_message_over_websocket_hands_its_id_to_the_turn(text_cloud: Any, logged: Logged) -> None:
    text_cloud.frame({"action": "text", "message": "Why?", "request_id": OWN})
    order = json.loads(text_cloud.functions.invoked[-1]["Payload"])
    assert order["correlation_id"] == OWN
    logged.ids()
    text_cloud.handler("turn")(order, Context(aws_request_id="another"))
    assert set(logged.ids()) == {OWN}


def test_a_message_whose_own_id_is_no_uuid_has_api_gateways(text_cloud: Any) -> None:
    event = {
        "requestContext": {
            "connectionId": "c-1",
            "eventType": "MESSAGE",
            "requestId": "gateway-7",
            "requestTimeEpoch": 1_700_000_000_000,
            "authorizer": {"subject": "ada-0001", "session_id": "s-1", "groups": ""},
        },
        "body": json.dumps({"action": "text", "message": "Why?", "request_id": "my first"}),
    }
    text_cloud.handler("websocket")(event, Context())
    order = json.loads(text_cloud.functions.invoked[-1]["Payload"])
    assert (order["correlation_id"], order["asked_at"]) == ("gateway-7", 1_700_000_000_000)


def test_a_search_for_passages_is_the_turns() -> None:
    asked: list[dict[str, Any]] = []

    class Lambda:
        def invoke(self, *, FunctionName: str, Payload: bytes, **_: Any) -> dict[str, Any]:
            asked.append(json.loads(Payload))
            raise EndpointConnectionError(endpoint_url="x")

    def client(read_timeout: int) -> Any:
        return Lambda()

    def search(event: Any, context: Any) -> None:
        with pytest.raises(KnowledgeUnavailable):
            RetrievalFunction("retrieval", client).retrieve("ada", "Why?")

    instrument(search)({"correlation_id": OWN}, Context())
    assert asked[0]["correlation_id"] == OWN


def test_retrieval_takes_the_id_that_it_is_handed(logged: Logged) -> None:
    retrieval = importlib.import_module("parley.functions.retrieval")
    answer = retrieval.handler({"subject": "ada", "query": " ", "correlation_id": OWN}, Context())
    assert answer["error"]["code"] == "validation_failed"
    assert set(logged.ids()) == {OWN}


def test_a_sessions_worker_and_its_successors_have_its_beginnings_id(
    voice_cloud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice_cloud.start()
    assert voice_cloud.workers[-1]["correlation_id"] == "request-1"
    worker = importlib.import_module("parley.functions.voice_worker")
    started: list[dict[str, Any]] = []

    class Function:
        def __init__(self, *_: Any) -> None:
            pass

        def start(self, payload: bytes) -> None:
            started.append(json.loads(payload))

    class Settings:
        aws_lambda_function_name = "worker"

    monkeypatch.setattr(worker, "BackgroundFunction", Function)
    monkeypatch.setattr(worker, "settings", Settings)
    instrument(lambda event, context: worker._start_next("s-1", 0.0))({"correlation_id": OWN}, Context())
    assert [(order["session_id"], order["correlation_id"]) for order in started] == [("s-1", OWN)]


def test_work_that_nobody_asked_for_is_its_own_invocations(logged: Logged) -> None:
    def work(event: Any, context: Any) -> None:
        logger.info("Worked")

    events: list[Any] = [{"Records": []}, {"requestContext": None}, [], None]
    for event in events:
        instrument(work)(event, Context(aws_request_id="invocation-3"))
        assert set(logged.ids()) == {"invocation-3"}
    assert correlation.current() == "invocation-3"


def test_a_message_of_a_queue_brings_its_id(text_cloud: Any, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    jobs = importlib.import_module("parley.functions.recording_jobs")

    class Queue:
        def delay(self, _: Any) -> None:
            pass

    monkeypatch.setattr(jobs, "queue", Queue)
    record = {
        "messageId": "m-1",
        "receiptHandle": "r",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    carried = {"correlation_id": {"stringValue": OWN, "dataType": "String"}}
    jobs.handler({"Records": [record, record | {"messageAttributes": carried}]}, Context())
    assert logged.ids() == ["m-1", OWN]
