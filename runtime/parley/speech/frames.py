"""Follows a session's audio frames as they come: in order, each once, with what is missing asked for again.

The relay is read by point reads, each timed to when the next frame is due: clients send at the pace of speech, so the
follower keeps time with them as a musician would, and reads a little after the beat.
"""

import math

from parley.speech.audio import input_seconds
from parley.speech.clock import Clock
from parley.speech.relay import AudioFrame, AudioRelay

POLL_SECONDS = 0.25
"""The longest pause between two reads: how late a frame is heard after a silence at most."""

SPARE_SECONDS = 0.01
"""How long after a frame is due it is read. Reads are paid for, also those that come too early: with a network's jitter
of 10 ms this makes nine for eight frames, heard 15 ms late (median) to 30 ms (99th percentile)."""

FIRST_RETRY_SECONDS = 0.015
"""Pause after a read that came too early; each further one is longer by RETRY_GROWTH."""

RETRY_GROWTH = 1.6

CREEP_SECONDS, LEAP_SECONDS, CREEPS = 0.0003, 0.04, 15
"""How much earlier each read is made while reads find their frame at once: the first, and after so many in a row twice
as much each time, up to the second. The first frame after a silence is found up to POLL_SECONDS late."""

SILENCE_READS = 5
"""So many reads that came too early are a silence: 0.2 s."""

BATCH_FRAMES = 50
"""Frames of one read at most: 160 KB, far under BatchGetItem's 100 items and 16 MB."""

SHORTEST_BEAT = 0.045
"""Frames shorter than this are read several at once."""

LATE_SECONDS = 0.5
"""A frame that came so long ago was not just sent."""

HELD_FRAMES = 700
"""Frames kept behind a gap, a minute of them; those that follow are read when it is filled."""

PROBE_FRAMES = 4096
"""How far ahead a read looks for frames that came after a gap: six minutes."""

GAP_SECONDS = 0.15
"""How long a frame may be late before it is asked for: two frames that overtake one another are no gap."""

TAIL_GAP_SECONDS = 1.0
"""The same where the client only said that it had sent more: it is about to send again from where it was told."""

RESEND_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Pauses between requests for the same gap; the last one repeats."""

GIVE_UP_SECONDS = 15.0
"""After this long with a client that does not send a frame again, what follows it is heard without it."""

FLOOD_SECONDS = 60.0
"""How much audio may come at once beyond real time: what a client keeps while it has no connection."""

CREDIT_SECONDS = 120.0
"""How much unused time counts for later: a client that was silent this long may catch up by as much."""


class Follower:
    """Reads one session's frames on from `next_seq`."""

    def __init__(self, relay: AudioRelay, clock: Clock, *, next_seq: int) -> None:
        self._relay = relay
        self._clock = clock
        self._beat = _Beat(clock.now())
        self._held: dict[int, AudioFrame] = {}
        self._sent = 0
        self._misses = 0
        self._catches_up = True
        self._due = clock.now()
        self._gap_at: float | None = None
        self._asked = 0
        self._ask_at = 0.0
        self.next_seq = next_seq
        """The first frame that is not there yet; all before it are."""
        self.lost = 0
        """Frames that were given up."""

    def expect(self, last_seq: int) -> None:
        """The client says that it has sent everything up to `last_seq`."""
        self._sent = max(self._sent, last_seq)

    @property
    def waits_for_gap(self) -> bool:
        """Is a frame missing that others follow?"""
        return bool(self._held) or self._sent >= self.next_seq

    async def read(self) -> list[AudioFrame]:
        """The next frames, in order; none when there was none. Returns within POLL_SECONDS and a read.

        Raises StoreUnavailable.
        """
        pause = self._due - self._clock.now()
        if pause > 0:
            await self._clock.sleep(min(pause, POLL_SECONDS))
        asked_at = self._clock.now()
        wanted = self._wanted(asked_at)
        found = await self._relay.read(wanted)
        now = self._clock.now()
        if self.next_seq not in found and self.next_seq not in self._held:
            self._held |= found
            self._missed(now)
            return []
        self._held |= found
        frames = self._contiguous()
        # More than were due and all of them there, or a frame of long ago: others wait behind it. (Clocks differ by far
        # less than that.)
        late = self._clock.time() - frames[-1].received_at > LATE_SECONDS
        self._catches_up = late or len(found) == len(wanted) > self._beat.burst
        self._beat.heard(frames[-1], asked_at, self._misses)
        self._due = now if self._catches_up else self._beat.due
        self._misses = self._asked = 0
        self._gap_at = None
        return frames

    def gap(self, *, connected: bool) -> tuple[int, int] | None:
        """The first and last of the frames to ask the client for now, if any are overdue.

        A gap that the client does not fill in time is given up, unless the client is away.
        """
        if not self.waits_for_gap:
            self._gap_at = None
            return None
        now = self._clock.now()
        if self._gap_at is None or not connected:
            self._gap_at = now
            self._asked = 0
            self._ask_at = now + (GAP_SECONDS if self._held else TAIL_GAP_SECONDS)
        last = min(self._held) - 1 if self._held else self._sent
        if now - self._gap_at > GIVE_UP_SECONDS:
            self.lost += last + 1 - self.next_seq
            self.next_seq = last + 1
            self._gap_at = None
            self._due = now
            return None
        if now < self._ask_at:
            return None
        self._ask_at = now + RESEND_SECONDS[min(self._asked, len(RESEND_SECONDS) - 1)]
        self._asked += 1
        return self.next_seq, last

    def _contiguous(self) -> list[AudioFrame]:
        frames = []
        while frame := self._held.pop(self.next_seq, None):
            frames.append(frame)
            self.next_seq += 1
        return frames

    def _missed(self, now: float) -> None:
        self._misses += 1
        pause = FIRST_RETRY_SECONDS * RETRY_GROWTH ** min(self._misses - 1, 10)
        # With frames behind the gap the client is speaking: they are to be heard as soon as it is filled.
        self._due = now + min(pause, POLL_SECONDS / 4 if self._held else POLL_SECONDS)

    def _wanted(self, now: float) -> list[int]:
        """What to read: the next frame, those that are due by now, and after a while some further on."""
        behind = int(max(0.0, now - self._beat.due) / self._beat.period)
        first = self.next_seq
        if self._held:
            # Both ends of what is missing, and what comes behind it.
            last = max(self._held)
            missing = [seq for seq in range(first, last) if seq not in self._held]
            behind_it = range(last + 1, last + 5) if len(self._held) < HELD_FRAMES else range(0)
            half = BATCH_FRAMES // 2
            return sorted({*missing[:half], *missing[-half:], *behind_it})
        if self._misses == 0:
            count = BATCH_FRAMES if self._catches_up else min(behind + self._beat.burst, BATCH_FRAMES)
            return list(range(first, first + count))
        if self._misses < 3 or self._misses % 3:
            return [first]
        probes = [first]
        ahead = 1
        while ahead <= min(behind + 8, PROBE_FRAMES):
            probes.append(first + ahead)
            ahead *= 2
        # A client that never stopped is about here now.
        return sorted({*probes, *range(max(first, first + behind - 3), first + behind + 1)})


