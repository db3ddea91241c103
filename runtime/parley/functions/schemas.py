"""The types that the HTTP and WebSocket interfaces share. Generated documents take their schemas from here."""

from dataclasses import asdict
from typing import Annotated

import msgspec

from parley.conversation.assistant import Answer
from parley.conversation.turns import MESSAGE_LENGTH, Knowledge, Turn, Usage
from parley.knowledge.passages import Citation
from parley.server_messages import LinkedCitation

# The limit is checked by the function rather than by the decoder, because it has a status of its own (413).
type MessageText = Annotated[
    str,
    msgspec.Meta(
        description=f"The user's message, 1 to {MESSAGE_LENGTH} characters.",
        extra_json_schema={"minLength": 1, "maxLength": MESSAGE_LENGTH},
    ),
]

type ConversationId = Annotated[str, msgspec.Meta(description="The id of one of the caller's conversations.")]


def linked_citations(answer: Answer) -> tuple[LinkedCitation, ...]:
    """An answer's citations with their links."""
    return tuple(
        LinkedCitation(**asdict(citation), source_url=answer.source_urls.get(citation.id))
        for citation in answer.turn.citations
    )


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
