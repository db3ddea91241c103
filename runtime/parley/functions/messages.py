"""The WebSocket interface: what clients send, and how `parley.server_messages` go over the connection."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec

from parley.aws.connection_posts import MESSAGE_BYTES, Connection, ConnectionGone, ConnectionUnreachable
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


class ClientMessage(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action", omit_defaults=True
):
    """Base of what a client sends; `action` chooses the route."""


class SessionStart(ClientMessage, frozen=True, kw_only=True, tag="session.start"):
    """Begin, or go on after a new connection. The session is the ticket's; naming another is an error."""

    session_id: str | None = None
    last_seq: int | None = None
    engine: str | None = None
    language: str | None = None


class Text(ClientMessage, frozen=True, kw_only=True, tag="text"):
    """A message of text. Without a `conversation_id` it begins a conversation."""

    message: MessageText
    conversation_id: ConversationId | None = None
    request_id: RequestId | None = None
    model_role: ChatRole = "quick"


class Ping(ClientMessage, frozen=True, kw_only=True, tag="ping"):
    """Asks for a pong, and keeps the connection open."""


class SessionEnd(ClientMessage, frozen=True, kw_only=True, tag="session.end"):
    """Ends the session."""


type FromClient = SessionStart | Text | Ping | SessionEnd


class TurnOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the `websocket` function hands to the `turn` function. The identity is the authorizer's."""

    connection_id: str
    subject: str
    message: str
    conversation_id: str | None = None
    request_id: str | None = None
    model_role: Literal["quick", "reasoning"] = "quick"


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
