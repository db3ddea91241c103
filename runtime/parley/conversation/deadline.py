"""One deadline for a whole turn, shared by every call it makes."""

import time
from collections.abc import Callable

import msgspec

HTTP_TURN_SECONDS = 25.0
"""API Gateway's integrations end at 29 s; this leaves time to start cold and to answer."""


class Deadline(msgspec.Struct, frozen=True):
    """A moment on a monotonic clock, and when it was set. Seconds throughout."""

    began: float
    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """The deadline `seconds` from now."""
        now = clock()
        return cls(now, now + seconds, clock)

    @property
    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return self.clock() - self.began

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())

    def share(self, parts: int, *, reserve: float = 0.0) -> float:
        """Seconds for the first of `parts` calls that follow one another, keeping `reserve` for what comes after.

        The rest is shared again when the next call begins, so a call that fails early leaves its time to the others.
        """
        return max(0.0, self.remaining - reserve) / max(1, parts)
