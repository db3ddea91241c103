"""What the user says, in numbered frames that are kept until the server has them."""

import asyncio
import base64
from collections import deque

from parley_client.events import INPUT_RATE

SAMPLE_BYTES = 2

FRAME_BYTES = INPUT_RATE * 90 // 1000 * SAMPLE_BYTES
"""90 ms: a minute is 667 messages of 4 KB."""

SHORTEST_BYTES = INPUT_RATE * 10 // 1000 * SAMPLE_BYTES
"""10 ms: the server takes no shorter frame."""

LATE = 4.0
"""How much faster than it is spoken audio is sent again after a reconnection: the server ends what floods it."""


class Outgoing:
    """Cuts audio into frames and hands them out for sending, in order; those that the server asks for again come first.

    Frames get their numbers when they are sent first: the server says with which to go on.
    """

    def __init__(self, hold_seconds: float) -> None:
        self._limit = max(1, round(hold_seconds * INPUT_RATE * SAMPLE_BYTES / FRAME_BYTES))
        self._rest = b""
        self._waiting: deque[bytes] = deque()
        self._sent: dict[int, bytes] = {}
        self._again: deque[int] = deque()
        self._next = 1
        self._progress = 0.0
        self._something = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._closed = False

    @property
    def last_seq(self) -> int:
        """The highest number that was sent; 0 before the first."""
        return self._next - 1

    @property
    def held(self) -> int:
        """How many frames the server does not have yet."""
        return len(self._waiting) + len(self._sent)

    async def add(self, pcm: bytes) -> None:
        """Take audio, or drop it after `close`. While too much is held, because the server takes none, it waits."""
        self._rest += pcm
        while len(self._rest) >= FRAME_BYTES and not self._closed:
            await self._space.wait()
            frame, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
            self._append(frame)

    def close(self) -> None:
        """Nothing is sent any more: nobody waits for room."""
        self._closed = True
        self._space.set()

    def flush(self) -> None:
        """Send the last, shorter frame, too."""
        rest = self._rest[: len(self._rest) // SAMPLE_BYTES * SAMPLE_BYTES]
        self._rest = b""
        if rest:
            self._append(rest.ljust(SHORTEST_BYTES, b"\0"))

    def resume(self, next_seq: int, now: float) -> None:
        """Go on from `next_seq`: what was sent before it is kept by the server, what was sent after is sent again."""
        self.acknowledge(next_seq - 1, now)
        self._next = max(self._next, next_seq)
        self._again = deque(self._sent)
        self._progress = now
        self._wake()

    def acknowledge(self, seq: int, now: float) -> None:
        """Forget everything up to `seq`."""
        done = [number for number in self._sent if number <= seq]
        for number in done:
            del self._sent[number]
        if done:
            self._progress = now
        self._look()

    def ask(self, first: int, last: int) -> None:
        """Send these again, as far as they are still held."""
        wanted = [seq for seq in self._sent if first <= seq <= last and seq not in self._again]
        self._again.extend(wanted)
        self._wake()

    def remind(self, now: float, after: float) -> None:
        """Send the oldest frame again when the server has acknowledged nothing for `after` seconds.

        The server asks for a gap when it sees what follows; after the last frame nothing does.
        """
        if self._sent and not self._again and now - self._progress >= after:
            self._progress = now
            self._again.append(next(iter(self._sent)))
            self._wake()

    def take(self, now: float) -> tuple[int, bytes] | None:
        """The next frame to send, with its number."""
        while self._again:
            seq = self._again.popleft()
            if seq in self._sent:
                return seq, self._sent[seq]
        if not self._waiting:
            self._something.clear()
            return None
        if not self._sent:
            self._progress = now
        seq, self._next = self._next, self._next + 1
        self._sent[seq] = self._waiting.popleft()
        return seq, self._sent[seq]

    async def something(self) -> None:
        """Return when there is a frame to send."""
        await self._something.wait()

    async def all_kept(self) -> None:
        """Return when the server has everything."""
        while self.held:
            self._space.clear()
            await self._space.wait()

    def _append(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._look()
        self._wake()

    def _look(self) -> None:
        if self._closed or self.held < self._limit:
            self._space.set()
        else:
            self._space.clear()

    def _wake(self) -> None:
        if self._again or self._waiting:
            self._something.set()


class Pace:
    """Lets audio through at most LATE times as fast as it is spoken, once `burst` seconds of it have gone."""

    def __init__(self, burst: float = 1.0) -> None:
        self._burst = burst
        self._sent_until = float("-inf")

    def wait(self, frame: bytes, now: float) -> float:
        """Seconds to wait before this frame is sent."""
        length = len(frame) / SAMPLE_BYTES / INPUT_RATE / LATE
        self._sent_until = max(self._sent_until, now - self._burst / LATE) + length
        return max(0.0, self._sent_until - now)


def audio_message(seq: int, frame: bytes) -> dict[str, object]:
    """The message that carries a frame."""
    return {"action": "audio", "seq": seq, "data": base64.b64encode(frame).decode()}
