"""`InvokeModelWithBidirectionalStream`: a stand-in for Nova 2 Sonic, which listens, calls tools and answers.

The protocol and its limits are the service's. Behind them are a voice activity detector, a recogniser, the text model
that Converse has, and espeak-ng.
"""

import asyncio
import base64
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from sandbox.models.event_stream import encode_event
from sandbox.models.faults import Fault, Faults
from sandbox.models.ollama import Message
from sandbox.models.speech import sonic_tools
from sandbox.models.speech.audio import BYTES_A_SAMPLE, Resampler, seconds
from sandbox.models.speech.cues import Arrivals, MarkedEar
from sandbox.models.speech.duplex import Broken, Exchange, ServiceError
from sandbox.models.speech.espeak import Mark
from sandbox.models.speech.hearing import RATE, Began, Ear, Utterance
from sandbox.models.speech.limits import Limits, run_together
from sandbox.models.speech.recogniser import Recogniser
from sandbox.models.speech.settings import Settings
from sandbox.models.speech.sonic_input import (
    Audio,
    AudioEnd,
    Inputs,
    PromptEnd,
    PromptStart,
    SessionEnd,
    SessionStart,
    Text,
    ToolResult,
)
from sandbox.models.speech.sonic_output import INTERRUPTED_TEXT, Outputs, StopReason
from sandbox.models.speech.speaking import sentences, speak
from sandbox.models.tools import arguments, choose

MODELS = frozenset({"amazon.nova-2-sonic-v1:0"})
OPERATION, ANSWER = "InvokeModelWithBidirectionalStream", "SpokenAnswer"
LONGEST_STREAM, LONGEST_SILENCE = 480.0, 55.0
TIMED_OUT = "Model has timed out in processing the request. Try your request again."
NO_AUDIO = (
    "Timed out waiting for audio bytes or interactive content. Please ensure gaps between audio bytes and interactive "
    "content are less than 55 seconds."
)
# Seconds: of audio in one audioOutput event; that the first ones may be ahead of the pace; between looks at playback.
_CHUNK, _HEAD_START, _LOOK = 0.08, 0.5, 0.02
_CITATION = re.compile(r"\s*\[\d+\]")


class TextModel(Protocol):
    """What answers: `sandbox.models.app.LanguageModel`."""

    def answer(self, messages: Sequence[Message], options: dict[str, Any]) -> AsyncIterator[str]:
        """The answer in pieces."""


@dataclass(frozen=True)
class Behind:
    """What stands behind the speech endpoints."""

    settings: Settings
    faults: Faults
    recogniser: Recogniser
    model: TextModel
    count_tokens: Callable[[str], int]
    arrivals: Arrivals = field(default_factory=Arrivals)


def nova_sonic(behind: Behind) -> Callable[[Exchange], Awaitable[None]]:
    """The operation's handler."""

    async def handle(exchange: Exchange) -> None:
        model = exchange.path["model"]
        if model.removeprefix("us.").removeprefix("eu.") not in MODELS:
            raise ServiceError("ValidationException", "The provided model identifier is invalid.")
        if (fault := await behind.faults.meet(model, OPERATION, "")) and fault.error:
            raise ServiceError(fault.error, "This fault was asked for by a test.", fault.status)
        await exchange.begin()
        await _Session(behind, exchange, model).run()

    return handle


@dataclass(frozen=True)
class _Sentence:
    """A sentence that was sent: when its audio begins and ends in the answer, in seconds, and when each word does."""

    text: str
    start: float
    end: float
    marks: tuple[Mark, ...]

    def until(self, position: float) -> str:
        """The words that were heard by then."""
        words = [mark for mark in self.marks if mark.kind == "word" and mark.start < len(self.text)]
        cut = next((b.start for a, b in pairwise(words) if self.start + b.time > position), len(self.text))
        return self.text[:cut].strip()


