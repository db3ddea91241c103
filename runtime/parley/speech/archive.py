"""The archive of live sessions: what the user said and what the assistant said, in segments of half a minute.

Input is gathered as it is heard. The frames' table keeps every acknowledged frame for an hour, so that a worker that
takes a session over goes on where the archive ends: what it did not hear itself it reads from there. Two workers may
archive the same frames; the first to write a segment wins, and the other goes on behind it. Output passes by once: of a
worker that is killed, at most the segment that it was gathering is lost.
"""

import asyncio
import io
import random
import wave
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from parley.errors import StoreUnavailable
from parley.speech.audio import (
    INPUT_RATE,
    OUTPUT_RATE,
    SAMPLE_BYTES,
    AudioInvalid,
    check_frame,
    input_bytes,
    output_bytes,
)
from parley.speech.clock import Clock
from parley.speech.dialogue import Meter
from parley.speech.relay import AudioFrame, AudioRelay

SEGMENT_SECONDS = 30.0
"""The longest segment: 960 KB of input in memory, 1.4 MB of output."""

WRITE_EVERY_SECONDS = 28.0
"""A little less than a segment, so that what came meanwhile is one. The first time it is less, at random: calls that
began together are not archived together."""

PAUSE_SECONDS = 5.0
"""After a pause of this length a new segment begins, so that its time is right."""

GATHERED_BYTES = input_bytes(2 * SEGMENT_SECONDS)
"""What was heard and waits in memory at most, 1.9 MB. While a store does not answer, the table keeps the oldest."""

BATCH_FRAMES = 25
"""Frames that are read back at once: 100 KB, so that taking them apart keeps nobody from a frame that is heard now."""

WAITING_SEGMENTS = 4
"""Segments of output that wait for a store that does not answer: 5.8 MB. The oldest is dropped for a further one."""

WRITE_SECONDS = 5.0
"""How long a worker, its end above all, waits for the archive. A successor archives the rest of the input."""

type Direction = Literal["input", "output"]

