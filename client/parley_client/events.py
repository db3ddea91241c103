"""What a session tells its program."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

INPUT_RATE = 16_000
"""Samples per second of what is sent: PCM, 16-bit little-endian, mono."""

OUTPUT_RATE = 24_000
"""Samples per second of what comes back, in the same format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The session can be used. It comes again after each reconnection."""

    session_id: str
    conversation_id: str | None = None
    engine: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting:
    """The connection is lost and will be made again. What is said meanwhile is kept."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What was said in a turn. A text that is not final is replaced by the turn's next of the same role."""

    turn_id: str
    role: Literal["user", "assistant"]
    text: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """The next piece of the assistant's voice: PCM at OUTPUT_RATE."""

    turn_id: str
    pcm: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The user spoke into the answer: stop its playback at once, and drop what is queued of it."""

    turn_id: str
    heard_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNotice:
    """The model uses a tool."""

    turn_id: str
    name: str
    status: Literal["started", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The next piece of an answer in text."""

    turn_id: str
    text: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A passage that an answer refers to."""

    id: int
    """The number it stands under in the answer's text: 1 for `[1]`."""
    document_id: str
    document: str
    text: str
    """A short excerpt of the passage."""
    score: float
    heading: str = ""
    page: int | None = None
    source_url: str | None = None
    """Opens the document for 15 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A turn's answer, whole and stored in the conversation."""

    turn_id: str
    conversation_id: str
    text: str
    citations: tuple[Citation, ...] = ()
    model: str = ""
    medium: str = "text"
    knowledge: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a turn consumed; `cost_usd` is None for a model without a known price."""

    turn_id: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The server refused a message, or a turn failed; the session goes on. `retryable`: say it again."""

    code: str
    message: str
    retryable: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The session is over; no event follows.

    `reason` as the server says it: `ended`, `idle` (nobody spoke for ten minutes), `replaced` (another connection took
    the session over), `flood` (audio came faster than it can be spoken), `failed`, ...; without one it was `ended`.
    """

    reason: str = "ended"


type Event = (
    Ready | Reconnecting | Transcript | Audio | Interrupted | ToolNotice | Delta | Answer | Usage | Problem | Ended
)

_PLAIN: Mapping[str, type[Event]] = {
    "session.ready": Ready,
    "transcript": Transcript,
    "interrupted": Interrupted,
    "tool": ToolNotice,
    "message.delta": Delta,
    "usage": Usage,
    "error": Problem,
    "session.ended": Ended,
}


def event_of(message: Mapping[str, Any]) -> Event | None:
    """The event that a server's message is; None for what this version does not know, or cannot read."""
    kind = message.get("type")
    try:
        if kind == "audio":
            return Audio(turn_id=message["turn_id"], pcm=base64.b64decode(message["data"], validate=True))
        if kind == "message.done":
            citations = tuple(_read(Citation, citation) for citation in message["citations"])
            return _read(Answer, {**message, "text": message["message"], "citations": citations})
        if isinstance(kind, str) and kind in _PLAIN:
            return _read(_PLAIN[kind], message)
    except (KeyError, TypeError, binascii.Error):
        return None
    if kind is None and "connectionId" in message:
        # API Gateway's own shape, when it cannot route a message or a function failed.
        return Problem(code="gateway", message=str(message.get("message", "")), retryable=True)
    return None


def _read[T: Event | Citation](kind: type[T], message: Mapping[str, Any]) -> T:
    """An event of the fields that it knows: a newer server may send others besides."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in message.items() if name in known})
