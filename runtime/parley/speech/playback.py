"""What goes out to the client: one post after another, the voice no further ahead of its playback than it must be."""

import asyncio
import base64
import contextlib
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from parley.server_messages import Ack, AudioMessage, ErrorMessage, ServerMessage
from parley.speech.audio import output_bytes, output_seconds
from parley.speech.clock import Clock

MESSAGE_BYTES = 32 * 1024
"""A message is one frame of API Gateway's WebSocket at most."""

AHEAD_SECONDS = 1.0
"""How much of the voice may be at the client before it is played: enough for a bad moment of the network, and little to
throw away when the user interrupts."""

CHUNK_BYTES = output_bytes(0.4)
"""The voice in one message: 25.6 KB in base64."""

LOW_SECONDS = 0.4
"""With less than this at the client, what there is goes at once; with more it is gathered to whole chunks."""

LAG_SECONDS = 0.85
"""A client that has played this much less than it could have is believed; less is the age of its report."""

BUSY_SECONDS = 10.0
"""A client that takes nothing for so long is as good as gone."""


class ClientGone(Exception):
    """The client has left this connection; nothing posted to it arrives any more."""


class ClientBusy(Exception):
    """The connection takes no message now: the client reads too slowly, or the service throttles."""


class Channel(Protocol):
    """Posts to WebSocket connections."""

    async def post(self, connection_id: str, data: bytes) -> None:
        """Post one message of at most MESSAGE_BYTES. Raises ClientGone or ClientBusy."""

    async def disconnect(self, connection_id: str) -> None:
        """Close a connection; one that is gone is no error."""


