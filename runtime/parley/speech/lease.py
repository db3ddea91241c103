"""The lease on a live session: one worker owns it at a time, and what a former owner still writes is refused.

Each acquisition raises the session's epoch. Every write of a worker names its epoch and fails with LeaseLost when
another worker has acquired the session since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

LEASE_SECONDS = 10.0
"""How long a session stays with a worker that gives no sign of life."""

RENEW_SECONDS = 3.0
"""How often a worker gives one: two may fail before the lease is lost."""

type SessionState = Literal["starting", "live", "handing_over", "ended"]


class LeaseLost(Exception):
    """Another worker owns the session, or it has ended: whoever meets this stops writing."""


@dataclass(frozen=True, slots=True)
class Played:
    """How much of a turn's voice the client has played, in milliseconds from its beginning."""

    turn_id: str
    ms: int


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """What reached the session by another way than audio."""

    id: str
    """The client's own, when it gave one: a message that it sent again is known by it."""
    kind: Literal["text", "end"]
    text: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session as it stands now."""

    session_id: str
    subject: str
    epoch: int
    state: SessionState
    connection_id: str | None
    """Where the client is; None while it has no connection."""
    connection_number: int
    """Grows with every session.start."""
    announced_number: int
    """The last connection number that an owner said it serves."""
    conversation_id: str | None
    engine: str
    language: str
    voice: str | None
    answered_seq: int
    """Audio up to here belongs to turns that have begun to be answered, or to none: a new owner reads on after it."""
    last_seq: int
    """The highest frame that the client says it sent."""
    pending: bytes | None
    """A turn that began to be spoken and is not stored yet, as `save_progress` was given it."""
    played: Played | None
    inbox: Sequence[InboxMessage]
    """What is not taken yet, oldest first."""


class Lease(Protocol):
    """A worker's hold on one session. Every method raises LeaseLost or StoreUnavailable."""

    @property
    def epoch(self) -> int:
        """What this hold's writes are fenced with."""

    async def renew(self) -> None:
        """Hold the session for LEASE_SECONDS from now."""

    async def session(self) -> LiveSession:
        """The session as it stands now."""

    async def announce(self, connection_number: int) -> None:
        """Say that the session is live for the connection of this number."""

    async def save_progress(
        self, *, answered_seq: int, pending: bytes | None, conversation_id: str | None, taken: Sequence[str] = ()
    ) -> None:
        """Note up to where audio is answered, and the turn being spoken; remove the `taken` messages (their ids) from
        the inbox. All of it or nothing.
        """

    async def release(self, *, state: SessionState) -> None:
        """Give the session up: to the next owner at once, or for good with `ended`."""


class Sessions(Protocol):
    """Live sessions."""

    async def acquire(self, session_id: str, owner: str) -> Lease | None:
        """Own a session; None while another owner's lease runs, or when it has ended. Raises StoreUnavailable."""
