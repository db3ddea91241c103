"""Clients in a whole call, in virtual time: frames lost, late, too many or no audio, and who leaves or is slow."""

import random

from parley.server_messages import AudioMessage, ErrorMessage, SessionReady

from tests.unit.scripted_engine import FRAME
from tests.unit.voice_call import Call, call


def test_frames_that_overtake_one_another_or_are_lost_are_put_right() -> None:
    async def play(one: Call) -> None:
        rng = random.Random(4)
        lost = {seq for seq in range(1, 400) if rng.random() < 0.1}
        one.drops = lost.__contains__
        one.connect()
        for number in range(1, 6):
            await one.say(number, frames=20, then=4.0)

    one = call(play)
    assert one.engine.answered == [1, 2, 3, 4, 5]
    for number in range(1, 6):
        assert one.frames_heard(number) == list(range(1, 21))
    assert one.asked_again
    assert one.meter.counts["Resends"] == len(one.asked_again)


def test_a_gap_that_is_never_filled_is_given_up() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.seq += 3
        await one.say(1, frames=20, then=25.0)

    one = call(play)
    assert one.engine.answered == [1]
    assert 3 < len(one.asked_again) < 12


def test_frames_reach_the_engine_soon_after_they_came() -> None:
    async def play(one: Call) -> None:
        one.connect()
        for number in range(1, 10):
            await one.say(number)

    one = call(play)
    assert sorted(one.meter.times["RelayLatency"])[len(one.meter.times["RelayLatency"]) // 2] < 30
    # Point reads: hardly more than one for each frame.
    assert one.relay.reads < one.seq * 1.6


def test_a_client_that_comes_back_goes_on_where_it_was() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=4.0)
        one.channel.gone.add("c-1")
        await one.send(2, 12)
        await one.clock.sleep(10)
        one.connect("c-2")
        await one.say(0, then=6.0)
        one.hang_up()
        await one.clock.sleep(2)

    one = call(play)
    assert one.engine.answered == [1, 2]
    assert one.frames_heard(2) == list(range(1, 13))
    assert len(one.channel.of(SessionReady)) == 2
    assert len(one.workers) == 1
    assert {post.connection_id for post in one.channel.posts} == {"c-1", "c-2"}


def test_a_client_that_stays_away_ends_the_session_and_its_turn_is_stored() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(1, 12)
        await one.send(0, 12)
        one.channel.gone.add("c-1")
        await one.clock.sleep(100)

    one = call(play)
    assert one.outcomes == ["ended"]
    assert one.sessions.session.state == "ended"
    assert [question for question, _ in one.exchanges()] == ["utterance 1"]


def test_a_newer_connection_takes_over_from_the_older_one() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.connect("c-2")
        await one.say(1, then=4.0)

    one = call(play)
    late = [post for post in one.channel.posts if isinstance(post.message, AudioMessage)]
    assert late
    assert {post.connection_id for post in late} == {"c-2"}


def test_a_flood_is_cut_off() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 3000, pace=0.01)
        await one.clock.sleep(3)

    one = call(play)
    assert one.channel.ended() == "flood"
    assert [error.code for error in one.channel.of(ErrorMessage)] == ["audio_flood"]
    assert one.channel.disconnected == ["c-1"]
    assert one.outcomes == ["ended"]


def test_a_client_that_was_away_may_send_what_it_kept_at_once() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        await one.clock.sleep(50)
        await one.send(0, 550, pace=0.0)
        await one.say(1)

    one = call(play)
    assert one.channel.ended() is None
    assert one.engine.answered == [1]


def test_a_frame_that_is_no_audio_counts_as_silence() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 5)
        for data in (b"", b"odd", bytes(10_000)):
            one.seq += 1
            one.relay.put(one.seq, data)
        await one.say(1)

    one = call(play)
    assert one.engine.answered == [1]
    assert [error.code for error in one.channel.of(ErrorMessage)] == ["audio_invalid"]


def test_nothing_but_frames_that_are_no_audio_fails_the_session() -> None:
    async def play(one: Call) -> None:
        one.connect()
        for _ in range(60):
            one.seq += 1
            one.relay.put(one.seq, b"no audio")
            await one.clock.sleep(FRAME)
        await one.clock.sleep(2)

    one = call(play)
    assert one.channel.ended() == "failed"


def test_ten_minutes_of_silence_end_the_session_and_keep_the_engine_meanwhile() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=6.0)
        await one.clock.sleep(590)
        assert one.channel.ended() is None
        await one.clock.sleep(30)

    one = call(play, worker_seconds=2000.0)
    assert one.channel.ended() == "idle"
    # Every 55 s would be too late.
    assert one.engine.silences > 590 / 55 * 2


def test_silence_is_counted_on_over_a_handoff() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.clock.sleep(640)

    one = call(play, worker_seconds=400.0)
    assert one.outcomes == ["handed_over", "ended"]
    assert one.channel.ended() == "idle"


def test_a_client_that_reads_slowly_gets_everything_in_the_end() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(1, 12)
        one.channel.busy = 5
        await one.send(0, 80)

    one = call(play)
    (turn_id,) = one.voice
    assert abs(one.voice[turn_id] - 2.0) < 0.01
    assert len(one.channel.done()) == 1