class Outbound:
    """The messages to one session's client, over whichever connection it has."""

    def __init__(self, channel: Channel, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        self._urgent: deque[ServerMessage] = deque()
        self._messages: deque[ServerMessage] = deque()
        self._ack: Ack | None = None
        self._turn_id = ""
        self._voice = bytearray()
        self._posted = 0.0
        self._complete = True
        self._plays_until = 0.0
        self._wake = asyncio.Event()
        self._connection_id: str | None = None
        self.gone_since: float | None = clock.now()
        """Since when there is no client, on the clock's `now`; None while there is one."""
        self.first_voice_at: float | None = None
        """When the present turn's voice first went out, on the clock's `now`."""

    @property
    def connection_id(self) -> str | None:
        """The client's connection; None while it has none."""
        return self._connection_id

    def connect(self, connection_id: str) -> None:
        """Send to this connection from now on. What waits goes there."""
        self._connection_id = connection_id
        self.gone_since = None
        self._wake.set()

    def send(self, message: ServerMessage, *, urgent: bool = False) -> None:
        """Send a message after the others; an urgent one before them."""
        (self._urgent if urgent else self._messages).append(message)
        self._wake.set()

    def ack(self, seq: int) -> None:
        """Send an `ack`, instead of an older one that still waits."""
        self._ack = Ack(seq=seq)
        self._wake.set()

    def speak(self, turn_id: str, pcm: bytes) -> None:
        """The next of a turn's voice. Another turn's that is left is dropped."""
        if turn_id != self._turn_id:
            self._turn_id = turn_id
            self._voice.clear()
            self._posted = 0.0
            self._complete = False
            self._plays_until = self._clock.now()
            self.first_voice_at = None
        before = len(self._voice)
        self._voice += pcm
        # More of what waits already changes nothing until it is a whole chunk.
        if not before or before < CHUNK_BYTES <= len(self._voice):
            self._wake.set()

    def finish(self, turn_id: str) -> None:
        """The turn's voice is complete."""
        if turn_id == self._turn_id:
            self._complete = True
            self._wake.set()

    def interrupt(self, turn_id: str) -> int:
        """Drop what was not sent of a turn's voice; how much of it was played, in milliseconds."""
        played = self.played_ms(turn_id)
        if turn_id == self._turn_id:
            self._voice.clear()
            self._complete = True
            self._plays_until = min(self._plays_until, self._clock.now())
        return played

    def played_ms(self, turn_id: str) -> int:
        """How much of a turn's voice has been played by now, as far as can be told."""
        if turn_id != self._turn_id:
            return 0
        return round(max(0.0, self._posted - max(0.0, self._plays_until - self._clock.now())) * 1000)

    def report(self, turn_id: str, ms: int) -> None:
        """The client says how much it has played."""
        if turn_id != self._turn_id:
            return
        left = self._posted - ms / 1000
        if left > max(0.0, self._plays_until - self._clock.now()) + LAG_SECONDS:
            self._plays_until = self._clock.now() + left
            self._wake.set()

    def seconds_left(self, turn_id: str) -> float:
        """How long a turn's voice goes on playing, with what waits here."""
        if turn_id != self._turn_id:
            return 0.0
        return max(0.0, self._plays_until - self._clock.now()) + output_seconds(len(self._voice))

    async def run(self) -> None:
        """Post what there is, one after another, for ever."""
        busy_since: float | None = None
        while True:
            self._wake.clear()
            connection_id = self._connection_id
            data, sent, pause = self._next() if connection_id else (b"", _nothing, None)
            if connection_id is None or not data:
                await self._wait(pause)
                continue
            try:
                await self._channel.post(connection_id, data)
            except ClientGone:
                self._lose(connection_id)
            except ClientBusy:
                now = self._clock.now()
                busy_since = now if busy_since is None else busy_since
                if now - busy_since > BUSY_SECONDS:
                    self._lose(connection_id)
                    busy_since = None
                else:
                    # What is to go first is decided anew after the pause: an interruption makes the voice needless.
                    pause = min(1.0, 0.05 + (now - busy_since) / 2)
                    await self._clock.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - guards nothing
            else:
                busy_since = None
                sent()

    async def flush(self, seconds: float) -> None:
        """Give what waits, except the voice, at most so long to go out."""
        until = self._clock.now() + seconds
        while (self._urgent or self._messages) and self._connection_id and self._clock.now() < until:
            await self._clock.sleep(0.02)

    def _next(self) -> tuple[bytes, Callable[[], object], float | None]:
        """The next message, what to do once it was sent, and without one how long to wait for the voice's turn."""
        if self._urgent:
            return self._encoded(self._urgent[0]), self._urgent.popleft, None
        if self._messages:
            return self._encoded(self._messages[0]), self._messages.popleft, None
        pause: float | None = None
        if self._voice:
            ahead = max(0.0, self._plays_until - self._clock.now())
            whole = len(self._voice) >= CHUNK_BYTES or self._complete
            chunk = bytes(self._voice[:CHUNK_BYTES])
            pause = ahead - (AHEAD_SECONDS - output_seconds(len(chunk)) if whole else LOW_SECONDS)
            if pause <= 0:
                message = AudioMessage(turn_id=self._turn_id, data=base64.b64encode(chunk).decode())
                return self._encode(message), partial(self._voice_sent, self._turn_id, len(chunk)), None
        if (ack := self._ack) is not None:
            return self._encode(ack), partial(self._ack_sent, ack), None
        return b"", _nothing, pause

    def _voice_sent(self, turn_id: str, size: int) -> None:
        if turn_id != self._turn_id:
            return
        now = self._clock.now()
        if self.first_voice_at is None:
            self.first_voice_at = now
        seconds = output_seconds(size)
        self._posted += seconds
        if self._voice:
            # Else it was interrupted while it was being sent.
            del self._voice[:size]
            self._plays_until = max(self._plays_until, now) + seconds

    def _ack_sent(self, ack: Ack) -> None:
        if self._ack is ack:
            self._ack = None

    def _lose(self, connection_id: str) -> None:
        if connection_id == self._connection_id:
            self._connection_id = None
            self.gone_since = self._clock.now()

    def _encoded(self, message: ServerMessage) -> bytes:
        data = self._encode(message)
        return data if len(data) <= MESSAGE_BYTES else self._encode(_TOO_LARGE)

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            # A moment at least, so that no rest of a subtraction is waited for again and again.
            async with asyncio.timeout(None if seconds is None else max(seconds, 0.001)):
                await self._wake.wait()


_TOO_LARGE = ErrorMessage(
    code="payload_too_large",
    message="A message is larger than the connection takes; what was said is stored in the conversation.",
    retryable=False,
)


def _nothing() -> None:
    pass
