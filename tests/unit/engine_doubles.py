"""What tests of speech engines share: an engine's events taken down, and the AI endpoints in its environment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from parley.aws import bidirectional
from parley.speech.engine import AssistantAudio, AssistantTranscript, EngineEvent, SpeechEngine

from tests.unit.speech_doubles import Endpoint

PATIENCE = 20.0
FRAME = 2_880  # 90 ms


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    """Let the SDKs call these endpoints."""
    monkeypatch.setenv(bidirectional.ENDPOINT_VARIABLE, endpoint.url)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(endpoint.authority))
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    bidirectional._identity.cache_clear()


class Witness:
    """Takes an engine's events as they come."""

    def __init__(self, engine: SpeechEngine) -> None:
        self.engine = engine
        self.events: list[EngineEvent] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async for event in self.engine.events():
            self.events.append(event)
            self._news.set()

    async def until(self, wanted: Callable[[EngineEvent], bool] | type, times: int = 1) -> Any:
        """The event that is wanted, the `times`th of its kind, once it has come."""

        def fits(event: EngineEvent) -> bool:
            return isinstance(event, wanted) if isinstance(wanted, type) else wanted(event)

        async with asyncio.timeout(PATIENCE):
            while len(found := [event for event in self.events if fits(event)]) < times:
                self._news.clear()
                await self._news.wait()
        return found[times - 1]

    async def done(self) -> None:
        """Return when the engine has said its last."""
        await asyncio.wait_for(self._task, PATIENCE)

    @property
    def audio(self) -> bytes:
        return b"".join(event.pcm for event in self.events if isinstance(event, AssistantAudio))

    @property
    def said(self) -> str:
        """What was announced, before its audio."""
        return " ".join(
            event.text for event in self.events if isinstance(event, AssistantTranscript) and not event.spoken
        )

    @property
    def spoken(self) -> str:
        return "".join(
            event.text for event in self.events if isinstance(event, AssistantTranscript) and event.spoken
        ).strip()

    def kinds(self) -> list[str]:
        """The events' names, repetitions left out."""
        names = [type(event).__name__ for event in self.events]
        return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]


@contextlib.asynccontextmanager
async def witnessed(engine: SpeechEngine) -> AsyncIterator[Witness]:
    """An engine with a witness; closed at the end."""
    witness = Witness(engine)
    try:
        yield witness
    finally:
        await engine.close()
        await witness.done()


async def say(engine: SpeechEngine, pcm: bytes, *, silence: float = 1.5, pace: float = 8.0) -> None:
    """Send audio in frames, `pace` times faster than it was spoken, and some silence after it."""
    pcm += bytes(round(silence * 16_000) * 2)
    for start in range(0, len(pcm), FRAME):
        await engine.send_audio(pcm[start : start + FRAME])
        await asyncio.sleep(0.09 / pace)
