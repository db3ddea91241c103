"""Where conversations are kept. Every operation is keyed by the caller's verified subject."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from parley.conversation.turns import Conversation, RequestKey, Turn


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The latest turns of a conversation, oldest first, and how many turns it has in all."""

    turns: Sequence[Turn]
    turn_count: int


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A question and its answer, stored together or not at all."""

    question: Turn
    answer: Turn
    title: str
    """The title for a conversation that begins with this exchange."""
    request: RequestKey | None = None


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer found by its request."""

    conversation_id: str
    turn: Turn
    fingerprint: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations, the newest first, and where the next page begins (None: this was the last)."""

    conversations: Sequence[Conversation]
    cursor: str | None


class ConversationStore(Protocol):
    """The caller's conversations. Every method raises StoreUnavailable when the store does not answer."""

    def history(self, subject: str, conversation_id: str, limit: int) -> History:
        """The last `limit` turns. Raises ConversationNotFound."""

    def append(self, subject: str, conversation_id: str, exchange: Exchange, *, turn_count: int) -> None:
        """Store an exchange after the `turn_count` turns that the caller saw; 0 begins the conversation.

        Turns stored meanwhile go first. Raises ConversationNotFound (it was deleted meanwhile), ConversationBusy, and
        AlreadyAnswered when this request's answer is stored.
        """

    def answer_to(self, subject: str, request: RequestKey) -> StoredAnswer | None:
        """The stored answer to a request, if there is one. Raises ConversationNotFound when it was deleted since."""

    def page(self, subject: str, limit: int, cursor: str | None) -> Page:
        """The caller's conversations. Raises ValidationFailed for a cursor that is not the caller's."""

    def conversation(self, subject: str, conversation_id: str) -> Conversation:
        """One conversation. Raises ConversationNotFound."""

    def turns(self, subject: str, conversation_id: str) -> Iterator[Turn]:
        """All turns, oldest first."""

    def delete(self, subject: str, conversation_id: str) -> None:
        """Remove the conversation and everything that belongs to it. Raises ConversationNotFound."""
