"""What the server sends over a WebSocket connection: JSON messages, told apart by `type`."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from parley.conversation.turns import Knowledge, Medium
from parley.errors import ParleyError
from parley.knowledge.passages import Citation


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedCitation(Citation):
    """A passage that an answer refers to. Only a fresh answer has `source_url`, which opens the document for 15 minutes
    (a PDF at the passage's page): later, `GET /knowledge/documents/{document_id}` gives another.
    """

    source_url: str | None = None


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of what the server sends."""


class SessionReady(ServerMessage, frozen=True, kw_only=True, tag="session.ready"):
    """The session can be used."""

    session_id: str
    conversation_id: str | None = None
    engine: str | None = None
    """The speech engine, in voice sessions."""
    language: str | None = None
    next_seq: int | None = None
    """The first audio frame that is not kept yet: the client sends from there."""


class MessageDelta(ServerMessage, frozen=True, kw_only=True, tag="message.delta"):
    """The next piece of an answer."""

    turn_id: str
    text: str
    request_id: str | None = None


class MessageDone(ServerMessage, frozen=True, kw_only=True, tag="message.done"):
    """An answer, whole and stored. It replaces the pieces."""

    turn_id: str
    conversation_id: str
    message: str
    citations: tuple[LinkedCitation, ...]
    model: str
    knowledge: Knowledge
    request_id: str | None = None
    medium: Medium = "text"

    # Clients may rely on `citations` even when there are none: an empty tuple is no default here.


class UsageReport(ServerMessage, frozen=True, kw_only=True, tag="usage"):
    """What a turn consumed; `cost_usd` is null for a model without a known price."""

    turn_id: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Transcript(ServerMessage, frozen=True, kw_only=True, tag="transcript"):
    """What was said in a voice turn. A text that is not final is replaced by the turn's next of the same role."""

    turn_id: str
    role: Literal["user", "assistant"]
    text: str
    final: bool

    # `final` is always there: clients decide by it.


class AudioMessage(ServerMessage, frozen=True, kw_only=True, tag="audio"):
    """The next piece of a turn's voice: base64 of PCM, 16-bit little-endian mono at 24 kHz."""

    turn_id: str
    data: str


class Ack(ServerMessage, frozen=True, kw_only=True, tag="ack"):
    """Every audio frame up to `seq` is kept: the client may forget them."""

    seq: int


class Resend(ServerMessage, frozen=True, kw_only=True, tag="resend"):
    """Audio frames that have not arrived, first and last included: send them again."""

    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")


class InterruptedMessage(ServerMessage, frozen=True, kw_only=True, tag="interrupted"):
    """The user spoke into the answer: stop its playback at once, and drop what is queued of it.

    `heard_ms` is how much of its voice counts as heard.
    """

    turn_id: str
    heard_ms: int | None = None


class ToolNotice(ServerMessage, frozen=True, kw_only=True, tag="tool"):
    """The model uses a tool."""

    turn_id: str
    name: str
    status: Literal["started", "done", "failed"]


class Pong(ServerMessage, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""


type EndReason = Literal["ended", "idle", "replaced", "taken_over", "flood", "failed", "limit"]


class SessionEnded(ServerMessage, frozen=True, kw_only=True, tag="session.ended"):
    """The session is over, for this connection.

    `ended`: somebody ended it; `idle`: nobody spoke for ten minutes; `replaced`: another connection took it over;
    `flood`: more audio came than time passed; `limit`: the day's voice minutes are used up; `failed`: it cannot go on.
    """

    reason: EndReason = "ended"


class ErrorMessage(ServerMessage, frozen=True, kw_only=True, tag="error"):
    """A message was refused, or its turn failed; nothing of it is stored. `retryable`: send it again, by itself if it
    likes. `retry_after`: in how many seconds that may help.
    """

    code: str
    message: str
    retryable: bool
    request_id: str | None = None
    retry_after: int | None = None

    @classmethod
    def of(cls, error: ParleyError, request_id: str | None = None) -> "ErrorMessage":
        """The message for an error."""
        return cls(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            request_id=request_id,
            retry_after=error.retry_after,
        )


type FromServer = (
    SessionReady
    | MessageDelta
    | MessageDone
    | UsageReport
    | Transcript
    | AudioMessage
    | Ack
    | Resend
    | InterruptedMessage
    | ToolNotice
    | Pong
    | SessionEnded
    | ErrorMessage
)
