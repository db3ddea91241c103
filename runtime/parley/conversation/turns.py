"""Conversations and their turns, whatever the medium."""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Literal

import msgspec

from parley.knowledge.passages import Citation

type Role = Literal["user", "assistant"]
type Medium = Literal["text", "voice"]
type Knowledge = Literal["used", "none", "unavailable", "off"]

MESSAGE_LENGTH = 32_000
"""Characters of one user message: about 8,000 tokens of English, and under the 128 KB of a WebSocket message."""

TITLE_LENGTH = 60
"""Characters of a conversation's title, which is the beginning of its first message."""

GUARDRAIL = "guardrail"
"""What a stored answer names as its model when a guardrail blocked or changed it."""

_ID = re.compile(r"[0-9a-f]{28}")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn consumed. `cost_usd` is None for a model without a known price: never silently zero."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation. `created_at` is ISO 8601, UTC."""

    turn_id: str
    role: Role
    text: str
    created_at: str
    medium: Medium = "text"
    citations: tuple[Citation, ...] = ()
    knowledge: Knowledge | None = None
    model: str | None = None
    usage: Usage | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without its turns. Times are ISO 8601, UTC."""

    conversation_id: str
    title: str
    created_at: str
    updated_at: str
    turn_count: int


class RequestKey(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a retried request the same request.

    `key` is the caller's idempotency key. `fingerprint` stands for the request's content; it is keyed with `key`, so
    that the store, which keeps it in clear, does not confirm a guessed message.
    """

    key: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """The key as it is stored: SHA-256, hexadecimal."""
        return hashlib.sha256(self.key.encode()).hexdigest()


def new_id(now: datetime) -> str:
    """An id for a conversation or a turn: 28 hexadecimal digits that sort by time (milliseconds, then random)."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(8)}"


def is_id(text: str) -> bool:
    """Could `text` be an id made by `new_id`? Anything else names nothing, and must not reach a key."""
    return _ID.fullmatch(text) is not None


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds: `2026-11-21T09:30:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def title_of(message: str) -> str:
    """A conversation's title: the beginning of its first message, on one line."""
    line = " ".join(message[: TITLE_LENGTH * 4].split())
    return line if len(line) <= TITLE_LENGTH else f"{line[: TITLE_LENGTH - 1].rstrip()}…"
