"""The archive of live sessions, in virtual time: segments, successors, stores that fail, keys."""

from dataclasses import dataclass, field

import pytest
from parley.conversation.turns import Usage
from parley.errors import StoreUnavailable
from parley.speech.archive import (
    SEGMENT_SECONDS,
    WAITING_SEGMENTS,
    ArchivedInput,
    Recorder,
    Segment,
    segment_key,
    started_at,
)
from parley.speech.audio import input_bytes, output_bytes
from parley.speech.relay import AudioFrame

from tests.unit.scripted_engine import FRAME, frame_pcm
from tests.unit.virtual_time import EPOCH, VirtualClock, run_virtual
from tests.unit.voice_call import Call as WholeCall
from tests.unit.voice_doubles import MemoryRelay

SESSION = "session-1"


@dataclass
class Archive:
    """Keeps segments by their keys, as S3 does, or fails."""

    segments: dict[str, Segment] = field(default_factory=dict)
    failure: Exception | None = None
    writes: int = 0

    async def newest_input(self, session_id: str) -> ArchivedInput | None:
        self._meet_failure()
        keys = [key for key in self.segments if key.endswith("_input.wav")]
        return ArchivedInput(started_at(max(keys)), self.segments[max(keys)].last_seq) if keys else None

    async def write(self, session_id: str, segment: Segment) -> int:
        self.writes += 1
        self._meet_failure()
        return self.segments.setdefault(segment_key(session_id, segment), segment).last_seq

    def _meet_failure(self) -> None:
        if self.failure:
            raise self.failure

    def sound(self, direction: str) -> bytes:
        return b"".join(self.segments[key].pcm for key in sorted(self.segments) if key.endswith(f"_{direction}.wav"))

    def lengths(self, direction: str) -> list[int]:
        return [len(self.segments[key].pcm) for key in sorted(self.segments) if key.endswith(f"_{direction}.wav")]


@dataclass
class Counts:
    """The Meter protocol."""

    counted: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, value: int = 1) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    def milliseconds(self, name: str, value: float) -> None:
        """Nobody looks."""

    def usage(self, usage: Usage) -> None:
        """Nobody looks."""


