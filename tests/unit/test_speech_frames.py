"""Frames in order, each once; gaps found and asked for; floods noticed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.speech.frames import FloodGuard, Follower
from parley.speech.relay import AudioFrame

from tests.unit.scripted_engine import FRAME
from tests.unit.virtual_time import VirtualClock, run_virtual
from tests.unit.voice_doubles import MemoryRelay

SILENT = bytes(2880)


class Listener:
    """Reads frames, and asks for gaps as a session does."""

    def __init__(self, next_seq: int = 1) -> None:
        self.clock = VirtualClock()
        self.relay = MemoryRelay(self.clock)
        self.follower = Follower(self.relay, self.clock, next_seq=next_seq)
        self.heard: list[int] = []
        self.asked: list[tuple[int, int]] = []

    def send(self, seqs: Iterable[int], *, pace: float, data: bytes = SILENT) -> None:
        """Frames that come while others are read."""

        async def sending() -> None:
            for seq in seqs:
                self.relay.put(seq, data)
                await self.clock.sleep(pace)

        self._sending = asyncio.ensure_future(sending())

    async def listen(self, seconds: float, *, connected: bool = True) -> None:
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            self.heard += [frame.seq for frame in await self.follower.read()]
            if gap := self.follower.gap(connected=connected):
                self.asked.append(gap)


def listen(play: Callable[[Listener], Awaitable[None]], **changes: int) -> Listener:
    async def main() -> Listener:
        one = Listener(**changes)
        await play(one)
        return one

    return run_virtual(main())


@given(order=st.permutations(range(1, 25)))
def test_whatever_the_order_frames_come_out_in_theirs(order: list[int]) -> None:
    async def play(one: Listener) -> None:
        for seq in order:
            one.relay.put(seq, SILENT)
            one.relay.put(seq, b"a duplicate")
            await one.listen(0.03)
        await one.listen(2)

    one = listen(play)
    assert one.heard == list(range(1, 25))


def test_a_gap_is_asked_for_once_it_is_old_enough_and_less_often_later() -> None:
    async def play(one: Listener) -> None:
        for seq in (1, 2, 5, 6):
            one.relay.put(seq, SILENT)
        await one.listen(0.1)
        assert one.asked == []
        await one.listen(0.4)
        assert one.asked == [(3, 4)]
        await one.listen(5)
        assert len(one.asked) == 4
        one.relay.put(3, SILENT)
        await one.listen(0.5)
        assert one.heard == [1, 2, 3]
        one.asked.clear()
        await one.listen(0.5)
        assert one.asked == [(4, 4)]

    listen(play)


def test_a_gap_is_not_given_up_while_the_client_is_away() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        one.relay.put(3, SILENT)
        await one.listen(60, connected=False)
        assert one.asked == []
        one.relay.put(2, SILENT)
        await one.listen(1)

    one = listen(play)
    assert one.heard == [1, 2, 3]
    assert one.follower.lost == 0


def test_a_gap_that_stays_is_given_up_and_counted() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        one.relay.put(4, SILENT)
        await one.listen(20)

    one = listen(play)
    assert one.heard == [1, 4]
    assert one.follower.lost == 2


def test_frames_far_behind_a_gap_are_found() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        await one.listen(0.1)
        # Six seconds are lost on their way while the client speaks on.
        await one.listen(66 * FRAME)
        one.send(range(68, 90), pace=FRAME)
        await one.listen(2)

    one = listen(play)
    assert one.asked[0] == (2, 67)


def test_what_the_client_says_it_sent_is_asked_for() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        one.follower.expect(3)
        await one.listen(3)

    one = listen(play)
    assert one.asked[0] == (2, 3)


def test_a_backlog_is_caught_up_at_once() -> None:
    async def play(one: Listener) -> None:
        for seq in range(1, 1001):
            one.relay.put(seq, SILENT)
        await one.clock.sleep(30)
        await one.listen(0.2)

    one = listen(play, next_seq=300)
    assert one.heard == list(range(300, 1001))


def test_a_single_late_frame_is_followed_by_the_rest_at_once() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        await one.listen(0.5)
        for seq in range(3, 700):
            one.relay.put(seq, SILENT)
        await one.clock.sleep(60)
        one.relay.put(2, SILENT)
        await one.listen(5)

    assert listen(play).heard == list(range(1, 700))


@pytest.mark.parametrize(("seconds", "at_once"), [(0.01, 5), (0.02, 3), (0.04, 2)])
def test_short_frames_are_read_several_at_once_and_hardly_a_read_comes_too_early(seconds: float, at_once: int) -> None:
    async def play(one: Listener) -> None:
        one.send(range(1, 500), pace=seconds, data=bytes(round(seconds * 32_000)))
        await one.listen(500 * seconds + 0.2)

    one = listen(play)
    assert one.heard == list(range(1, 500))
    assert one.relay.reads < 499 / at_once * 1.4


def test_in_silence_reads_are_rare() -> None:
    async def play(one: Listener) -> None:
        one.relay.put(1, SILENT)
        await one.listen(1)
        one.relay.reads = 0
        await one.listen(60)

    assert listen(play).relay.reads < 60 / 0.24


@pytest.mark.parametrize("silence", [1.0, 1.05, 1.1, 1.15, 1.2])
def test_who_begins_to_speak_is_heard_late_for_a_second_at_most(silence: float) -> None:
    delays: list[float] = []

    async def play(one: Listener) -> None:
        await one.listen(silence)
        one.send(range(1, 61), pace=0.09)
        while len(delays) < 60:
            delays.extend(one.clock.time() - frame.received_at for frame in await one.follower.read())

    listen(play)
    assert max(delays[11:]) < 0.05


def frames(count: int, *, every: float, start: float = 0.0, data: bytes = SILENT) -> list[AudioFrame]:
    return [AudioFrame(seq, data, "c-1", start + seq * every) for seq in range(1, count + 1)]


def test_speech_at_its_own_pace_is_no_flood_and_three_times_that_is() -> None:
    guard = FloodGuard()
    assert not any(guard.floods(frame) for frame in frames(10_000, every=0.09))
    guard = FloodGuard()
    flooded = [guard.floods(frame) for frame in frames(2_000, every=0.03)]
    # A minute too much, at two seconds a second.
    assert 29 < flooded.index(True) * 0.03 < 31


def test_a_flood_of_the_shortest_frames_is_one_too() -> None:
    guard = FloodGuard()
    assert any(guard.floods(frame) for frame in frames(20_000, every=0.005, data=bytes(320)))


def test_time_without_audio_counts_for_later_within_bounds() -> None:
    guard = FloodGuard()
    assert not guard.floods(frames(1, every=0.09)[0])
    burst = [guard.floods(frame) for frame in frames(3_000, every=0.0, start=1000.0)]
    assert 170 < burst.index(True) * 0.09 < 185
