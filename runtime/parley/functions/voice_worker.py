"""The session worker: one invocation owns one live voice session, and hands it to the next before its time is up."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import msgspec
import uvloop
from aws_lambda_powertools.metrics import MetricUnit
from botocore.session import get_session

from parley.aws import clients
from parley.aws.audio_archive import BucketArchive
from parley.aws.audio_frames_table import AudioFramesTable
from parley.aws.bedrock_models import Guardrail
from parley.aws.client_channel import ClientChannel
from parley.aws.content_encryption import ContentCipher
from parley.aws.conversation_table import ConversationTable
from parley.aws.invocations import BackgroundFunction, RetrievalFunction
from parley.aws.live_sessions import LiveSessions, SessionSeal
from parley.aws.signed_http import DynamoDbCalls, SignedHttp
from parley.conversation.deadline import Deadline
from parley.conversation.models import ModelChoice
from parley.conversation.prompts import voice_system
from parley.conversation.tools import registry
from parley.conversation.tools.running import TOOL_SECONDS, run_tool
from parley.conversation.tools.tool import Tool, ToolCall, ToolResult, ToolSpec
from parley.conversation.turns import Usage
from parley.correlation import current
from parley.functions.admission import allowances
from parley.functions.answering import InBackground, count_usage
from parley.functions.messages import WorkerOrder
from parley.functions.service_levels import failed
from parley.functions.telemetry import count_throttles, instrument, logger, metrics
from parley.knowledge.passages import Passage, Retriever
from parley.settings import Settings
from parley.speech.archive import Recorder
from parley.speech.clock import SystemClock
from parley.speech.engine import EngineFactory, ToolRequest
from parley.speech.session import SESSION_FAILED, Outcome, Parts, SessionWorker

INVOKE_SECONDS = 3

THREADS = 12
"""For calls of services: a read of frames, a post, a look at the session, a write, and tools."""

FLUSH_SECONDS = 60.0
"""How often what was measured is written: an invocation lasts a quarter of an hour."""


class VoiceWorkerSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    sessions_table: str
    audio_frames_table: str
    conversations_table: str
    content_key_arn: str
    models: dict[str, list[str]]
    retention_days: int
    websocket_callback_url: str
    retrieval_function: str | None = None
    voice_engines: list[str] = msgspec.field(default_factory=lambda: ["nova-sonic"])
    voice_model: str | None = None
    languages: list[str] = msgspec.field(default_factory=list)
    transcribe_settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """How the cascade hears: the fields of `parley.aws.transcribe.TranscribeSettings`."""
    polly_settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """How the cascade speaks: the fields of `parley.aws.polly.PollySettings`."""
    polly_voices: dict[str, str] = msgspec.field(default_factory=dict)
    """The cascade's voice by language, where it is not the first one."""
    guardrail: Guardrail | None = None
    """Judges what the cascade's language model is asked and answers; a speech model has none."""
    audio_bucket: str | None = None
    """Where audio is archived; without it, nowhere."""
    aws_lambda_function_name: str
    """This function: Lambda says so itself."""


class Handover(WorkerOrder, frozen=True, kw_only=True):
    """What one worker invokes the next with."""

    silent_seconds: float = 0.0
    """How long nobody has spoken."""


@cache
def settings() -> VoiceWorkerSettings:
    """This process's settings."""
    return VoiceWorkerSettings.load()


@cache
def cipher() -> Callable[[], ContentCipher]:
    """The cipher of conversations, on its way while the session is read."""
    key = settings().content_key_arn
    return InBackground(lambda: ContentCipher(key, clients.kms()))


@cache
def engine(name: str) -> EngineFactory:
    """One of the speech engines that this deployment has; its first one for a session of an engine that it had."""
    engines = settings().voice_engines
    # Each engine brings SDKs of its own, and a session has one engine.
    if (name if name in engines else engines[0]) == "cascade":
        return _cascade()
    from parley.aws.nova_sonic import nova_sonic_factory

    model = settings().voice_model
    return nova_sonic_factory(model) if model else nova_sonic_factory()


def _cascade() -> EngineFactory:
    from parley.aws.bedrock_models import BedrockModels
    from parley.aws.polly import Phrases, PollySettings, PollySynthesizer
    from parley.aws.transcribe import TranscribeRecogniser, TranscribeSettings
    from parley.speech.cascade import cascade_factory
    from parley.speech.voices import CASCADE

    own = settings()
    hearing = msgspec.convert(own.transcribe_settings, TranscribeSettings)
    speaking = msgspec.convert(own.polly_settings, PollySettings)
    phrases = Phrases()
    return cascade_factory(
        TranscribeRecogniser(hearing),
        lambda: PollySynthesizer(speaking, phrases),
        ModelChoice(model=BedrockModels(guardrail=own.guardrail), ids_by_role=own.models),
        voices=CASCADE.preferring(own.polly_voices),
    )