class Call:
    """One session's frames, clock and archive; workers come and go."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.relay = MemoryRelay(self.clock)
        self.archive = Archive()
        self.meter = Counts()
        self.said = b""
        self.seq = 0

    def recorder(self, *, chance: float = 1.0) -> Recorder:
        return Recorder(SESSION, self.archive, self.relay, self.clock, self.meter, chance=lambda: chance)

    async def speak(self, seconds: float, *recorders: Recorder) -> None:
        """The user speaks; workers hear every frame."""
        for _ in range(round(seconds / FRAME)):
            self.seq += 1
            pcm = frame_pcm(self.seq, self.seq % 7)
            self.said += pcm
            self.relay.put(self.seq, pcm)
            for recorder in recorders:
                recorder.heard(self.relay.frames[self.seq])
            await self.clock.sleep(FRAME)

    def whole(self) -> bool:
        return self.archive.sound("input") == self.said


def test_a_call_is_archived_in_segments_of_half_a_minute() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(70, recorder)
        assert len(it.archive.segments) == 2
        await recorder.close()
        assert it.whole()
        assert len(it.archive.segments) == 3
        assert all(length <= input_bytes(SEGMENT_SECONDS) for length in it.archive.lengths("input"))

    run_virtual(call())


def test_calls_that_begin_together_are_not_archived_together() -> None:
    async def first_written(chance: float) -> float:
        it = Call()
        began = it.clock.now()
        recorder = it.recorder(chance=chance)
        while not it.archive.segments:
            await it.speak(0.5, recorder)
        await recorder.close()
        assert it.whole()
        return it.clock.now() - began

    async def calls() -> list[float]:
        return [await first_written(chance) for chance in (0.0, 0.5, 1.0)]

    early, middle, late = run_virtual(calls())
    assert (early, middle, late) == pytest.approx((5.6, 16.8, 28), abs=1)


def test_keys_say_session_time_and_direction() -> None:
    segment = Segment(direction="input", started_at=1_800_000_000_007, pcm=b"")
    assert segment_key(SESSION, segment) == "session-1/20270115T080000007Z_input.wav"
    assert started_at(segment_key(SESSION, segment)) == 1_800_000_000_007


def test_a_segments_time_is_when_its_first_frame_was_received() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(1, recorder)
        await recorder.close()
        [segment] = it.archive.segments.values()
        assert segment.started_at == round((EPOCH + 100) * 1000)

    run_virtual(call())


def test_what_a_worker_heard_is_not_read_again() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(70, recorder)
        await recorder.close()
        assert it.whole()
        assert it.relay.reads == 0

    run_virtual(call())


@pytest.mark.parametrize(("outage", "from_the_table"), [(50, False), (100, True)])
def test_no_more_than_a_minute_waits_in_memory_for_the_store(outage: float, from_the_table: bool) -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.archive.failure = StoreUnavailable()
        await it.speak(outage, recorder)
        it.archive.failure = None
        await recorder.close()
        assert it.whole()
        assert bool(it.relay.reads) == from_the_table

    run_virtual(call())


def test_what_leaves_memory_while_the_table_is_read_is_read_too() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.archive.failure = StoreUnavailable()
        await it.speak(100, recorder)
        it.archive.failure = None
        it.relay.delay = 0.1
        await it.speak(30, recorder)
        it.relay.delay = 0.002
        await recorder.close()
        assert it.whole()

    run_virtual(call())


def test_a_successor_archives_what_a_killed_worker_left() -> None:
    async def call() -> None:
        it = Call()
        killed, successor = it.recorder(), it.recorder()
        await it.speak(45, killed)
        assert not it.whole()
        # The successor hears only what is not answered yet.
        await it.speak(20, successor)
        await successor.close()
        assert it.whole()

    run_virtual(call())


def test_two_workers_archive_every_frame_once() -> None:
    async def call() -> None:
        it = Call()
        first, second = it.recorder(), it.recorder()
        await it.speak(40, first)
        await it.speak(35, first, second)
        await it.speak(5, second)
        await first.close()
        await second.close()
        assert it.whole()

    run_virtual(call())


def test_a_former_worker_that_writes_late_harms_nothing() -> None:
    async def call() -> None:
        it = Call()
        former, successor = it.recorder(), it.recorder()
        await it.speak(10, former)
        # Both begin with the first frame; the successor's is the longer one.
        await it.speak(10, successor)
        await successor.close()
        await former.close()
        assert it.whole()
        it = Call()
        former, successor = it.recorder(), it.recorder()
        await it.speak(20, former, successor)
        await former.close()
        await it.speak(10, successor)
        await successor.close()
        assert it.whole()

    run_virtual(call())


def test_a_store_that_does_not_answer_loses_no_input() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.archive.failure = StoreUnavailable()
        await it.speak(100, recorder)
        assert it.meter.counted == {"AudioArchiveDelayed": 3}
        it.archive.failure = None
        await it.speak(25, recorder)
        assert it.archive.lengths("input")
        await recorder.close()
        assert it.whole()

    run_virtual(call())


@pytest.mark.parametrize("failure", [StoreUnavailable(), ValueError("a mistake")])
def test_a_call_ends_well_without_its_archive(failure: Exception) -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.archive.failure = failure
        recorder.said(bytes(1_000))
        await it.speak(31, recorder)
        await recorder.close()
        assert sum(it.meter.counted.values()) == 2

    run_virtual(call())


def test_an_archive_that_hangs_does_not_hold_a_worker_up() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(1)
        recorder.heard(it.relay.frames[it.seq])
        it.relay.delay = 3_600.0
        before = it.clock.now()
        await recorder.close()
        assert it.clock.now() - before < 10
        assert it.meter.counted == {"AudioArchiveDelayed": 1}

    run_virtual(call())


def test_after_a_pause_a_new_segment_begins() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(3, recorder)
        await it.clock.sleep(8)
        await it.speak(3, recorder)
        await recorder.close()
        first, second = (it.archive.segments[key].started_at for key in sorted(it.archive.segments))
        assert second - first > 10_000
        assert it.whole()

    run_virtual(call())


def test_frames_that_are_lost_or_no_audio_are_left_out() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        await it.speak(5)
        del it.relay.frames[7]
        it.relay.frames[9] = AudioFrame(9, b"\0", "c-1", EPOCH)
        recorder.heard(it.relay.frames[it.seq])
        recorder.heard(AudioFrame(it.seq + 1, b"\0", "c-1", EPOCH))
        await recorder.close()
        assert len(it.archive.sound("input")) == len(it.said) - 2 * input_bytes(FRAME)

    run_virtual(call())


def test_frames_that_expired_are_passed_over() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.seq = 500
        await it.speak(3, recorder)
        await recorder.close()
        assert it.whole()
        it.relay.frames.clear()
        again = it.recorder()
        last = frame_pcm(1, 0)
        again.heard(AudioFrame(it.seq + 250, last, "c-1", it.clock.time()))
        await again.close()
        assert it.archive.sound("input") == it.said + last

    run_virtual(call())


def test_segments_that_begin_in_the_same_millisecond_are_kept_apart() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        for seq in range(1, 801):
            # A client that kept its frames while it was away sends them all at once.
            it.relay.put(seq, frame_pcm(seq, 0))
            it.said += frame_pcm(seq, 0)
        recorder.heard(it.relay.frames[800])
        await recorder.close()
        assert len(it.archive.segments) == 3
        assert it.whole()

    run_virtual(call())


def test_what_the_assistant_says_is_archived_by_its_pauses() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        for _ in range(3):
            recorder.said(b"\1\0" * 24_000)
            await it.clock.sleep(0.5)
        await it.clock.sleep(20)
        recorder.said(b"\2\0" * 24_000)
        await recorder.close()
        assert it.archive.lengths("output") == [output_bytes(3), output_bytes(1)]
        assert it.archive.sound("output")[-2:] == b"\2\0"

    run_virtual(call())


def test_a_long_answer_is_archived_in_bounded_segments() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        recorder.said(bytes(output_bytes(70)))
        await recorder.close()
        assert it.archive.lengths("output") == [output_bytes(30), output_bytes(30), output_bytes(10)]
        times = [it.archive.segments[key].started_at for key in sorted(it.archive.segments)]
        assert times[2] - times[0] == 60_000

    run_virtual(call())


def test_output_that_no_store_takes_is_dropped_in_the_end() -> None:
    async def call() -> None:
        it = Call()
        recorder = it.recorder()
        it.archive.failure = StoreUnavailable()
        for _ in range(WAITING_SEGMENTS + 2):
            recorder.said(bytes(output_bytes(SEGMENT_SECONDS)))
        assert it.meter.counted == {"AudioArchiveDropped": 2}
        it.archive.failure = None
        await recorder.close()
        assert len(it.archive.lengths("output")) == WAITING_SEGMENTS

    run_virtual(call())


def test_a_call_with_a_killed_worker_and_a_handoff_is_archived_whole() -> None:
    async def play() -> None:
        archive = Archive()
        one = WholeCall(archive=archive, worker_seconds=150.0)
        one.connect()
        for utterance in range(1, 61):
            if utterance == 9:
                one.kill_worker()
            await one.say(utterance)
        one.hang_up()
        await one.clock.sleep(12)
        await one.close()
        assert "handed_over" in one.outcomes
        archived = archive.sound("input")
        sent = b"".join(one.relay.frames[seq].data for seq in sorted(one.relay.frames))
        # What came after the client hung up was heard by nobody.
        assert sent.startswith(archived)
        assert len(sent) - len(archived) < input_bytes(2)
        assert len(archive.sound("output")) > output_bytes(60)
        assert all(len(segment.pcm) <= output_bytes(SEGMENT_SECONDS) for segment in archive.segments.values())

    run_virtual(play())


def test_a_worker_that_heard_nothing_archives_nothing() -> None:
    async def call() -> None:
        it = Call()
        await it.recorder().close()
        assert it.archive.writes == 0

    run_virtual(call())
