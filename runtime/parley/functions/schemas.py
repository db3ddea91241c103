"""The types that the HTTP and WebSocket interfaces share. Generated documents take their schemas from here."""

from typing import Annotated

import msgspec

from parley.conversation.turns import MESSAGE_LENGTH, Knowledge, Turn, Usage
from parley.knowledge.passages import Citation

# The limit is checked by the function rather than by the decoder, because it has a status of its own (413).
type MessageText = Annotated[
    str,
    msgspec.Meta(
        description=f"The user's message, 1 to {MESSAGE_LENGTH} characters.",
        extra_json_schema={"minLength": 1, "maxLength": MESSAGE_LENGTH},
    ),
]

type ConversationId = Annotated[str, msgspec.Meta(description="The id of one of the caller's conversations.")]


class TurnView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation. Times are ISO 8601, UTC."""

    turn_id: str
    role: str
    medium: str
    message: str
    created_at: str
    citations: tuple[Citation, ...] = ()
    knowledge: Knowledge | None = None
    model: str | None = None
    usage: Usage | None = None

    @classmethod
    def of(cls, turn: Turn) -> "TurnView":
        """The view of a turn."""
        return cls(
            turn_id=turn.turn_id,
            role=turn.role,
            medium=turn.medium,
            message=turn.text,
            created_at=turn.created_at,
            citations=turn.citations,
            knowledge=turn.knowledge,
            model=turn.model,
            usage=turn.usage,
        )