def serve(event: Mapping[str, Any], context: Any) -> None:
    """Serve a session until it ends or another worker has it. Raises what nobody foresaw; its client's pings start
    another worker then."""
    # A worker lives for long: what it leaves behind is to be collected while it runs.
    gc.freeze()
    gc.enable()
    order = msgspec.convert(event, Handover)
    logger.append_keys(session_id=order.session_id)
    try:
        outcome = uvloop.run(_serve(order, context))
    except Exception:
        metrics.add_metric(name="WorkerCrashes", unit=MetricUnit.Count, value=1)
        raise
    logger.info("The session is out of this worker's hands", outcome=outcome)


async def _serve(order: Handover, context: Any) -> Outcome:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    own = settings()
    connections_api = clients.connections_api(own.websocket_callback_url)
    async with (
        _signed_http(clients.dynamodb(), "dynamodb") as dynamodb,
        _signed_http(connections_api, "execute-api") as connections,
    ):
        calls = DynamoDbCalls(dynamodb)
        channel = ClientChannel(connections, connections_api)
        return await _serve_with(calls, channel, order, context)


def _signed_http(client: Any, service: str) -> SignedHttp:
    """Requests to where a client's go, on this event loop."""
    credentials = get_session().get_credentials()
    return SignedHttp(
        client.meta.endpoint_url, service=service, region=client.meta.region_name, credentials=credentials
    )


async def _serve_with(calls: DynamoDbCalls, channel: ClientChannel, order: Handover, context: Any) -> Outcome:
    own = settings()
    secrets = cipher()
    sessions = LiveSessions(own.sessions_table, calls)
    lease = await sessions.acquire(order.session_id, context.aws_request_id)
    if lease is None:
        return "not_needed"
    session = await lease.session()
    retriever = RetrievalFunction(own.retrieval_function) if own.retrieval_function else None
    clock, meter = SystemClock(), Metrics()
    relay = AudioFramesTable(own.audio_frames_table, calls, order.session_id)
    archive = BucketArchive(own.audio_bucket, clients.s3()) if own.audio_bucket else None
    parts = Parts(
        clock=clock,
        relay=relay,
        channel=channel,
        store=ConversationTable(
            own.conversations_table,
            clients.dynamodb(),
            secrets,
            retention_days=own.retention_days,
            fence=lease.condition_check(),
        ),
        seal=SessionSeal(secrets, session.subject, session.session_id),
        engine=engine(session.engine),
        tools=VoiceTools(session.subject, retriever),
        meter=meter,
        system=voice_system(knowledge=retriever is not None),
        archive=Recorder(order.session_id, archive, relay, clock, meter) if archive else None,
        knowledge=retriever is not None,
        spend_seconds=_time_of(session.subject),
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
        hand_over=lambda silent: asyncio.to_thread(_start_next, order.session_id, silent),
    )
    return await SessionWorker(session, lease, parts, silent_seconds=order.silent_seconds).run()


def _time_of(subject: str) -> Callable[[int], Awaitable[None]] | None:
    """Counts seconds of the user's calls, where minutes have a limit."""
    limits = allowances()
    return None if limits is None else lambda seconds: asyncio.to_thread(limits.spend_voice, subject, seconds)


def _start_next(session_id: str, silent_seconds: float) -> None:
    function = BackgroundFunction(settings().aws_lambda_function_name, clients.lambda_(INVOKE_SECONDS))
    order = Handover(session_id=session_id, silent_seconds=silent_seconds, correlation_id=current())
    function.start(msgspec.json.encode(order))


class VoiceTools:
    """The Toolbox protocol over the registry, for one user."""

    def __init__(self, subject: str, retriever: Retriever | None) -> None:
        self._subject = subject
        self._retriever = retriever
        self._tools: Mapping[str, Tool] = registry.offered(knowledge=retriever is not None)

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """See Toolbox."""
        return [tool.spec for tool in self._tools.values()]

    async def use(
        self, request: ToolRequest, *, conversation_id: str | None, passages: Sequence[Passage]
    ) -> ToolResult:
        """See Toolbox."""
        call = ToolCall(
            name=request.name,
            arguments=request.arguments,
            subject=self._subject,
            conversation_id=conversation_id,
            deadline=Deadline.after(TOOL_SECONDS),
            retriever=self._retriever,
            passages=passages,
        )
        result = await asyncio.to_thread(run_tool, call, self._tools)
        if result.is_error:
            logger.warning(
                "A tool failed",
                tool=request.name if request.name in self._tools else "unknown",
                reason=result.error_kind,
            )
        return result


class Metrics:
    """The Meter protocol over CloudWatch's embedded metrics."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._flushed_at = now()

    def count(self, name: str, value: int = 1) -> None:
        """See Meter."""
        self._add(name, MetricUnit.Count, value)
        if name == SESSION_FAILED:
            failed()

    def usage(self, usage: Usage) -> None:
        """See Meter."""
        count_usage(usage)

    def milliseconds(self, name: str, value: float) -> None:
        """See Meter."""
        self._add(name, MetricUnit.Milliseconds, round(value, 1))

    def _add(self, name: str, unit: MetricUnit, value: float) -> None:
        metrics.add_metric(name=name, unit=unit, value=value)
        if self._now() - self._flushed_at > FLUSH_SECONDS:
            self._flushed_at = self._now()
            count_throttles()
            metrics.flush_metrics()


# A segment would gather the calls of a quarter of an hour.
handler = instrument(serve, trace_calls=False)
