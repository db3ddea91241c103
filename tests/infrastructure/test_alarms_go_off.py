"""Each failure, driven through the real code, writes the very metric that an alarm of prod looks at.

The functions' entry points run over doubles of AWS, and voice sessions in virtual time. What they print is read as
CloudWatch reads it: the embedded metric format.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from moto.core.botocore_stubber import MockRawResponse
from parley.aws import clients
from parley.errors import KnowledgeUnavailable
from parley.functions import service_levels, voice_worker
from parley.functions.telemetry import instrument, metrics
from parley.functions.voice_worker import Metrics

from tests.infrastructure.alarm_metrics import Metric, alarms_of
from tests.infrastructure.assemblies import Synth
from tests.unit import test_voice_routes, text_function_doubles
from tests.unit.conversation_doubles import Context, throttled
from tests.unit.virtual_time import run_virtual
from tests.unit.voice_call import Call

text_cloud = text_function_doubles.cloud
voice_cloud = test_voice_routes.cloud
MODEL = text_function_doubles.MODEL


@dataclass
class Written:
    """What functions have written."""

    capsys: pytest.CaptureFixture[str]
    values: dict[Metric, list[float]] = field(default_factory=dict)

    def read(self) -> dict[str, list[float]]:
        """The values since the last time, by the metric's name."""
        found: dict[str, list[float]] = {}
        for line in self.capsys.readouterr().out.splitlines():
            record = json.loads(line)
            for directive in record.get("_aws", {}).get("CloudWatchMetrics", []):
                for dimensions in directive["Dimensions"]:
                    for metric in directive["Metrics"]:
                        values = tuple(sorted((name, record[name]) for name in dimensions))
                        key = Metric(directive["Namespace"], metric["Name"], values)
                        self.values.setdefault(key, []).extend(record[metric["Name"]])
                        found.setdefault(metric["Name"], []).extend(record[metric["Name"]])
        return found


@pytest.fixture
def watched(synth: Synth) -> set[Metric]:
    """What the alarms of prod look at of what the code writes."""
    return {
        metric
        for alarm in alarms_of(synth("prod"))
        for metric in alarm.metrics
        if metric.namespace.startswith("Parley")
    }


