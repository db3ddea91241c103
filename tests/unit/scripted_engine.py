"""A speech engine that does as it is told.

Utterances are told apart by their samples, so that it can say which frames it heard, and in what order.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from parley.conversation.tools.tool import ToolResult
from parley.speech.audio import output_bytes
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineEvent,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.voices import NOVA_SONIC, SpeechEngineVoices

from tests.unit.virtual_time import VirtualClock

FRAME_SAMPLES = 1440
FRAME = 0.09
LOUD = 1000


def frame_pcm(utterance: int, index: int) -> bytes:
    """Frame `index` of an utterance from 1 on; utterance 0 is silence."""
    level = LOUD + utterance if utterance else 0
    # Where the worker's measure of loudness does not look, so that silence stays silent.
    return struct.pack("<h", level) + struct.pack("<h", index) + struct.pack("<h", level) * (FRAME_SAMPLES - 2)


@dataclass
class EngineScript:
    """How every stream of an engine behaves, and what they all heard."""

    clock: VirtualClock
    voices: SpeechEngineVoices = NOVA_SONIC
    lifetime_seconds: float | None = None
    idle_seconds: float | None = 55.0
    model: str = "scripted"
    think_seconds: float = 0.3
    answer_seconds: float = 2.0
    """Of the answer's voice, which is given out at once in pieces of half a second."""
    tells_position: bool = True
    uses_tool: bool = False
    refuses: int = 0
    opened: int = 0
    requests: list[EngineRequest] = field(default_factory=list)
    heard_frames: list[tuple[int, int, int]] = field(default_factory=list)
    """Stream, utterance, and frame of it, in the order they were heard."""
    heard_texts: list[str] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    """Utterances whose answers' voice began."""
    silences: int = 0
    pieces: list[float] = field(default_factory=list)
    """Seconds of audio that came at once."""
    streams: "list[ScriptedEngine]" = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)

    async def open(self, request: EngineRequest) -> "ScriptedEngine":
        await self.clock.sleep(0.2)
        if self.refuses:
            self.refuses -= 1
            raise EngineUnavailable
        self.requests.append(request)
        self.opened += 1
        stream = ScriptedEngine(self, self.opened)
        self.streams.append(stream)
        return stream


def _frames_in(pcm: bytes) -> Iterator[bytes]:
    """The frames of utterances, each by itself, and the silences between them, of at most a frame each."""
    samples = memoryview(pcm).cast("h")
    while samples:
        begins = next((at for at, sample in enumerate(samples[:FRAME_SAMPLES]) if sample >= LOUD), 0)
        length = begins or FRAME_SAMPLES
        yield bytes(samples[:length])
        samples = samples[length:]


class ScriptedEngine:
    """A stream that answers an utterance after four silent frames, and stops when it is spoken to."""

    def __init__(self, script: EngineScript, number: int) -> None:
        self._script = script
        self._number = number
        self._queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._utterance = 0
        self._silent = 0
        self._sent = 0.0
        self._answer: asyncio.Task[None] | None = None
        self._speaks_until = 0.0
        self._tool_done = asyncio.Event()
        self._alive = True
        self._life = (
            asyncio.get_running_loop().call_later(script.lifetime_seconds, self.die, "limit")
            if script.lifetime_seconds
            else None
        )

    def die(self, reason: Any = "failed", retryable: bool = True) -> None:
        if self._alive:
            self._alive = False
            if self._answer is not None:
                self._answer.cancel()
            self._queue.put_nowait(EngineClosed(reason, retryable))

    def emit(self, *events: EngineEvent) -> None:
        for event in events:
            self._queue.put_nowait(event)

    async def send_audio(self, pcm: bytes) -> None:
        if not self._alive:
            raise EngineUnavailable
        self._sent += len(pcm) / 32_000
        self._script.pieces.append(len(pcm) / 32_000)
        for frame in _frames_in(pcm):
            self._hear(frame)

    def _hear(self, frame: bytes) -> None:
        level, index = struct.unpack_from("<hh", frame)
        utterance = level - LOUD if level else 0
        if not utterance:
            self._script.silences += 1
            self._silent += 1
            if self._utterance and self._silent >= 4:
                self._reply(f"utterance {self._utterance}", self._utterance)
            return
        self._silent = 0
        self._script.heard_frames.append((self._number, utterance, index))
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
            self._answer = None
            self._queue.put_nowait(Interrupted())
        elif self._speaks_until > self._script.clock.now():
            self._queue.put_nowait(Interrupted())
        self._speaks_until = 0.0
        if utterance != self._utterance:
            self._utterance = utterance
            self._queue.put_nowait(UserTranscript(f"utterance {utterance}", final=False))

    def _reply(self, question: str, utterance: int) -> None:
        self._utterance = 0
        self._queue.put_nowait(UserTranscript(question, final=True))
        self._answer = asyncio.ensure_future(self._say(question, utterance, self._sent))

    async def _say(self, question: str, utterance: int, position: float) -> None:
        script = self._script
        self._queue.put_nowait(TurnStarted(position if script.tells_position else None))
        if script.uses_tool:
            self._tool_done.clear()
            self._queue.put_nowait(
                ToolRequest(f"tool-{self._number}-{utterance}", "search_knowledge", {"query": question})
            )
            await self._tool_done.wait()
        await script.clock.sleep(script.think_seconds)
        script.answered.append(utterance)
        pieces = round(script.answer_seconds / 0.5)
        self._speaks_until = script.clock.now() + script.answer_seconds
        for number in range(1, pieces + 1):
            text = f"Answer {utterance}." if number == 1 else f"Part {number} of it."
            self._queue.put_nowait(AssistantTranscript(text, spoken=False))
            self._queue.put_nowait(AssistantAudio(bytes(output_bytes(0.5))))
            await script.clock.sleep(0.05)
        self._queue.put_nowait(TurnEnded(100, 20))

    async def send_text(self, text: str) -> None:
        if not self._alive:
            raise EngineUnavailable
        self._script.heard_texts.append(text)
        self._answer = asyncio.ensure_future(self._say(text, -len(self._script.heard_texts), self._sent))

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        self._script.results.append(result)
        self._tool_done.set()

    async def heard(self, text: str) -> None:
        self._script.heard_texts.append(f"heard: {text}")

    async def events(self) -> AsyncIterator[EngineEvent]:
        while True:
            event = await self._queue.get()
            yield event
            if isinstance(event, EngineClosed):
                return

    async def close(self) -> None:
        if self._life is not None:
            self._life.cancel()
        self.die("ended")
