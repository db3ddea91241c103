"""The audio relay: carries a session's audio frames from the API to whoever owns the session."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A piece of what the user says, as it was received."""

    seq: int
    """Its place in the session, from 1 and without gaps, going on over reconnections."""
    data: bytes
    """PCM as `parley.speech.audio` describes it; unchecked."""
    connection_id: str
    received_at: float
    """Seconds since the epoch."""


class AudioRelay(Protocol):
    """Reads frames of one session. What it returns is durable: the client may forget it."""

    async def read(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        """The frames with these numbers that have been received. Raises StoreUnavailable."""
