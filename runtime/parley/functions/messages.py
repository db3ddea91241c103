"""The WebSocket interface: what clients send, and how `parley.server_messages` go over the connection."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec

from parley.aws.connection_posts import MESSAGE_BYTES, Connection, ConnectionGone, ConnectionUnreachable
from parley.conversation.turns import Medium
from parley.functions.answering import ChatRole
from parley.functions.schemas import ConversationId, MessageText
from parley.functions.telemetry import logger
from parley.server_messages import ErrorMessage, MessageDelta, ServerMessage

DELTA_SECONDS = 0.05
"""Pieces of an answer are gathered this long: models send one for every few characters, and each post takes time."""

DELTA_CHARACTERS = 400
"""Or until there are this many characters."""

DELTA_BYTES = 24 * 1024
"""UTF-8 bytes of text in one delta at most; JSON's escapes and the envelope fit into the rest of the message."""

type RequestId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, description="Makes a retry safe; comes back with the answer.")
]
type Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
type Seq = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
type Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
type Base64 = Annotated[str, msgspec.Meta(extra_json_schema={"contentEncoding": "base64"})]


class ClientMessage(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action", omit_defaults=True
):
    """Base of what a client sends; `action` chooses the route."""


class SessionStart(ClientMessage, frozen=True, kw_only=True, tag="session.start"):
    """Begin, or go on after a new connection. The session is the ticket's; naming another is an error.

    A voice session is ready when `session.ready` comes: within 5 seconds, or `error` says `session_unavailable`. What
    is fixed while the session lasts (engine, language, voice, conversation) need not be said again.
    """

    session_id: str | None = None
    medium: Medium = "text"
    conversation_id: ConversationId | None = None
    """Goes on by voice with a conversation that exists."""
    last_seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    """The number of the last audio frame that was sent: the server asks for what is missing up to there."""
    engine: Name | None = None
    language: Name | None = None
    voice: Name | None = None


class Audio(ClientMessage, frozen=True, kw_only=True, tag="audio"):
    """A piece of what the user says: 10 to 200 ms, best 90, of PCM, 16-bit little-endian mono at 16 kHz, in base64.

    It is never answered itself: `ack` says what is kept, `resend` what is missing. A frame is written once, and one
    that is no number and base64 is not written at all. Frames sent before `session.start` belong to the session.
    """

    seq: Seq
    """Counts from 1 without gaps, and goes on over reconnections."""
    data: Base64


class Played(ClientMessage, frozen=True, kw_only=True, tag="played"):
    """How much of a turn's voice the user has heard: every half second, at an interruption, and at the end."""

    turn_id: Name
    ms: Milliseconds
    """From the beginning of the turn's voice."""


class Text(ClientMessage, frozen=True, kw_only=True, tag="text"):
    """A message of text. Without a `conversation_id` it begins a conversation.

    In a voice session it is answered there, by voice, and is at most 4,000 characters long; with another conversation's
    id it is answered by text as ever.
    """

    message: MessageText
    conversation_id: ConversationId | None = None
    request_id: RequestId | None = None
    model_role: ChatRole = "quick"


class Ping(ClientMessage, frozen=True, kw_only=True, tag="ping"):
    """Asks for a pong, and keeps the connection open.

    In a voice session, every 5 seconds: a ping that finds the session's worker dead starts another.
    """


class SessionEnd(ClientMessage, frozen=True, kw_only=True, tag="session.end"):
    """Ends the session."""


type FromClient = SessionStart | Audio | Played | Text | Ping | SessionEnd


class TurnOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the `websocket` function hands to the `turn` function. The identity is the authorizer's."""

    connection_id: str
    subject: str
    message: str
    conversation_id: str | None = None
    request_id: str | None = None
    model_role: Literal["quick", "reasoning"] = "quick"
    correlation_id: str | None = None
    asked_at: int | None = None
    """When API Gateway took the message, in milliseconds since the epoch."""


class WorkerOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the session worker is invoked with. All else stands on the session's item."""

    session_id: str
    correlation_id: str | None = None


class Outbox:
    """Sends messages to one connection. Once the client has left it swallows them: the turn goes on and is stored."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_open = True

    def send(self, message: ServerMessage) -> None:
        """Post a message, or nothing when the client has left. One that is too large becomes a documented error."""
        if not self.is_open:
            return
        data = msgspec.json.encode(message)
        if len(data) > MESSAGE_BYTES:
            data = msgspec.json.encode(_too_large(message))
        try:
            self._connection.post(data)
        except ConnectionGone:
            self.is_open = False
        except ConnectionUnreachable:
            logger.warning("The connection takes no more messages")
            self.is_open = False


class Deltas:
    """Gathers the pieces of an answer into few messages."""

    def __init__(
        self,
        outbox: Outbox,
        turn_id: str,
        request_id: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._turn_id = turn_id
        self._request_id = request_id
        self._clock = clock
        self._pieces: list[str] = []
        self._length = 0
        self._sent_at = float("-inf")

    def add(self, text: str) -> None:
        """Take a piece; send what is gathered when it is long or old enough. The first piece goes at once."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length >= DELTA_CHARACTERS or self._clock() - self._sent_at >= DELTA_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is gathered."""
        text = "".join(self._pieces)
        self._pieces.clear()
        self._length = 0
        for part in split_text(text, DELTA_BYTES):
            self._outbox.send(MessageDelta(turn_id=self._turn_id, text=part, request_id=self._request_id))
        self._sent_at = self._clock()


def split_text(text: str, limit: int) -> Iterator[str]:
    """`text` in parts whose JSON takes at most `limit` bytes each (`limit` is at least 6, one escaped character)."""
    start = size = 0
    for position, character in enumerate(text):
        width = _json_bytes(character)
        if size + width > limit:
            yield text[start:position]
            start, size = position, 0
        size += width
    if start < len(text):
        yield text[start:]


def _json_bytes(character: str) -> int:
    if character < " ":
        return 6
    if character in '"\\':
        return 2
    return len(character.encode("utf-8", "surrogatepass"))


def _too_large(message: ServerMessage) -> ErrorMessage:
    fields: dict[str, Any] = msgspec.structs.asdict(message)
    conversation_id = fields.get("conversation_id")
    place = f"GET /conversations/{conversation_id}" if conversation_id else "the HTTP API"
    return ErrorMessage(
        code="payload_too_large",
        message=f"The answer is stored, but larger than one message; read it with {place}.",
        retryable=False,
        request_id=fields.get("request_id"),
    )
