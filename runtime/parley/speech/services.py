"""What the cascade is made of besides a language model: a recogniser that hears, and a synthesizer that speaks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from parley.speech.voices import Voice


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the recogniser makes of a stretch of speech; a later one with the same `id` replaces it."""

    id: str
    text: str
    final: bool
    language: str | None = None
    """The language it was taken for, where the recogniser was to find out."""
    speaker: str | None = None
    """Whose voice it is, where the recogniser was to tell voices apart: "0", "1"."""


class Recognition(Protocol):
    """One open connection to a recogniser. Methods raise EngineUnavailable once it is lost."""

    async def send(self, pcm: bytes) -> None:
        """The next of what the user says: PCM at INPUT_RATE."""

    def results(self) -> AsyncIterator[Recognised]:
        """What was heard, until the service ends the connection. Raises EngineUnavailable when it broke."""

    async def close(self) -> None:
        """End the connection, within seconds."""


class Recogniser(Protocol):
    """Opens connections to a recogniser."""

    @property
    def lifetime_seconds(self) -> float | None:
        """How long the service keeps a connection."""

    @property
    def idle_seconds(self) -> float | None:
        """How long the service waits for audio."""

    async def open(self, language: str) -> Recognition:
        """A connection for one language. Raises EngineUnavailable."""


type SpokenPiece = str | bytes
"""A piece of the text, and after it its voice: PCM at OUTPUT_RATE."""


class Synthesizer(Protocol):
    """Speaks."""

    def speak(self, text: str, voice: Voice) -> AsyncIterator[SpokenPiece]:
        """The text in pieces, each before its audio; together they are the text. Raises EngineUnavailable."""

    async def close(self) -> None:
        """Give its connections up, within seconds."""
