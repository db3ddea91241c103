"""The speech engine on Amazon Nova 2 Sonic: speech to speech over Bedrock's bidirectional stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from parley.aws import bidirectional
from parley.aws.bidirectional import CLOSE_SECONDS, StreamFailed, is_passing
from parley.aws.nova_sonic_events import (
    Event,
    Output,
    Reader,
    Said,
    Script,
    Sound,
    SoundEnd,
    Tokens,
    Tuning,
    Use,
)
from parley.conversation.tools.tool import ToolResult
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineEvent,
    EngineFactory,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    SpeechEngine,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.voices import NOVA_SONIC

MODEL = NOVA_SONIC.models[0]

LIFETIME_SECONDS = 480.0
"""The service ends a connection after 8 minutes."""

IDLE_SECONDS = 55.0
"""The service ends a connection that it hears nothing from for so long, not even silence."""

EVENTS_WAITING = 2_000
"""Events that nobody has taken yet: about two minutes of the answer's audio. Beyond them the stream is left unread."""

USAGE_SECONDS = 0.25
"""How long the end of a turn waits for its tokens, which the service tells after its last words."""

_LIMITS = frozenset({"ModelTimeoutException"})
_BROKEN = EngineClosed("failed", retryable=True)


class Wire(Protocol):
    """A stream of events, as JSON, to the model and from it. Methods raise StreamFailed."""

    async def send(self, *events: bytes) -> None:
        """Send events in their order."""

    def received(self) -> AsyncIterator[bytes]:
        """The model's events until it ends the stream."""

    async def finish(self) -> None:
        """Say that nothing more will be sent."""

    async def close(self) -> None:
        """Give the stream up."""


type Connect = Callable[[str, tuple[bytes, ...]], Awaitable[Wire]]


def nova_sonic_factory(
    model: str = MODEL, *, tuning: Tuning | None = None, connect: Connect | None = None
) -> EngineFactory:
    """Nova 2 Sonic in the function's region. `connect` opens the stream to a model and sends the first events."""
    return NovaSonicFactory(model, tuning or Tuning(), connect or _connect)


class NovaSonicFactory:
    """See EngineFactory."""

    lifetime_seconds: float | None = LIFETIME_SECONDS
    idle_seconds: float | None = IDLE_SECONDS
    voices = NOVA_SONIC

    def __init__(self, model: str, tuning: Tuning, connect: Connect) -> None:
        self.model = model
        self._tuning = tuning
        self._connect = connect

    async def open(self, request: EngineRequest) -> SpeechEngine:
        """See EngineFactory. Raises LanguageUnsupported too."""
        voice = self.voices.voice(request.language, request.voice)
        script = Script()
        opening = script.opening(
            system=request.system,
            history=request.history,
            tools=request.tools,
            voice=voice.id,
            tuning=self._tuning,
        )
        try:
            wire = await self._connect(self.model, tuple(_encoded(opening)))
        except StreamFailed as failure:
            raise EngineUnavailable from failure
        return NovaSonic(wire, script)