_RATES: dict[Direction, int] = {"input": INPUT_RATE, "output": OUTPUT_RATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Sound without a break: PCM as `parley.speech.audio` describes it."""

    direction: Direction
    started_at: int
    """Milliseconds since the epoch."""
    pcm: bytes
    last_seq: int = 0
    """The last frame in it; 0 for output."""


@dataclass(frozen=True, slots=True)
class ArchivedInput:
    """How far a session's input is archived."""

    started_at: int
    """When the last segment begins."""
    last_seq: int
    """The last frame in it."""


class AudioArchive(Protocol):
    """Keeps segments. Every method raises StoreUnavailable."""

    async def newest_input(self, session_id: str) -> ArchivedInput | None:
        """How far a session's input is archived; None when nothing is."""

    async def write(self, session_id: str, segment: Segment) -> int:
        """Keep a segment, unless there is one of this direction and time already.

        Returns the last frame of the segment that is there now.
        """


def segment_key(session_id: str, segment: Segment) -> str:
    """Where a segment is kept: `<session>/<time>_input.wav` or `..._output.wav`. A session's keys sort by time."""
    moment = datetime.fromtimestamp(segment.started_at / 1000, UTC)
    return f"{session_id}/{moment:%Y%m%dT%H%M%S}{segment.started_at % 1000:03d}Z_{segment.direction}.wav"


def started_at(key: str) -> int:
    """The time in a segment's key, in milliseconds since the epoch."""
    time = key.rpartition("/")[2].partition("_")[0]
    seconds = datetime.strptime(time[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    return round(seconds) * 1000 + int(time[15:18])


def wav(segment: Segment) -> bytes:
    """A segment as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(SAMPLE_BYTES)
        writer.setframerate(_RATES[segment.direction])
        writer.writeframes(segment.pcm)
    return file.getvalue()


class Recorder:
    """Archives one session for one worker. `heard` and `said` return at once; the rest is done beside them."""

    def __init__(
        self,
        session_id: str,
        archive: AudioArchive,
        relay: AudioRelay,
        clock: Clock,
        meter: Meter,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._session_id = session_id
        self._archive = archive
        self._clock = clock
        self._meter = meter
        self._chance = chance
        self._input = _Input(session_id, archive, relay)
        self._output = _Output()
        self._task: asyncio.Task[None] | None = None

    def heard(self, frame: AudioFrame) -> None:
        """The next frame. Those before it are in the table, or given up."""
        self._input.add(frame)
        self._start()

    def said(self, pcm: bytes) -> None:
        """The next of what the assistant said: PCM at OUTPUT_RATE."""
        if self._output.add(pcm, round(self._clock.time() * 1000)):
            self._meter.count("AudioArchiveDropped")
        self._start()

    async def close(self) -> None:
        """Archive what is left, as far as the store answers in time."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._output.cut()
        await self._write()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        pause = WRITE_EVERY_SECONDS * (0.2 + 0.8 * self._chance())
        while True:
            await self._clock.sleep(pause)
            pause = WRITE_EVERY_SECONDS
            self._output.rest(round(self._clock.time() * 1000))
            await self._write()

    async def _write(self) -> None:
        """Archive what is due. A call goes on whatever becomes of its archive."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._input.write()
                while self._output.waiting:
                    await self._archive.write(self._session_id, self._output.waiting[0])
                    self._output.waiting.popleft()
        except (StoreUnavailable, TimeoutError):
            self._meter.count("AudioArchiveDelayed")
        except Exception:
            self._meter.count("AudioArchiveFailed")


class _Input:
    """Archives frames from where the archive ends to the last one that was heard."""

    def __init__(self, session_id: str, archive: AudioArchive, relay: AudioRelay) -> None:
        self._session_id = session_id
        self._archive = archive
        self._relay = relay
        self._newest: ArchivedInput | None = None
        self._committed = 0
        self._gathered: dict[int, AudioFrame] = {}
        self._gathered_bytes = 0

    def add(self, frame: AudioFrame) -> None:
        """The next frame that was heard."""
        self._committed = max(self._committed, frame.seq)
        self._gathered[frame.seq] = frame
        self._gathered_bytes += len(frame.data)
        while self._gathered_bytes > GATHERED_BYTES:
            self._drop(next(iter(self._gathered)))

    async def write(self) -> None:
        """Archive everything that was heard until now."""
        if self._newest is None:
            self._newest = await self._archive.newest_input(self._session_id) or ArchivedInput(0, 0)
        committed = self._committed
        while self._newest.last_seq < committed:
            segment = await self._next(self._newest, committed)
            if not segment.pcm:
                # These frames are in no table any more, or were no audio.
                self._newest = ArchivedInput(self._newest.started_at, segment.last_seq)
                continue
            last_seq = await self._archive.write(self._session_id, segment)
            # Another segment that began in the same millisecond moves ours on, because times only grow.
            self._newest = ArchivedInput(segment.started_at, max(last_seq, self._newest.last_seq))
        for seq in [seq for seq in self._gathered if seq <= self._newest.last_seq]:
            self._drop(seq)

    def _drop(self, seq: int) -> None:
        self._gathered_bytes -= len(self._gathered.pop(seq).data)

    async def _next(self, newest: ArchivedInput, committed: int) -> Segment:
        """The segment that follows the newest one."""
        pcm = bytearray()
        begun = last = 0.0
        next_seq = newest.last_seq + 1
        while next_seq <= committed:
            seqs = range(next_seq, min(next_seq + BATCH_FRAMES, committed + 1))
            frames = await self._read(seqs)
            for seq in seqs:
                frame = frames.get(seq)
                if frame is not None and _is_audio(frame):
                    pause = frame.received_at - last
                    if pcm and (len(pcm) + len(frame.data) > input_bytes(SEGMENT_SECONDS) or pause > PAUSE_SECONDS):
                        return self._segment(newest, begun, pcm, next_seq - 1)
                    begun = begun or frame.received_at
                    last = frame.received_at
                    pcm += frame.data
                next_seq = seq + 1
        return self._segment(newest, begun, pcm, next_seq - 1)

    async def _read(self, seqs: range) -> Mapping[int, AudioFrame]:
        # Taken at once: what is gathered meanwhile may drop it.
        gathered = {seq: self._gathered[seq] for seq in seqs if seq in self._gathered}
        missing = [seq for seq in seqs if seq not in gathered]
        return gathered if not missing else gathered | await self._relay.read(missing)

    @staticmethod
    def _segment(newest: ArchivedInput, begun: float, pcm: bytearray, last_seq: int) -> Segment:
        # Frames that were sent again may have come after those that follow them.
        started = max(round(begun * 1000), newest.started_at + 1)
        return Segment(direction="input", started_at=started, pcm=bytes(pcm), last_seq=last_seq)


def _is_audio(frame: AudioFrame) -> bool:
    try:
        check_frame(frame.data)
    except AudioInvalid:
        return False
    return True


@dataclass(slots=True)
class _Output:
    """Gathers what the assistant says into segments."""

    waiting: deque[Segment] = field(default_factory=deque)
    """Segments to be written."""
    _pcm: bytearray = field(default_factory=bytearray)
    _started_at: int = 0
    _last_at: int = 0
    _newest: int = 0

    def add(self, pcm: bytes, at: int) -> bool:
        """The next of the voice, at a time in milliseconds. Says whether something was dropped for it."""
        self.rest(at)
        if not self._pcm:
            self._started_at = max(at, self._newest + 1)
        self._last_at = at
        self._pcm += pcm
        dropped = False
        size = output_bytes(SEGMENT_SECONDS)
        while len(self._pcm) >= size:
            rest = self._pcm[size:]
            del self._pcm[size:]
            dropped = self.cut() or dropped
            self._pcm, self._started_at = rest, self._newest + round(SEGMENT_SECONDS * 1000)
        return dropped

    def rest(self, at: int) -> None:
        """It is this time: what was said a while ago is a segment."""
        if at - self._last_at > PAUSE_SECONDS * 1000:
            self.cut()

    def cut(self) -> bool:
        """What was gathered is a segment. Says whether another was dropped for it."""
        if not self._pcm:
            return False
        self._newest = self._started_at
        self.waiting.append(Segment(direction="output", started_at=self._started_at, pcm=bytes(self._pcm)))
        self._pcm = bytearray()
        if len(self.waiting) <= WAITING_SEGMENTS:
            return False
        self.waiting.popleft()
        return True
