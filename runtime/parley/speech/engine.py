"""Speech engines: what takes the user's voice and gives the assistant's."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from parley.conversation.models import Message
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.errors import ParleyError
from parley.speech.voices import SpeechEngineVoices


@dataclass(frozen=True, slots=True)
class UserTranscript:
    """What the user says. A text that is not final is replaced by the next."""

    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The utterance is over, and an answer to it begins."""

    audio_seconds: float | None = None
    """Where the utterance ended, in seconds of the audio that this connection was sent; None when the engine cannot
    tell, and then all that was sent counts. What came later is heard again if the answer is never given."""


@dataclass(frozen=True, slots=True)
class AssistantTranscript:
    """A piece of what the assistant says, in order: not yet `spoken` when its audio follows, `spoken` once its audio
    was given out. An engine gives its pieces in the one way, in the other, or first so and then so.
    """

    text: str
    spoken: bool


@dataclass(frozen=True, slots=True)
class AssistantAudio:
    """The next piece of the assistant's voice: PCM at OUTPUT_RATE."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """The model wants a tool's result; the engine goes on taking audio meanwhile."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user speaks into the answer: it ends here."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The answer is complete. Tokens are None when the engine does not tell."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EngineClosed:
    """The engine's connection is over; nothing follows."""

    reason: Literal["ended", "limit", "failed"]
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class HeardAnew:
    """Another connection took over: what was said and is not answered yet is heard from its beginning again."""


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine does not answer; it is tried again, and what is said meanwhile is kept."""


type EngineEvent = (
    UserTranscript
    | TurnStarted
    | AssistantTranscript
    | AssistantAudio
    | ToolRequest
    | Interrupted
    | TurnEnded
    | EngineClosed
    | HeardAnew
    | EngineLost
)
"""HeardAnew and EngineLost come from `parley.speech.continuation`, never from a connection.

In a turn: UserTranscript, TurnStarted, then the assistant's and tool requests, then TurnEnded or Interrupted."""


class EngineUnavailable(ParleyError):
    """The speech engine cannot be reached, or refused the session."""

    code = "engine_unavailable"
    default_message = "The speech engine does not answer; try again in a moment."
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """What a conversation with an engine begins with."""

    system: str
    language: str
    """A BCP 47 tag of `parley.speech.voices`."""
    voice: str | None = None
    """A voice of the engine; without one its first of the language."""
    history: Sequence[Message] = ()
    """Earlier messages, alternating, beginning with the user's."""
    tools: Sequence[ToolSpec] = ()


class SpeechEngine(Protocol):
    """One open connection to an engine. Its methods raise EngineUnavailable once the connection is lost."""

    async def send_audio(self, pcm: bytes) -> None:
        """The next of what the user says: PCM at INPUT_RATE."""

    async def send_text(self, text: str) -> None:
        """A message that the user typed; it is answered as a spoken one is."""

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        """The result of a ToolRequest."""

    async def heard(self, text: str) -> None:
        """Say how much the user heard of the answer that was interrupted: the engine's history keeps only that."""

    def events(self) -> AsyncIterator[EngineEvent]:
        """What happens, in order; the last is EngineClosed."""

    async def close(self) -> None:
        """End the connection; closing twice is no error."""


class EngineFactory(Protocol):
    """Opens connections to one engine."""

    @property
    def voices(self) -> SpeechEngineVoices:
        """What it speaks: languages, voices and models."""

    @property
    def model(self) -> str:
        """The model's id, as turns name it."""

    @property
    def lifetime_seconds(self) -> float | None:
        """How long the service keeps a connection; None without a limit."""

    @property
    def idle_seconds(self) -> float | None:
        """How long the service waits for audio before it ends a connection; None without a limit."""

    async def open(self, request: EngineRequest) -> SpeechEngine:
        """A connection that has taken the request. Raises EngineUnavailable."""