class NovaSonic:
    """See SpeechEngine. Made in a running event loop, by NovaSonicFactory."""

    def __init__(self, wire: Wire, script: Script) -> None:
        self._wire = wire
        self._script = script
        self._turns = _Turns()
        self._waiting: asyncio.Queue[EngineEvent] = asyncio.Queue(EVENTS_WAITING)
        self._closing = False
        self._closed: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(self._over)

    async def send_audio(self, pcm: bytes) -> None:
        """See SpeechEngine."""
        await self._send(self._script.audio(pcm))

    async def send_text(self, text: str) -> None:
        """See SpeechEngine."""
        await self._send(self._script.typed(text))

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        """See SpeechEngine."""
        await self._send(self._script.tool_result(request_id, result))

    async def heard(self, text: str) -> None:
        """See SpeechEngine. The service knows: it ends its own record of the answer where the user spoke."""

    async def events(self) -> AsyncIterator[EngineEvent]:
        """See SpeechEngine."""
        while True:
            event = await self._waiting.get()
            yield event
            if isinstance(event, EngineClosed):
                # For whoever asks again.
                self._waiting.put_nowait(event)
                return

    async def close(self) -> None:
        """See SpeechEngine. Takes a few seconds at most."""
        if self._closed is None:
            self._closing = True
            self._closed = asyncio.create_task(self._close())
        await asyncio.shield(self._closed)

    async def _close(self) -> None:
        if not self._reading.done():
            with contextlib.suppress(StreamFailed, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._wire.send(*_encoded(self._script.closing()))
            await self._wire.finish()
            # Whoever closes has stopped taking events: there must be room for the last ones.
            self._drop_audio()
            await asyncio.wait({self._reading}, timeout=CLOSE_SECONDS)
        await self._give_up()

    async def _give_up(self) -> None:
        await self._wire.close()
        # Its connection is closed, so that nothing more comes: cancelling is for the case that nobody takes events.
        await asyncio.wait({self._reading}, timeout=CLOSE_SECONDS)
        self._reading.cancel()

    async def _send(self, events: Iterable[Event]) -> None:
        if self._closing or self._reading.done():
            raise EngineUnavailable
        try:
            await self._wire.send(*_encoded(events))
        except StreamFailed as failure:
            # The reader need not learn of it: credentials may have failed that nobody can renew.
            if self._closed is None:
                self._closed = asyncio.create_task(self._give_up())
            raise EngineUnavailable from failure

    async def _read(self) -> EngineClosed:
        reader = Reader()
        try:
            async for payload in self._wire.received():
                if (output := reader.read(payload)) is not None:
                    await self._take(output)
        except StreamFailed as failure:
            if failure.code in _LIMITS:
                return EngineClosed("limit", retryable=True)
            return EngineClosed("failed", retryable=is_passing(failure))
        except ValueError:
            # No event of this protocol: another connection may speak it.
            return _BROKEN
        # The service ends its side only when it was asked to.
        return _BROKEN

    def _over(self, reading: "asyncio.Task[EngineClosed]") -> None:
        closed = _BROKEN if reading.cancelled() or reading.exception() else reading.result()
        if self._closing:
            closed = EngineClosed("ended", retryable=False)
        if self._waiting.qsize() > EVENTS_WAITING - 2:
            self._drop_audio()
        if self._ending is not None:
            self._waiting.put_nowait(self._turn_ended())
        self._waiting.put_nowait(closed)

    async def _take(self, output: Output) -> None:
        """Pass on what this means."""
        if self._ending is not None:
            if isinstance(output, Tokens):
                self._turns.take(output)
            await self._waiting.put(self._turn_ended())
        for event in self._turns.take(output):
            if isinstance(event, Interrupted):
                # What nobody has taken yet is not to be heard any more.
                self._drop_audio()
            await self._waiting.put(event)
        if self._turns.complete:
            self._await_usage()

    def _await_usage(self) -> None:
        self._ending = asyncio.get_running_loop().call_later(USAGE_SECONDS, self._end_turn)

    def _end_turn(self) -> None:
        if self._waiting.full():
            self._await_usage()
        else:
            self._waiting.put_nowait(self._turn_ended())

    def _turn_ended(self) -> TurnEnded:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        return self._turns.end()

    def _drop_audio(self) -> None:
        kept = []
        while not self._waiting.empty():
            event = self._waiting.get_nowait()
            if not isinstance(event, AssistantAudio):
                kept.append(event)
        for event in kept:
            self._waiting.put_nowait(event)


class _Turns:
    """Makes turns of the model's content blocks.

    A sentence comes as a planned text, its audio, and, when the service takes it for played, its final text. What was
    given out is known as soon as a sentence's audio is complete, so it is told then, and final texts only end a turn.
    """

    def __init__(self) -> None:
        self.complete = False
        """The answer's last words were said: only its tokens may still come."""
        self._open = False
        self._gave_audio = False
        self._cut = False
        self._planned = ""
        self._tokens = Tokens(0, 0)
        self._counted = Tokens(0, 0)

    def take(self, output: Output) -> list[EngineEvent]:
        """What the model's next output means."""
        match output:
            case Said(role="USER") if output.text.strip():
                return [*self._superseded(), UserTranscript(output.text.strip(), final=not output.planned)]
            case Said(role="ASSISTANT", stop="INTERRUPTED"):
                return self._interrupted()
            case Said(role="ASSISTANT", planned=True):
                self._cut = False
                self._planned = output.text.strip()
                spoken_next = [AssistantTranscript(self._planned, spoken=False)] if self._planned else []
                return [*self._started(), *spoken_next]
            case Said(role="ASSISTANT", stop="END_TURN"):
                self.complete = self._open
            case Sound() if not self._cut:
                self._gave_audio = True
                return [*self._started(), AssistantAudio(output.pcm)]
            case SoundEnd(stop="INTERRUPTED"):
                return self._interrupted()
            case SoundEnd() if self._planned and not self._cut:
                said, self._planned = self._planned, ""
                return [AssistantTranscript(said, spoken=True)]
            case Use():
                return [*self._started(), ToolRequest(output.id, output.name, output.arguments)]
            case Tokens():
                self._tokens = output
        return []

    def end(self) -> TurnEnded:
        """The turn's end, with the tokens since the one before."""
        counted, self._counted = self._counted, self._tokens
        self._close()
        return TurnEnded(self._tokens.input - counted.input, self._tokens.output - counted.output)

    def _started(self) -> list[EngineEvent]:
        if self._open:
            return []
        self._open = True
        return [TurnStarted()]

    def _interrupted(self) -> list[EngineEvent]:
        # Told twice: where the audio stops, and again as a text.
        if not self._open:
            return []
        self._close()
        self._cut = True
        return [Interrupted()]

    def _superseded(self) -> list[EngineEvent]:
        """The user goes on to say something: an answer that was being given ends, one that was not waits."""
        if not (self._open and self._gave_audio):
            return []
        self._close()
        return [Interrupted()]

    def _close(self) -> None:
        self._open = self._gave_audio = self.complete = False
        self._planned = ""


def _encoded(events: Iterable[Event]) -> list[bytes]:
    return [msgspec.json.encode(event) for event in events]


async def _connect(model: str, first: tuple[bytes, ...]) -> Wire:
    from aws_sdk_bedrock_runtime.models import InvokeModelWithBidirectionalStreamOperationInput

    client = await bidirectional.bedrock_runtime()
    request = InvokeModelWithBidirectionalStreamOperationInput(model_id=model)
    duplex: bidirectional.Duplex[bytes, bytes] = await bidirectional.open_duplex(
        client, lambda opened: opened.invoke_model_with_bidirectional_stream(request), *first
    )
    return duplex