class _Beat:
    """When the next frame is due: the pace of a client, learnt from when its frames arrived.

    Frames carry the service's clock, which need not agree with ours. How the two differ shows when a read came just too
    early and the next one found the frame; while reads find their frame at once, they are made a little earlier each.
    """

    def __init__(self, now: float) -> None:
        self.due = now
        """On our clock."""
        self.period = 0.09
        self.burst = 1
        """Frames to read at once: one, unless they are very short."""
        self._offset: float | None = None
        self._beat = 0.0
        self._seq = 0
        self._found_at_once = 0

    def heard(self, frame: AudioFrame, asked_at: float, misses: int) -> None:
        """Keep time with this frame, which a read at `asked_at` found after so many that did not."""
        self.period = min(0.2, max(0.01, input_seconds(len(frame.data))))
        self.burst = math.ceil(SHORTEST_BEAT / self.period)
        if misses >= SILENCE_READS:
            # Found some time after it came, nobody knows how long: the next reads leap.
            self._found_at_once = 2 * CREEPS
        else:
            self._found_at_once = self._found_at_once + 1 if misses == 0 else 0
        offset = asked_at - frame.received_at
        if self._offset is None or offset < self._offset or 0 < misses <= 2:
            self._offset = offset
        elif misses == 0:
            self._offset -= min(LEAP_SECONDS, CREEP_SECONDS * 2 ** max(0, self._found_at_once - CREEPS))
        arrival = frame.received_at + self._offset
        expected = self._beat + (frame.seq - self._seq) * self.period
        error = arrival - expected
        if not self._beat or abs(error) > 0.5:
            self._beat = arrival
        else:
            self._beat = expected + error * (0.5 if error < 0 else 0.2)
        self._seq = frame.seq
        self.due = self._beat + self.period * self.burst + SPARE_SECONDS


class FloodGuard:
    """Notices a client that sends more audio than time passes, by when its frames arrived."""

    def __init__(self) -> None:
        self._excess = 0.0
        self._at: float | None = None

    def floods(self, frame: AudioFrame) -> bool:
        """Count a frame: is it too much by now?"""
        passed = max(0.0, frame.received_at - self._at) if self._at is not None else 0.0
        self._at = max(frame.received_at, self._at or 0.0)
        # The shortest frames count double: what they cost is requests.
        self._excess = max(-CREDIT_SECONDS, self._excess - passed) + max(0.02, input_seconds(len(frame.data)))
        return self._excess > FLOOD_SECONDS
