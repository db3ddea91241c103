"""The types that the HTTP and WebSocket interfaces share. Generated documents take their schemas from here."""

from typing import Annotated

import msgspec

from parley.conversation.turns import MESSAGE_LENGTH, Conversation, Knowledge, Turn, Usage
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


class CitationView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage that the answer refers to as `[id]`."""

    id: int
    document_id: str
    document: str
    score: float
    text: str
    heading: str = ""
    page: int | None = None

    @classmethod
    def of(cls, citation: Citation) -> "CitationView":
        """The view of a citation."""
        return cls(
            id=citation.id,
            document_id=citation.document_id,
            document=citation.document,
            score=citation.score,
            text=citation.text,
            heading=citation.heading,
            page=citation.page,
        )


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a turn and their list price; `cost_usd` is null for a model without a known price."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None

    @classmethod
    def of(cls, usage: Usage) -> "UsageView":
        """The view of a usage."""
        return cls(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_usd=usage.cost_usd)


class TurnView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation. Times are ISO 8601, UTC."""

    turn_id: str
    role: str
    medium: str
    message: str
    created_at: str
    citations: tuple[CitationView, ...] = ()
    knowledge: Knowledge | None = None
    model: str | None = None
    usage: UsageView | None = None

    @classmethod
    def of(cls, turn: Turn) -> "TurnView":
        """The view of a turn."""
        return cls(
            turn_id=turn.turn_id,
            role=turn.role,
            medium=turn.medium,
            message=turn.text,
            created_at=turn.created_at,
            citations=tuple(map(CitationView.of, turn.citations)),
            knowledge=turn.knowledge,
            model=turn.model,
            usage=UsageView.of(turn.usage) if turn.usage else None,
        )


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation without its messages. Times are ISO 8601, UTC."""

    conversation_id: str
    title: str
    created_at: str
    updated_at: str
    turn_count: int

    @classmethod
    def of(cls, conversation: Conversation) -> "ConversationView":
        """The view of a conversation."""
        return cls(
            conversation_id=conversation.conversation_id,
            title=conversation.title,
            created_at=conversation.created_at,
            updated_at=conversation.updated_at,
            turn_count=conversation.turn_count,
        )