@pytest.fixture
def written(synth: Synth, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Functions that write where prod's are told to."""
    [chat] = [
        function["Properties"]["Environment"]["Variables"]
        for _, function in synth("prod").resources("AWS::Lambda::Function", part="Assistant")
        if function["Properties"]["Handler"] == "parley.functions.chat.handler"
    ]
    metrics.clear_metrics()
    # Powertools reads the variable when the process starts; test_metrics.py starts one.
    monkeypatch.setattr(metrics.provider, "namespace", chat["POWERTOOLS_METRICS_NAMESPACE"])
    yield Written(capsys)
    metrics.clear_metrics()


def seen(watched: set[Metric], written: Written, name: str) -> list[float]:
    """The values of the one metric of this name that alarms look at; it must have been written exactly so."""
    written.read()
    [metric] = [metric for metric in watched if metric.name == name]
    assert metric in written.values, f"{metric} is not among {sorted(map(str, written.values))}"
    return written.values[metric]


def call(play: Callable[[Call], Awaitable[None]], **fields: Any) -> None:
    """A call whose session worker measures by what the function has, and whose measures are written at its end."""

    async def run() -> None:
        one = Call(**fields)
        one.meter = Metrics()  # type: ignore[assignment]  # the function's own in place of the double
        try:
            await play(one)
        finally:
            await one.close()

    instrument(lambda event, context: run_virtual(run()))({}, Context())


def test_a_request_that_no_model_answers_is_a_failed_request(
    text_cloud: Any, watched: set[Metric], written: Written
) -> None:
    status, _, _ = text_cloud.chat("Why?")
    text_cloud.order()
    assert status == 200
    assert written.read()["SuccessPercent"] == [100, 100]
    text_cloud.model.script = {model: [throttled(model)] * 9 for model in (MODEL, "b")}
    assert text_cloud.chat("Why?")[0] == 503
    text_cloud.order()
    assert text_cloud.chat("")[0] == 422
    assert seen(watched, written, "SuccessPercent") == [100, 100, 0, 0, 100]


def test_a_health_check_is_no_request(text_cloud: Any, written: Written) -> None:
    text_cloud.http("health", "GET", "/health", subject=None)
    assert written.read() == {}


def test_a_voice_session_that_cannot_begin_is_a_failed_request(
    voice_cloud: Any, watched: set[Metric], written: Written
) -> None:
    voice_cloud.start()
    voice_cloud.worker_lives = False
    voice_cloud.put(lease_until=0, state="idle")
    voice_cloud.start("c-2")
    assert voice_cloud.refused("c-2") == ["session_unavailable"]
    assert seen(watched, written, "SuccessPercent") == [100, 0]


def test_a_voice_session_that_fails_is_a_failed_request(watched: set[Metric], written: Written) -> None:
    async def play(one: Call) -> None:
        one.connect()
        # Fifty frames in a row that are no audio.
        for _ in range(60):
            one.seq += 1
            one.relay.put(one.seq, b"x", one.connection)
            await one.clock.sleep(0.09)
        await one.clock.sleep(3)

    call(play)
    assert seen(watched, written, "SuccessPercent") == [0]


def test_a_slow_request_is_slow_without_its_models_time(
    text_cloud: Any, watched: set[Metric], written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr("parley.functions.service_levels.time.time", lambda: now[0])
    monkeypatch.setattr(service_levels.model_time, "clock", lambda: now[0])
    answer = text_cloud.model.generate

    def slowly(*args: Any, **options: Any) -> Any:
        now[0] += 7
        return answer(*args, **options)

    text_cloud.model.generate = slowly
    taken = {"requestContext": {"requestId": "r", "timeEpoch": 999_996_500, "routeKey": "POST /chat"}}
    # What API Gateway took 3.5 s ago waited for 3.5 s of Parley and 7 s of the model.
    event = {
        "version": "2.0",
        "rawPath": "/chat",
        "headers": {},
        "body": '{"message": "Why?"}',
        "requestContext": {
            **taken["requestContext"],
            "stage": "$default",
            "http": {"method": "POST", "path": "/chat"},
            "authorizer": {"jwt": {"claims": {"sub": "ada-0001"}}},
        },
    }
    assert text_cloud.handler("chat")(event, Context())["statusCode"] == 200
    assert written.read()["ModelLatency"] == [7000]
    # Streamed: until its first piece, from when API Gateway took the message.
    text_cloud.order(asked_at=round((now[0] - 2.5) * 1000))
    assert written.read()["ModelLatency"] == [7000]
    assert seen(watched, written, "Latency") == [3500, 2500]


def test_models_that_fail_cost_and_count(text_cloud: Any, watched: set[Metric], written: Written) -> None:
    text_cloud.model.script = {MODEL: [throttled(MODEL)]}
    # The next model of the role has no price that is known.
    assert text_cloud.chat("Why?")[0] == 200
    assert text_cloud.chat("Why?")[0] == 200
    assert seen(watched, written, "ModelFallbacks") == [1]
    assert seen(watched, written, "Tokens") == [110, 110]
    assert seen(watched, written, "CostUsd") == [pytest.approx(0.0000084)]


def test_what_is_spoken_costs_tokens_too(watched: set[Metric], written: Written) -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=6.0)
        one.hang_up()
        await one.clock.sleep(2)

    call(play)
    assert sum(seen(watched, written, "Tokens")) > 0
    [milliseconds] = seen(watched, written, "FirstAudioLatency")
    assert 0 < milliseconds < 2000


def test_answers_without_documents_count(
    text_cloud: Any, watched: set[Metric], written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise KnowledgeUnavailable

    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    monkeypatch.setattr("parley.aws.invocations.RetrievalFunction.retrieve", unavailable)
    text_cloud.module("chat").answering.cache_clear()
    assert text_cloud.chat("Why?")[1]["knowledge"] == "unavailable"
    assert seen(watched, written, "KnowledgeUnavailable") == [1]
    text_cloud.module("chat").answering.cache_clear()


def test_every_refused_attempt_of_the_store_counts(text_cloud: Any, watched: set[Metric], written: Written) -> None:
    refusals = [2]
    body = b'{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}'

    def throttle(request: Any, **_: Any) -> AWSResponse | None:
        if not refusals[0]:
            return None
        refusals[0] -= 1
        return AWSResponse(request.url, 400, HTTPHeaders(), MockRawResponse(body))

    # As the service answers, so that the SDK's own retries are part of it.
    events: Any = clients.dynamodb().meta.events
    events.register_first("before-send.dynamodb", throttle)
    try:
        assert text_cloud.chat("Why?")[0] == 200
    finally:
        events.unregister("before-send.dynamodb", throttle)
    assert refusals == [0]
    assert seen(watched, written, "StoreThrottles") == [2]


def test_a_dead_worker_that_a_ping_finds_counts(voice_cloud: Any, watched: set[Metric], written: Written) -> None:
    voice_cloud.start()
    # Its lease ran out, and nobody renewed it.
    voice_cloud.now += 11
    voice_cloud.send({"action": "ping"})
    voice_cloud.send({"action": "ping"})
    assert seen(watched, written, "WorkerCrashes") == [1]


def test_a_worker_that_crashes_counts(watched: set[Metric], written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(order: Any, context: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetItem")

    monkeypatch.setattr(voice_worker, "_serve", crash)
    with pytest.raises(ClientError):
        voice_worker.handler({"session_id": "s-1"}, Context())
    assert seen(watched, written, "WorkerCrashes") == [1]


def test_a_handover_that_lambda_refuses_counts(watched: set[Metric], written: Written) -> None:
    async def play(one: Call) -> None:
        one.refuses_workers = True
        one.connect()
        await one.clock.sleep(15)

    call(play, worker_seconds=100.0)
    assert seen(watched, written, "HandoffFailures") == [1]
    assert "SessionHandoffs" not in {metric.name for metric in written.values}


DRIVEN = {
    "SuccessPercent",
    "Latency",
    "ModelFallbacks",
    "Tokens",
    "CostUsd",
    "FirstAudioLatency",
    "KnowledgeUnavailable",
    "StoreThrottles",
    "WorkerCrashes",
    "HandoffFailures",
}


def test_every_metric_of_our_own_that_an_alarm_looks_at_is_driven_here(watched: set[Metric]) -> None:
    assert {metric.name for metric in watched} == DRIVEN
