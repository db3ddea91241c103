"""A speech engine that outlives its connections.

Services end a connection after some minutes, and connections die. This engine opens the next one in time, lets it take
over between two turns with the history, and gives it what the user said meanwhile; a connection that died is replaced
at once. What an answer covers is never heard again, what none covers is heard again from its beginning.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from parley.conversation.tools.tool import ToolResult
from parley.speech.audio import input_seconds
from parley.speech.clock import Clock
from parley.speech.engine import (
    AssistantAudio,
    EngineClosed,
    EngineEvent,
    EngineFactory,
    EngineLost,
    EngineRequest,
    EngineUnavailable,
    HeardAnew,
    Interrupted,
    SpeechEngine,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.unanswered import Unanswered

CONTINUE_SECONDS = 60.0
"""How long before a connection's limit the next one is opened, to take over between two turns in silence."""

FORCE_SECONDS = 20.0
"""From here on it also takes over while the user speaks: it hears the utterance from its beginning."""

REOPEN_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Pauses before each attempt to replace a dead connection; when the last one fails the user is told."""

LOST_SECONDS = 5.0
"""How often it is tried from then on."""

TOGETHER_SECONDS = 0.2
"""Audio that waits is given to a connection in pieces of at most so much: Transcribe asks for 0.05 to 0.2."""

HEALTHY_SECONDS = 10.0
"""A connection that lived this long was none of the failing ones."""

GIVE_UP_SECONDS = 120.0
"""An engine that cannot be reached for so long ends the session."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection was opened, with the history as it was after `turns` turns."""

    stream: SpeechEngine
    turns: int


@dataclass(frozen=True, slots=True)
class _Refused:
    """An attempt to open a connection failed."""


@dataclass(frozen=True, slots=True)
class _Due:
    """The connection's limit comes near."""

    force: bool


@dataclass(frozen=True, slots=True)
class _Dead:
    """The connection is lost."""


type _Event = EngineEvent | _Opened | _Refused | _Due | _Dead


