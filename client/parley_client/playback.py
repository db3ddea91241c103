"""How much of the assistant's voice has been heard, by a loudspeaker that plays every piece as soon as it can."""

from collections.abc import Iterator
from dataclasses import dataclass

from parley_client.events import OUTPUT_RATE

_SAMPLE_BYTES = 2


@dataclass
class _Turn:
    seconds: float = 0.0
    until: float = 0.0
    reported: int = -1

    def heard(self, now: float) -> int:
        return max(0, round((self.seconds - max(0.0, self.until - now)) * 1000))


class Playback:
    """Follows the turns whose voice is played, one after another."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._until = 0.0

    def left(self, now: float) -> float:
        """Seconds until everything has been heard."""
        return max(0.0, self._until - now)

    def feed(self, turn_id: str, pcm: bytes, now: float) -> None:
        """A piece arrived."""
        turn = self._turns.setdefault(turn_id, _Turn())
        length = len(pcm) / _SAMPLE_BYTES / OUTPUT_RATE
        self._until = max(self._until, now) + length
        turn.seconds += length
        turn.until = self._until

    def stop(self, turn_id: str, now: float) -> int | None:
        """The turn was interrupted: what was heard of it, in milliseconds; None when nothing of it came."""
        turn = self._turns.pop(turn_id, None)
        if turn is None:
            return None
        self._until = min(self._until, now)
        return turn.heard(now)

    def reports(self, now: float) -> Iterator[tuple[str, int]]:
        """Turns of which more has been heard since the last report, with the milliseconds; the last is told once."""
        for turn_id, turn in list(self._turns.items()):
            heard = turn.heard(now)
            if heard != turn.reported and heard > 0:
                turn.reported = heard
                yield turn_id, heard
            if turn.until <= now and turn_id != next(reversed(self._turns)):
                del self._turns[turn_id]
