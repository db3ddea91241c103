"""The speech engine made of three services: a recogniser hears, a language model answers, a synthesizer speaks.

The recogniser hears everything, voice activity says where an utterance ends, and the answer is spoken sentence by
sentence while the model still writes it. Who speaks into an answer ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parley.conversation.errors import NoModelAnswered, TurnTimedOut
from parley.conversation.models import Message, ModelChoice
from parley.conversation.tools.tool import ToolResult, ToolUse
from parley.speech.activity import Began, Ended, VoiceActivity
from parley.speech.audio import output_seconds
from parley.speech.clock import Clock, SystemClock
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
from parley.speech.sentences import speakable
from parley.speech.services import Recognised, Recogniser, Recognition, Synthesizer
from parley.speech.thinking import Thinking
from parley.speech.voices import CASCADE, SpeechEngineVoices, Voice

FINAL_SECONDS = 0.5
"""How long a finished utterance waits for the recogniser's last word on it; then its last guess stands."""

AHEAD_SECONDS = 6.0
"""How far the voice is made ahead of what has been heard: an answer that is interrupted was not spoken for nothing."""

TOOL_SECONDS = 30.0
"""For the tools of one round, which have a limit of their own."""


def cascade_factory(
    recogniser: Recogniser,
    synthesizer: Callable[[], Synthesizer],
    models: ModelChoice,
    *,
    clock: Clock | None = None,
    activity: Callable[[], VoiceActivity] = VoiceActivity,
    voices: SpeechEngineVoices = CASCADE,
) -> EngineFactory:
    """The engine over these services; each connection gets a synthesizer of its own."""
    return CascadeFactory(recogniser, synthesizer, models, clock or SystemClock(), activity, voices)


class CascadeFactory:
    """See EngineFactory."""

    def __init__(
        self,
        recogniser: Recogniser,
        synthesizer: Callable[[], Synthesizer],
        models: ModelChoice,
        clock: Clock,
        activity: Callable[[], VoiceActivity],
        voices: SpeechEngineVoices,
    ) -> None:
        self.voices = voices
        self._recogniser = recogniser
        self._synthesizer = synthesizer
        self._models = models
        self._clock = clock
        self._activity = activity

    @property
    def model(self) -> str:
        """The model that is asked first."""
        return self._models.ids_by_role["quick"][0]

    @property
    def lifetime_seconds(self) -> float | None:
        """The recogniser's."""
        return self._recogniser.lifetime_seconds

    @property
    def idle_seconds(self) -> float | None:
        """The recogniser's."""
        return self._recogniser.idle_seconds

    async def open(self, request: EngineRequest) -> SpeechEngine:
        """See EngineFactory. Raises LanguageUnsupported too."""
        voice = self.voices.voice(request.language, request.voice)
        recognition = await self._recogniser.open(request.language)
        return Cascade(
            request,
            voice,
            self.voices,
            recognition,
            self._synthesizer(),
            self._models,
            self._clock,
            self._activity(),
        )


@dataclass(slots=True)
class _Exchange:
    """A question and what was given out of its answer."""

    question: str
    answer: str = ""


class _Turn:
    """An answer in the making."""

    def __init__(self, exchange: _Exchange) -> None:
        self.exchange = exchange
        self.task: asyncio.Task[None] | None = None
        self.spoken = False
        """Some of its voice was given out."""


