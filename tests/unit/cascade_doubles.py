"""The services of an engine made of three, scripted: a recogniser, a synthesizer, a language model, voice activity."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from parley.conversation.models import Completion, ModelChoice, Prompt
from parley.speech.activity import Began, Ended, VoiceActivity
from parley.speech.audio import output_bytes
from parley.speech.cascade import Cascade, cascade_factory
from parley.speech.engine import EngineRequest, EngineUnavailable
from parley.speech.services import Recognised
from parley.speech.voices import Voice

SPEECH, SILENCE, QUIET = b"\1" * 4, b"\2" * 4, b"\0" * 4


class LoopClock:
    """The event loop's own time, virtual or not."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Activity:
    """Hears speech and its end in marked frames."""

    def __init__(self) -> None:
        self.speaking = False
        self.frames = 0

    def feed(self, pcm: bytes) -> list[Began | Ended]:
        self.frames += 1
        if pcm == SPEECH and not self.speaking:
            self.speaking = True
            return [Began(float(self.frames))]
        if pcm == SILENCE and self.speaking:
            self.speaking = False
            return [Ended(float(self.frames))]
        return []


class Ear:
    """A recogniser, and its only connection."""

    lifetime_seconds: float | None = 100.0
    idle_seconds: float | None = 15.0

    def __init__(self) -> None:
        self.said: asyncio.Queue[Recognised | Exception | None] = asyncio.Queue()
        self.languages: list[str] = []
        self.audio = b""
        self.broken = False
        self.closed = 0

    async def open(self, language: str) -> "Ear":
        self.languages.append(language)
        return self

    async def send(self, pcm: bytes) -> None:
        if self.broken:
            raise EngineUnavailable
        self.audio += pcm

    async def results(self) -> AsyncIterator[Recognised]:
        while (item := await self.said.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def close(self) -> None:
        self.closed += 1
        self.said.put_nowait(None)

    def hear(self, text: str, *, final: bool = True, id_: str = "r1", language: str | None = None) -> None:
        self.said.put_nowait(Recognised(id_, text, final, language))


class Mouth:
    """A synthesizer: a tenth of a second of voice for each character, one piece for each word."""

    def __init__(self) -> None:
        self.spoken: list[tuple[str, str]] = []
        self.failing = False
        self.closed = False

    async def speak(self, text: str, voice: Voice) -> AsyncIterator[str | bytes]:
        self.spoken.append((text, voice.id))
        for word in text.split():
            if self.failing:
                raise EngineUnavailable
            yield word
            yield bytes(output_bytes(0.1 * len(word)))
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.closed = True


class Mind:
    """A language model that says what its script says: texts, uses of tools, failures."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.prompts: list[Prompt] = []
        self.ended: list[str] = []

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.prompts.append(prompt)
        step = self.script.pop(0) if self.script else "Yes."
        if isinstance(step, Exception):
            raise step
        try:
            if callable(step):
                return cast(Completion, step(on_text))
            if isinstance(step, Completion):
                if on_text and step.text:
                    on_text(step.text)
                return step
            for piece in step.split(" "):
                assert on_text
                on_text(piece + " ")
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("whole")
        return Completion(text=step, input_tokens=10, output_tokens=5)

    def texts(self, number: int = -1) -> list[tuple[str, str]]:
        return [(message.role, message.text) for message in self.prompts[number].messages]


class World:
    """An engine and its services."""

    def __init__(self, *script: Any, **request: Any) -> None:
        self.ear, self.mouth, self.mind, self.activity = Ear(), Mouth(), Mind(*script), Activity()
        models = ModelChoice(model=self.mind, ids_by_role={"quick": ["first"]}, pause=lambda _seconds: None)
        self.factory = cascade_factory(
            self.ear,
            lambda: self.mouth,
            models,
            clock=LoopClock(),
            activity=lambda: cast(VoiceActivity, self.activity),
        )
        self.request = EngineRequest(**({"system": "Be kind.", "language": "en-US"} | request))

    async def open(self) -> Cascade:
        engine = await self.factory.open(self.request)
        assert isinstance(engine, Cascade)
        return engine

    async def ask(self, engine: Cascade, text: str, id_: str = "r1") -> None:
        """An utterance: speech, its transcript, and its end."""
        await engine.send_audio(SPEECH)
        self.ear.hear(text, id_=id_)
        await engine.send_audio(SILENCE)
        await asyncio.sleep(0.01)