class _Session:
    def __init__(self, behind: Behind, exchange: Exchange, model: str) -> None:
        self._behind = behind
        self._settings = behind.settings
        self._exchange = exchange
        self._model = model
        self._inputs = Inputs()
        self._outputs: Outputs | None = None
        self._session: SessionStart | None = None
        self._prompt: PromptStart | None = None
        self._ear: Ear | MarkedEar | None = None
        self._resampler: Resampler | None = None
        self._history: list[Message] = []
        self._turns: asyncio.Queue[Utterance | str | None] = asyncio.Queue()
        self._results: dict[str, asyncio.Future[str]] = {}
        self._limits = Limits(behind.settings)
        self._limits.after_start(LONGEST_STREAM, ServiceError("ModelTimeoutException", TIMED_OUT))
        self._limits.after_silence(LONGEST_SILENCE, ServiceError("ValidationException", NO_AUDIO))
        self._heard_seconds = 0.0
        # The answer that is being said: what was sent, since when, and whether the user has broken in.
        self._said: list[_Sentence] = []
        self._saying = False
        self._since = self._heard_since = 0.0
        self._barged = False
        self._leaving = False

    async def run(self) -> None:
        """Until the client leaves, or a limit is met."""
        await run_together(self._read(), self._take_turns(), self._limits.watch())
        if self._outputs:
            await self._outputs.finish()

    async def _send(self, event: bytes) -> None:
        await self._exchange.send(encode_event("chunk", {"bytes": base64.b64encode(event).decode()}))

    # What comes in.

    async def _read(self) -> None:
        try:
            async for message in self._exchange.messages():
                try:
                    payload = base64.b64decode(json.loads(message.payload)["bytes"], validate=True)
                except (ValueError, KeyError, TypeError):
                    raise ServiceError("ValidationException", "The chunk holds no bytes.") from None
                self._take(self._inputs.take(payload))
        finally:
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        for waiting in self._results.values():
            waiting.cancel()
        self._turns.put_nowait(None)

    def _take(self, taken: object) -> None:
        if not isinstance(taken, Audio) or taken.pcm:
            self._limits.heard()
        match taken:
            case SessionStart():
                self._session = taken
                pause = self._settings.pause or taken.pause
                self._ear = MarkedEar(self._behind.arrivals) if self._settings.cues else Ear(pause)
            case PromptStart():
                self._prompt = taken
                self._outputs = Outputs(self._send, taken.rate, taken.name)
            case Text(interactive=True):
                self._interrupt()
                self._turns.put_nowait(taken.text)
            case Text():
                self._history.append(Message(taken.role.lower(), taken.text))
            case Audio():
                self._listen(taken)
            case AudioEnd() if self._ear:
                self._resampler = None
                for utterance in self._ear.finish():
                    self._hear(utterance)
            case ToolResult():
                waiting = self._results.get(taken.tool_use_id)
                if waiting is None:
                    raise ServiceError("ValidationException", "The tool result answers no tool use.")
                if not waiting.done():
                    waiting.set_result(taken.content)
            case PromptEnd() | SessionEnd():
                self._leave()

    def _listen(self, audio: Audio) -> None:
        self._heard_seconds += seconds(audio.pcm, audio.rate)
        if self._resampler is None:
            self._resampler = Resampler(audio.rate, RATE)
        for found in self._ear.feed(self._resampler.feed(audio.pcm)) if self._ear else ():
            self._hear(found)

    def _hear(self, found: Began | Utterance) -> None:
        if isinstance(found, Began):
            self._interrupt()
        else:
            self._turns.put_nowait(found)

    def _interrupt(self) -> None:
        if self._saying:
            self._barged = True

    # What goes out.

    async def _take_turns(self) -> None:
        while (heard := await self._turns.get()) is not None:
            try:
                await self._turn(heard)
            except asyncio.CancelledError:
                # A tool's result that will not come any more, because the client leaves.
                if not self._leaving:
                    raise

    async def _turn(self, heard: Utterance | str) -> None:
        outputs, prompt = self._outputs, self._prompt
        if outputs is None or prompt is None:
            return
        await outputs.start()
        if isinstance(heard, Utterance):
            said = self._settings.transcript or (await self._behind.recogniser.hear(heard.pcm)).text
            if not said:
                return
            await outputs.text("USER", said, "FINAL")
        else:
            said = heard
        fault = await self._behind.faults.meet(self._model, ANSWER, said)
        if fault and fault.error:
            raise ServiceError(fault.error, "This fault was asked for by a test.")
        answer = await self._answer(said, outputs, prompt)
        spoken = await self._say(answer, outputs, prompt, fault)
        self._history += [Message("user", said), Message("assistant", spoken or "...")]
        await outputs.usage(
            heard=seconds(heard.pcm, RATE) if isinstance(heard, Utterance) else 0.0,
            read=sum(self._behind.count_tokens(message.text) for message in self._history[:-1]),
            spoken=self._said[-1].end if self._said else 0.0,
            written=self._behind.count_tokens(answer),
        )

    async def _answer(self, said: str, outputs: Outputs, prompt: PromptStart) -> str:
        if self._settings.answer is not None:
            return self._settings.answer
        question = said
        if tool := choose(prompt.tools, said):
            found = await self._use(tool.name, arguments(tool, said), outputs)
            grounded = sonic_tools.prompt(found, said)
            if grounded is None:
                return sonic_tools.statement(found)
            question = grounded
        messages = [*self._history, Message("user", question)]
        options = {"num_predict": self._session.max_tokens} if self._session else {}
        text = "".join([piece async for piece in self._behind.model.answer(messages, options)])
        # Nobody wants to hear the numbers of passages.
        return _CITATION.sub("", text)

    async def _use(self, tool: str, arguments: dict[str, Any], outputs: Outputs) -> str:
        # Known before the client can answer.
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        tool_use_id = str(uuid.uuid4())
        self._results[tool_use_id] = result
        await outputs.tool_use(tool_use_id, tool, arguments)
        try:
            return await result
        finally:
            # A second result for the same use is refused.
            del self._results[tool_use_id]

    async def _say(self, answer: str, outputs: Outputs, prompt: PromptStart, fault: Fault | None) -> str:
        """Send the answer and wait until it has been played; returns what was heard of it."""
        self._said, self._barged = [], False
        parts = sentences(answer)
        breaks = _Breaks(fault)
        try:
            for number, text in enumerate(parts):
                await outputs.text("ASSISTANT", text, "SPECULATIVE")
                speech = await speak(text, prompt.voice.espeak(), prompt.rate)
                begin = self._said[-1].end if self._said else 0.0
                length = seconds(speech.pcm, prompt.rate)
                self._said.append(_Sentence(text, begin, begin + length, speech.marks))
                content = await outputs.begin_audio()
                whole = await self._send_audio(outputs, content, speech.pcm, prompt.rate, begin, breaks)
                stop: StopReason = "END_TURN" if number == len(parts) - 1 else "PARTIAL_TURN"
                await outputs.end_audio(content, stop if whole else "INTERRUPTED")
                if not whole:
                    break
            return await self._play(outputs)
        finally:
            self._saying = False

    async def _send_audio(
        self, outputs: Outputs, content: str, pcm: bytes, rate: int, begin: float, breaks: "_Breaks"
    ) -> bool:
        """Send a sentence at the session's pace; False when the user broke in."""
        step = round(_CHUNK * rate) * BYTES_A_SAMPLE
        for start in range(0, len(pcm), step):
            if not self._saying:
                self._saying, self._since, self._heard_since = True, time.monotonic(), self._heard_seconds
            ahead = begin + seconds(pcm[:start], rate) - _HEAD_START
            while not self._barged and (wait := ahead / self._settings.pace - (time.monotonic() - self._since)) > 0:
                await asyncio.sleep(min(wait, _LOOK))
            if self._barged:
                return False
            breaks.check()
            await outputs.audio(content, pcm[start : start + step])
        return not self._barged

    async def _play(self, outputs: Outputs) -> str:
        """Report each sentence when it has been played, and the interruption; returns what was heard."""
        heard = []
        for sentence in self._said:
            while not self._barged and not self._leaving and self._position() < sentence.end:
                await asyncio.sleep(_LOOK)
            if self._barged and (position := self._position()) < sentence.end:
                if part := sentence.until(position) if position > sentence.start else "":
                    await outputs.text("ASSISTANT", part, "FINAL")
                    heard.append(part)
                await outputs.text("ASSISTANT", INTERRUPTED_TEXT, "FINAL", "INTERRUPTED")
                break
            last = sentence is self._said[-1]
            await outputs.text("ASSISTANT", sentence.text, "FINAL", "END_TURN" if last else "PARTIAL_TURN")
            heard.append(sentence.text)
        return " ".join(heard)

    def _position(self) -> float:
        """How much of the answer has been played: as long as it took, or as the user's microphone has run meanwhile."""
        return max(time.monotonic() - self._since, self._heard_seconds - self._heard_since)


class _Breaks:
    """Breaks an answer off after some audio, when a test asked for it."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._sent = 0

    def check(self) -> None:
        """Before each piece of audio."""
        if self._fault and self._fault.break_after is not None and self._sent >= self._fault.break_after:
            if self._fault.kill:
                raise Broken
            raise ServiceError("ModelStreamErrorException", "The stream was broken by a test.")
        self._sent += 1