class Continuing:
    """The SpeechEngine protocol over as many connections as it takes. `request` gives each what it begins with."""

    def __init__(
        self, factory: EngineFactory, request: Callable[[], EngineRequest], clock: Clock, *, mark: int = 0
    ) -> None:
        self._factory = factory
        self._request = request
        self._clock = clock
        self._unanswered = Unanswered(mark=mark)
        self._queue: asyncio.Queue[tuple[int, _Event]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stream: SpeechEngine | None = None
        self._generation = 0
        self._opening = False
        self._opened_at = 0.0
        self._failures = 0
        self._failing_since: float | None = None
        self._due: _Due | None = None
        # What the connection was given: pieces before `_sent`, `_given` seconds, which began at `_base` of all audio.
        self._feeding = False
        self._sent = 0
        self._given = 0.0
        self._base = 0.0
        self._requests: set[str] = set()
        self._turns = 0
        self._hearing = False
        self._in_turn = False
        self._begun = False
        self._covers: tuple[float, int] = (0.0, 0)
        self.openings = 0
        """Connections that took over, the first one included."""

    @property
    def answered_mark(self) -> int:
        """The last frame that needs no answer any more: it has one, or nothing was said."""
        return self._unanswered.mark

    @property
    def is_idle(self) -> bool:
        """Is no turn under way, and nothing said that might become one?"""
        return not self._in_turn and not self._hearing and not self._unanswered.has_sound

    def hear(self, pcm: bytes, mark: int) -> None:
        """The next of what the user says, in the frame `mark`; `feed` gives it to the connection."""
        self._unanswered.hear(pcm, mark)

    async def send_audio(self, pcm: bytes) -> None:
        """See SpeechEngine."""
        self.hear(pcm, self._unanswered.mark)
        await self.feed()

    async def send_text(self, text: str, mark: int = 0) -> None:
        """See SpeechEngine."""
        self._unanswered.read(text, mark or self._unanswered.mark)
        await self.feed()

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        """See SpeechEngine. The result of a request from a connection that is gone is nobody's any more."""
        if self._stream is None or request_id not in self._requests:
            return
        self._requests.discard(request_id)
        try:
            await self._stream.send_tool_result(request_id, result)
        except EngineUnavailable:
            self._lose(self._stream)

    async def heard(self, text: str) -> None:
        """See SpeechEngine."""
        if self._stream is not None:
            try:
                await self._stream.heard(text)
            except EngineUnavailable:
                self._lose(self._stream)

    async def events(self) -> AsyncIterator[EngineEvent]:
        """See SpeechEngine. EngineClosed comes only when there is no sense in trying again."""
        self._open()
        while True:
            generation, event = await self._queue.get()
            notice: EngineEvent | None = None
            match event:
                case _Opened():
                    if notice := self._opened(event):
                        yield notice
                    await self.feed()
                case _Refused():
                    self._opening = False
                    if self._stream is not None:
                        # The old one still lives, and is asked to go on again.
                        self._spawn(self._remind(self._generation))
                    elif notice := self._failed():
                        yield notice
                case _ if generation != self._generation:
                    continue
                case _Due():
                    self._due = event
                case EngineClosed(reason="failed", retryable=False) as closed:
                    yield closed
                    return
                case EngineClosed() | _Dead():
                    if notice := self._died():
                        yield notice
                    if notice := self._failed():
                        yield notice
                case _:
                    self._note(event)
                    yield event
            if isinstance(notice, EngineClosed):
                return
            if self._stream is not None and self._may_continue():
                self._open()

    async def close(self) -> None:
        """See SpeechEngine."""
        self._generation += 1
        stream, self._stream = self._stream, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while not self._queue.empty():
            _, event = self._queue.get_nowait()
            if isinstance(event, _Opened):
                await self._close(event.stream)
        if stream is not None:
            await self._close(stream)

    def _note(self, event: EngineEvent) -> None:
        match event:
            case UserTranscript():
                self._hearing = True
            case TurnStarted(audio_seconds):
                self._in_turn, self._begun, self._hearing = True, False, False
                position = self._unanswered.position if audio_seconds is None else self._base + audio_seconds
                self._covers = (position, self._sent)
            case AssistantAudio():
                self._begin()
            case ToolRequest(id=request_id):
                self._requests.add(request_id)
            case TurnEnded():
                self._begin()
                self._turn_over()
            case Interrupted():
                # Cut before it began, it answered nothing: the user went on speaking.
                self._hearing = self._hearing or not self._begun
                self._turn_over()
            case _:
                pass

    def _begin(self) -> None:
        if not self._begun and self._in_turn:
            self._begun = True
            self._unanswered.answered(*self._covers)

    def _turn_over(self) -> None:
        self._in_turn = False
        self._turns += 1

    async def feed(self) -> None:
        """Give the connection what it has not had. Who finds somebody at it already leaves it to them."""
        if self._feeding:
            return
        self._feeding = True
        try:
            while (stream := self._stream) is not None:
                # What was forgotten meanwhile was silence, or has an answer.
                self._sent = max(self._sent, self._unanswered.first)
                if self._sent >= self._unanswered.end:
                    return
                piece = self._unanswered.piece(self._sent)
                self._base = piece.position - input_seconds(len(piece.pcm)) - self._given
                try:
                    if piece.text:
                        self._sent += 1
                        await stream.send_text(piece.text)
                    else:
                        await stream.send_audio(self._next_audio())
                except EngineUnavailable:
                    self._lose(stream)
        finally:
            self._feeding = False

    def _next_audio(self) -> bytes:
        """The next pieces of audio that the connection has not had, as one."""
        pcm = b""
        while self._sent < self._unanswered.end:
            piece = self._unanswered.piece(self._sent)
            if piece.text or (pcm and input_seconds(len(pcm) + len(piece.pcm)) > TOGETHER_SECONDS):
                break
            pcm += piece.pcm
            self._sent += 1
        self._given += input_seconds(len(pcm))
        return pcm

    def _lose(self, stream: SpeechEngine | None) -> None:
        """A connection took no more: what it said before is still in the queue."""
        if stream is not None and stream is self._stream:
            self._stream = None
            self._spawn(self._close(stream))
            self._queue.put_nowait((self._generation, _Dead()))

    def _died(self) -> EngineEvent | None:
        """The connection is over. In the middle of an answer, what was given of that stands."""
        if self._stream is not None:
            self._spawn(self._close(self._stream))
            self._stream = None
        self._generation += 1
        now = self._clock.now()
        if now - self._opened_at > HEALTHY_SECONDS:
            self._failures = -1
            self._failing_since = None
        if self._in_turn and self._begun:
            self._turn_over()
            return TurnEnded()
        return None

    def _failed(self) -> EngineEvent | None:
        """Try again, later each time; say so once when it takes long."""
        self._failures += 1
        now = self._clock.now()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since > GIVE_UP_SECONDS:
            return EngineClosed("failed", retryable=False)
        self._open()
        return EngineLost() if self._failures == len(REOPEN_SECONDS) else None

    def _open(self) -> None:
        if not self._opening:
            self._opening = True
            pause = REOPEN_SECONDS[self._failures] if self._failures < len(REOPEN_SECONDS) else LOST_SECONDS
            self._spawn(self._try_to_open(pause if self._stream is None else 0.0))

    async def _try_to_open(self, pause: float) -> None:
        if pause:
            await self._clock.sleep(pause)
        turns = self._turns
        try:
            stream = await self._factory.open(self._request())
        except EngineUnavailable:
            self._queue.put_nowait((self._generation, _Refused()))
        else:
            self._queue.put_nowait((self._generation, _Opened(stream, turns)))

    def _opened(self, event: _Opened) -> EngineEvent | None:
        """Let a connection take over, unless it comes too late for that."""
        self._opening = False
        if self._stream is not None:
            if event.turns != self._turns or not self._may_continue():
                # A turn began meanwhile, which this one knows nothing of.
                self._spawn(self._close(event.stream))
                return None
            self._spawn(self._close(self._stream))
        self._generation += 1
        self._opened_at = self._clock.now()
        self._due = None
        self._requests.clear()
        self.openings += 1
        self._stream = event.stream
        self._sent, self._given = self._unanswered.first, 0.0
        self._spawn(self._read(event.stream, self._generation))
        if self._factory.lifetime_seconds is not None:
            self._spawn(self._warn(self._generation, self._factory.lifetime_seconds))
        again = self._hearing or (self._in_turn and not self._begun)
        self._hearing = self._in_turn = False
        return HeardAnew() if again else None

    def _may_continue(self) -> bool:
        if self._due is None or self._in_turn:
            return False
        return self._due.force or not (self._hearing or self._unanswered.has_sound)

    async def _read(self, stream: SpeechEngine, generation: int) -> None:
        """Pass on what a connection says, until it ends."""
        async for event in stream.events():
            self._queue.put_nowait((generation, event))
        self._queue.put_nowait((generation, _Dead()))

    async def _warn(self, generation: int, lifetime: float) -> None:
        """Say when a connection nears its limit, and again while it has not been replaced."""
        await self._clock.sleep(max(lifetime / 2, lifetime - CONTINUE_SECONDS))
        self._queue.put_nowait((generation, _Due(force=False)))
        await self._clock.sleep(min(lifetime / 2, CONTINUE_SECONDS) * (1 - FORCE_SECONDS / CONTINUE_SECONDS))
        while generation == self._generation:
            self._queue.put_nowait((generation, _Due(force=True)))
            await self._clock.sleep(1.0)

    async def _remind(self, generation: int) -> None:
        await self._clock.sleep(LOST_SECONDS)
        if self._due is not None:
            self._queue.put_nowait((generation, self._due))

    async def _close(self, stream: SpeechEngine) -> None:
        with contextlib.suppress(EngineUnavailable):
            await stream.close()

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
