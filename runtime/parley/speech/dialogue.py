"""The dialogue of one session: what the engine says becomes turns, voice and messages to the client."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Literal, Protocol

from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.conversation.turns import Turn, Usage
from parley.knowledge.passages import Passage
from parley.server_messages import (
    ErrorMessage,
    InterruptedMessage,
    LinkedCitation,
    MessageDone,
    ToolNotice,
    Transcript,
    UsageReport,
)
from parley.speech.clock import Clock
from parley.speech.continuation import Continuing
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineLost,
    EngineUnavailable,
    HeardAnew,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.lease import InboxMessage, Played
from parley.speech.playback import Outbound
from parley.speech.turns import Ledger, SpokenTurn

HEARD_SECONDS = 0.7
"""How long an interrupted turn waits for the client to say how much of it was heard: a report, and a poll."""


class Toolbox(Protocol):
    """The tools that the engine may use."""

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """What the engine is told of them."""

    async def use(
        self, request: ToolRequest, *, conversation_id: str | None, passages: Sequence[Passage]
    ) -> ToolResult:
        """The result, in bounded time, whatever happens. `passages` are those that the turn has from earlier ones."""


class Meter(Protocol):
    """Counts and measures, for dashboards and alarms."""

    def count(self, name: str, value: int = 1) -> None:
        """Add to a counter."""

    def milliseconds(self, name: str, value: float) -> None:
        """A duration."""

    def usage(self, usage: Usage) -> None:
        """What a turn consumed."""


class Dialogue:
    """Runs until the engine is closed for good. Raises what Ledger raises."""

    def __init__(
        self, engine: Continuing, outbound: Outbound, ledger: Ledger, tools: Toolbox, clock: Clock, meter: Meter
    ) -> None:
        self._engine = engine
        self._outbound = outbound
        self._ledger = ledger
        self._tools = tools
        self._clock = clock
        self._meter = meter
        self._hearing: SpokenTurn | None = None
        self._turn: SpokenTurn | None = None
        self._beginning = False
        self._begun = False
        self._over = False
        self._started_at = 0.0
        self._said = ""
        self._passages: list[Passage] = []
        self._playing: asyncio.Task[None] | None = None
        self._interrupted: SpokenTurn | None = None
        self._cut = asyncio.Event()
        self._hurry = asyncio.Event()
        self._leaving = False
        self._answered_seq: int | None = None
        self._asked: deque[InboxMessage] = deque()
        self._known: set[str] = set()
        self._passed = 0
        self._group = asyncio.TaskGroup()
        self.on_voice: Callable[[bytes], None] = _ignore
        """Gets the assistant's voice as it is given out."""
        self.active_at = clock.now()
        """When anybody spoke last, on the clock's `now`."""

    @property
    def is_quiet(self) -> bool:
        """Is nobody speaking, and nothing waiting to be answered or stored?"""
        return self._engine.is_idle and self._turn is None and not self._is_playing and not self._asked

    @property
    def has_pending(self) -> bool:
        """Is a turn begun and not stored?"""
        return self._is_playing or (self._turn is not None and self._begun)

    @property
    def answered_seq(self) -> int | None:
        """The last frame that needs no answer any more; None while an answer is about to begin."""
        if self._answered_seq is not None or (self._turn is not None and not self._begun):
            return self._answered_seq
        return self._engine.answered_mark

    async def run(self) -> None:
        """Take the engine's events as they come."""
        async with self._group:
            async for event in self._engine.events():
                if self._leaving:
                    continue
                match event:
                    case UserTranscript(text, final):
                        await self._heard(text, final=final)
                    case TurnStarted():
                        await self._started()
                    case AssistantTranscript(text, spoken):
                        self._says(text, spoken=spoken)
                    case AssistantAudio(pcm):
                        await self._speaks(pcm)
                    case ToolRequest():
                        if self._turn is not None:
                            self._group.create_task(self._use_tool(self._turn, event))
                    case TurnEnded(input_tokens, output_tokens):
                        await self._ended(input_tokens, output_tokens)
                    case Interrupted():
                        self._interrupt()
                    case HeardAnew():
                        self._hear_anew()
                    case EngineLost():
                        error = EngineUnavailable()
                        self._outbound.send(ErrorMessage(code=error.code, message=error.message, retryable=True))
                        self._meter.count("EngineLost")
                    case EngineClosed():
                        await self.conclude()
                        return

    async def ask(self, message: InboxMessage, seq: int) -> None:
        """A message that the user typed, after the frame `seq`; one that has an answer gets that again.

        Raises StoreUnavailable; then nothing is asked.
        """
        if message in self._asked:
            return
        if (answer := await self._ledger.answer_to(message.id)) is not None:
            await self._ledger.take(message.id)
            self._outbound.send(stored_message(answer, self._ledger.conversation_id or "", message.request_id))
            return
        if message.id in self._known:
            # It is being answered at this moment.
            return
        self._known.add(message.id)
        self._asked.append(message)
        self.active_at = self._clock.now()
        await self._engine.send_text(message.text, seq)

    def report(self, played: Played) -> None:
        """The client says how much of a turn it has played."""
        turn = self._interrupted
        if turn is not None and turn.turn_id == played.turn_id and turn.heard_ms is not None:
            turn.heard_ms = min(played.ms, round(turn.voice_seconds * 1000))
        else:
            self._outbound.report(played.turn_id, played.ms)

    async def conclude(self) -> None:
        """Take no more from the engine, and store what has begun, as far as it was heard."""
        # An answer on the point of beginning begins; another one never will, so its audio stays unanswered.
        while self._beginning:
            await self._clock.sleep(0.01)
        self._answered_seq = self.answered_seq
        self._leaving = True
        turn = self._turn
        if turn is not None and self._begun:
            self._turn = None
            if self._outbound.seconds_left(turn.turn_id) or not self._over:
                turn.heard_ms = self._outbound.interrupt(turn.turn_id)
            self._play_out(turn)
        await self._settle()

    @property
    def _is_playing(self) -> bool:
        return self._playing is not None and not self._playing.done()

    async def _heard(self, text: str, *, final: bool) -> None:
        self.active_at = self._clock.now()
        turn = self._turn
        if turn is not None and self._begun and self._over and text.strip():
            # The engine has said all, and the user speaks into what is still being played of it.
            self._interrupt()
            turn = None
        if turn is None or self._begun:
            self._hearing = turn = self._hearing or self._ledger.new_turn()
        turn.hear(text, final=final)
        self._tell_question(turn, final=turn is self._turn)

    async def _started(self) -> None:
        self.active_at = self._started_at = self._clock.now()
        if self._turn is not None:
            self._interrupt()
        turn, self._hearing = self._hearing or self._ledger.new_turn(), None
        if self._asked and turn.question in {"", self._asked[0].text.strip()}:
            turn.ask(self._asked[0])
        self._turn, self._begun, self._over = turn, False, False
        self._said, self._passages = "", []
        if turn.question:
            self._tell_question(turn, final=True)

    def _tell_question(self, turn: SpokenTurn, *, final: bool) -> None:
        self._outbound.send(Transcript(turn_id=turn.turn_id, role="user", text=turn.question, final=final))

    def _says(self, text: str, *, spoken: bool) -> None:
        if (turn := self._turn) is None:
            return
        turn.say(text, spoken=spoken)
        if turn.text != self._said:
            self._said = turn.text
            self._outbound.send(Transcript(turn_id=turn.turn_id, role="assistant", text=self._said, final=False))

    async def _speaks(self, pcm: bytes) -> None:
        # What an engine still says of a turn that was interrupted is nobody's.
        if (turn := self._turn) is None:
            return
        if not self._begun:
            await self._begin(turn)
        turn.speak(pcm)
        self.on_voice(pcm)
        self._outbound.speak(turn.turn_id, pcm)

    async def _begin(self, turn: SpokenTurn) -> None:
        self._beginning = True
        try:
            await self._settle()
            await self._ledger.begin(turn, self._engine.answered_mark, self._answered_messages(turn))
            self._begun = True
        finally:
            self._beginning = False
        self._meter.milliseconds("FirstAudioLatency", (self._clock.now() - self._started_at) * 1000)

    def _answered_messages(self, turn: SpokenTurn) -> list[str]:
        """The typed messages that this turn answers. One that a spoken turn passed by is part of the next at last."""
        if not self._asked:
            return []
        if turn.medium == "voice" and self._passed == 0:
            self._passed = 1
            return []
        self._passed = 0
        return [self._asked.popleft().id]

    async def _ended(self, input_tokens: int | None, output_tokens: int | None) -> None:
        if (turn := self._turn) is None:
            return
        self.active_at = self._clock.now()
        if not self._begun:
            if not turn.question and not turn.pieces:
                self._turn = None
                return
            await self._begin(turn)
        turn.input_tokens, turn.output_tokens = input_tokens, output_tokens
        self._over = True
        self._outbound.finish(turn.turn_id)
        self._play_out(turn)

    def _interrupt(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        if not self._begun:
            # Nothing was said: what the user goes on to say belongs to the same question.
            turn.forget_answer()
            if self._hearing is not None:
                turn.heard += [*self._hearing.heard, self._hearing.hearing]
            self._hearing = turn
            return
        turn.heard_ms = self._outbound.interrupt(turn.turn_id)
        message = InterruptedMessage(turn_id=turn.turn_id, heard_ms=turn.heard_ms)
        self._outbound.send(message, urgent=True)
        self._meter.count("Interruptions")
        self._play_out(turn)

    def _hear_anew(self) -> None:
        if self._turn is not None and not self._begun:
            self._hearing, self._turn = self._turn, None
        if self._hearing is not None:
            self._hearing.forget_answer()
            self._hearing.heard, self._hearing.hearing, self._hearing.medium = [], "", "voice"

    def _play_out(self, turn: SpokenTurn) -> None:
        """Wait until a turn was heard, and store it; one that already plays hears that it is interrupted."""
        if turn.heard_ms is not None:
            self._interrupted = turn
            self._cut.set()
        if not self._is_playing:
            self._hurry.clear()
            self._playing = self._group.create_task(self._play_and_store(turn))

    async def _settle(self) -> None:
        """Let the turn before be stored, at once."""
        if self._playing is not None:
            self._hurry.set()
            self._cut.set()
            await asyncio.wait([self._playing])

    async def _play_and_store(self, turn: SpokenTurn) -> None:
        if turn.heard_ms is None:
            self._cut.clear()
        while turn.heard_ms is None and (left := self._outbound.seconds_left(turn.turn_id)):
            await _wait(self._cut, min(max(left, 0.001), 0.5))
            if self._hurry.is_set() and turn.heard_ms is None:
                break
        self.active_at = self._clock.now()
        if turn.heard_ms is not None:
            await _wait(self._hurry, HEARD_SECONDS)
            self._interrupted = None
            await self._engine.heard(turn.text_heard(turn.heard_ms))
        answer = await self._ledger.finish(turn)
        if self._turn is turn:
            self._turn = None
        self._tell_stored(answer, turn.request_id)

    def _tell_stored(self, answer: Turn, request_id: str | None) -> None:
        self._outbound.send(Transcript(turn_id=answer.turn_id, role="assistant", text=answer.text, final=True))
        self._outbound.send(stored_message(answer, self._ledger.conversation_id or "", request_id))
        if usage := answer.usage:
            self._meter.usage(usage)
            self._outbound.send(
                UsageReport(
                    turn_id=answer.turn_id,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cost_usd=usage.cost_usd,
                )
            )

    async def _use_tool(self, turn: SpokenTurn, request: ToolRequest) -> None:
        self._outbound.send(ToolNotice(turn_id=turn.turn_id, name=request.name, status="started"))
        result = await self._tools.use(
            request, conversation_id=self._ledger.conversation_id, passages=tuple(self._passages)
        )
        self._passages += result.passages
        turn.found(result.passages)
        await self._engine.send_tool_result(request.id, result)
        status: Literal["done", "failed"] = "failed" if result.is_error else "done"
        self._outbound.send(ToolNotice(turn_id=turn.turn_id, name=request.name, status=status))


def stored_message(answer: Turn, conversation_id: str, request_id: str | None = None) -> MessageDone:
    """The message that a spoken turn is stored; `request_id` is that of the question, if it was typed."""
    return MessageDone(
        turn_id=answer.turn_id,
        conversation_id=conversation_id,
        message=answer.text,
        citations=tuple(LinkedCitation(**asdict(citation)) for citation in answer.citations),
        model=answer.model or "",
        knowledge=answer.knowledge or "off",
        request_id=request_id,
        medium="voice",
    )


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _ignore(pcm: bytes) -> None:
    pass