class Cascade:
    """See SpeechEngine. Made in a running event loop, by CascadeFactory."""

    def __init__(
        self,
        request: EngineRequest,
        voice: Voice,
        voices: SpeechEngineVoices,
        recognition: Recognition,
        synthesizer: Synthesizer,
        models: ModelChoice,
        clock: Clock,
        activity: VoiceActivity,
    ) -> None:
        self._request = request
        self._voice = voice
        self._voices = voices
        self._language = request.language
        self._recognition = recognition
        self._synthesizer = synthesizer
        self._models = models
        self._clock = clock
        self._activity = activity
        self._exchanges: list[_Exchange] = []
        self._parts: dict[str, Recognised] = {}
        self._settled: set[str] = set()
        self._unanswered = ""
        self._ended_at: float | None = None
        self._turn: _Turn | None = None
        self._cut: _Exchange | None = None
        self._playing_until = 0.0
        self._tools: dict[str, asyncio.Future[ToolResult]] = {}
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._closed = False
        self._over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Task[None] | None = None
        self._start(self._listen())

    async def send_audio(self, pcm: bytes) -> None:
        """See SpeechEngine."""
        self._check_open()
        for change in self._activity.feed(pcm):
            match change:
                case Began():
                    self._interrupt()
                case Ended(at):
                    self._ended_at = at
                    self._consider()
        await self._recognition.send(pcm)

    async def send_text(self, text: str) -> None:
        """See SpeechEngine."""
        self._check_open()
        self._interrupt()
        self._put(UserTranscript(text, final=True))
        self._answer(text, None)

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        """See SpeechEngine."""
        self._check_open()
        waiting = self._tools.pop(request_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    async def heard(self, text: str) -> None:
        """See SpeechEngine."""
        if self._cut is not None:
            self._cut.answer = text
            self._cut = None

    async def events(self) -> AsyncIterator[EngineEvent]:
        """See SpeechEngine."""
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, EngineClosed):
                self._events.put_nowait(event)
                return

    async def close(self) -> None:
        """See SpeechEngine."""
        self._end(EngineClosed("ended", retryable=False))
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(self._recognition.close(), self._synthesizer.close())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What is heard.

    async def _listen(self) -> None:
        try:
            async for recognised in self._recognition.results():
                self._hear(recognised)
        except EngineUnavailable:
            pass
        self._end(EngineClosed("failed", retryable=True))

    def _hear(self, recognised: Recognised) -> None:
        if recognised.id in self._settled:
            return
        if not recognised.text.strip():
            self._parts.pop(recognised.id, None)
        else:
            self._parts[recognised.id] = recognised
            self._put(UserTranscript(recognised.text.strip(), final=recognised.final))
            self._follow(recognised.language)
        self._consider()

    def _follow(self, language: str | None) -> None:
        """Answer in the language that was heard, if there is a voice for it."""
        if language and language != self._language and language in self._voices.voices:
            self._language = language
            self._voice = self._voices.voice(language)

    def _consider(self) -> None:
        """Answer what was said when the user has finished: at once when the recogniser has too, or a little later."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._activity.speaking or not self._parts:
            return
        if all(part.final for part in self._parts.values()):
            self._utterance_over()
        else:
            self._waiting = self._start(self._settle())

    async def _settle(self) -> None:
        await self._clock.sleep(FINAL_SECONDS)
        self._waiting = None
        for part in self._parts.values():
            if not part.final:
                self._put(UserTranscript(part.text.strip(), final=True))
        self._utterance_over()

    def _utterance_over(self) -> None:
        text = _together(list(self._parts.values()))
        # What the recogniser still says of it comes too late.
        self._settled = set(self._parts)
        self._parts = {}
        ended_at, self._ended_at = self._ended_at, None
        self._interrupt()
        self._answer(text, ended_at)

    def _interrupt(self) -> None:
        """End the answer that is being made or heard, if there is one."""
        turn = self._turn
        playing = self._clock.now() < self._playing_until
        if turn is None and not playing:
            return
        self._playing_until = 0.0
        if turn is not None:
            self._turn = None
            if turn.task is not None:
                turn.task.cancel()
            self._tools.clear()
            if turn.spoken:
                self._exchanges.append(turn.exchange)
            else:
                # It answered nothing: what is said next belongs to the same question.
                self._unanswered = turn.exchange.question
        self._cut = self._exchanges[-1] if turn is None or turn.spoken else None
        kept = [event for event in self._drain() if not isinstance(event, AssistantAudio)]
        for event in (*kept, Interrupted()):
            self._put(event)

    # What is answered.

    def _answer(self, text: str, ended_at: float | None) -> None:
        question = f"{self._unanswered} {text}".strip()
        self._unanswered = ""
        self._put(TurnStarted(ended_at))
        self._turn = turn = _Turn(_Exchange(question))
        turn.task = self._start(self._take_turn(turn))

    async def _take_turn(self, turn: _Turn) -> None:
        sentences: asyncio.Queue[str | None] = asyncio.Queue()
        thinking = Thinking(self._models, language=self._language, say=sentences.put_nowait, use=self._use)
        speaking = asyncio.create_task(self._speak(turn, sentences))
        try:
            messages = self._messages(turn.exchange.question)
            await thinking.answer(self._request.system, messages, self._request.tools)
            sentences.put_nowait(None)
            await speaking
        except (EngineUnavailable, NoModelAnswered, TurnTimedOut):
            self._turn = None
            self._end(EngineClosed("failed", retryable=True))
            return
        finally:
            thinking.cancel()
            speaking.cancel()
            await asyncio.wait({speaking})
        self._exchanges.append(turn.exchange)
        self._turn = None
        self._put(TurnEnded(thinking.input_tokens, thinking.output_tokens))

    def _messages(self, question: str) -> list[Message]:
        messages = list(self._request.history)
        for exchange in self._exchanges:
            messages.append(Message(role="user", text=exchange.question))
            messages.append(Message(role="assistant", text=exchange.answer))
        return [*messages, Message(role="user", text=question)]

    async def _use(self, uses: Sequence[ToolUse]) -> Mapping[str, ToolResult]:
        waiting = {use.id: asyncio.get_running_loop().create_future() for use in uses}
        self._tools.update(waiting)
        for use in uses:
            arguments = use.arguments if isinstance(use.arguments, dict) else {}
            self._put(ToolRequest(use.id, use.name, arguments))
        await asyncio.wait(waiting.values(), timeout=TOOL_SECONDS)
        late = ToolResult(content={"error": "The tool gave no result."}, is_error=True, error_kind="timeout")
        return {id_: future.result() if future.done() else late for id_, future in waiting.items()}

    async def _speak(self, turn: _Turn, sentences: "asyncio.Queue[str | None]") -> None:
        while (sentence := await sentences.get()) is not None:
            text = speakable(sentence)
            if not text:
                continue
            await self._clock.sleep(max(0.0, self._playing_until - self._clock.now() - AHEAD_SECONDS))
            async for piece in self._synthesizer.speak(text, self._voice):
                if isinstance(piece, str):
                    self._put(AssistantTranscript(piece, spoken=False))
                    turn.exchange.answer = f"{turn.exchange.answer}{piece}"
                else:
                    turn.spoken = True
                    now = self._clock.now()
                    self._playing_until = max(now, self._playing_until) + output_seconds(len(piece))
                    self._put(AssistantAudio(piece))
            turn.exchange.answer += " "

    # How it ends.

    def _check_open(self) -> None:
        if self._over:
            raise EngineUnavailable

    def _end(self, closed: EngineClosed) -> None:
        if self._over:
            return
        self._over = True
        if self._turn is not None and self._turn.task is not None:
            self._turn.task.cancel()
        self._events.put_nowait(closed)

    def _put(self, event: EngineEvent) -> None:
        if not self._over:
            self._events.put_nowait(event)

    def _drain(self) -> list[EngineEvent]:
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _together(parts: Sequence[Recognised]) -> str:
    """What was said; where several people spoke, with who said it."""
    if len({part.speaker for part in parts}) == 1:
        return " ".join(part.text.strip() for part in parts)
    return "\n".join(f"Speaker {part.speaker or '?'}: {part.text.strip()}" for part in parts)
