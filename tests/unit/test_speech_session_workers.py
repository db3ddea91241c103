"""Workers in a whole call, in virtual time: killed, handing over or cut off, they lose and repeat nothing."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.server_messages import AudioMessage

from tests.unit.scripted_engine import FRAME
from tests.unit.voice_call import Call, asked, call


def test_half_an_hour_with_two_handoffs_and_four_continuations() -> None:
    async def play(one: Call) -> None:
        # Eight minutes in the service; a little less here, so that each worker meets the limit twice.
        one.engine.lifetime_seconds = 360.0
        one.connect()
        number = 0
        until = one.clock.now() + 1800
        while one.clock.now() < until:
            number += 1
            await one.say(number, frames=10 + number % 17, then=3.5 + number % 5)
        one.hang_up()
        await one.clock.sleep(2)

    began = time.process_time()
    one = call(play)
    spent = time.process_time() - began
    asked = one.seq and max(utterance for _, utterance, _ in one.engine.heard_frames)
    assert one.outcomes == ["handed_over", "handed_over", "ended"]
    assert one.meter.counts["SessionHandoffs"] == 2
    # Each worker opens one stream to begin with.
    assert one.engine.opened - 3 >= 4
    assert one.engine.answered == list(range(1, asked + 1)), "each utterance once, and in order"
    assert [question for question, _ in one.exchanges()] == [f"utterance {n}" for n in range(1, asked + 1)]
    for number in range(1, asked + 1):
        assert one.frames_heard(number) == list(range(1, 11 + number % 17)), f"utterance {number}"
    assert "LeaseLost" not in one.meter.counts
    assert one.follower_lost() == 0
    assert spent < 60, "a hang, not a slow machine"


@given(kills=st.lists(st.floats(0.5, 9.0), min_size=1, max_size=4))
@settings(max_examples=25)
def test_a_killed_worker_loses_nothing_and_answers_nothing_twice(kills: list[float]) -> None:
    async def play(one: Call) -> None:
        async def killer() -> None:
            for pause in kills:
                await one.clock.sleep(pause)
                one.kill_worker()
                await one.clock.sleep(25)

        one.connect()
        killing = asyncio.ensure_future(killer())
        for number in range(1, 6):
            await one.say(number, then=5.0)
        await killing
        await one.send(0, 250)

    one = call(play)
    assert asked(one) == [1, 2, 3, 4, 5]
    # The engine may have begun an answer twice, but never was more of one heard than of one for each utterance.
    begun = [message.turn_id for message in one.channel.of(AudioMessage)]
    assert len(set(begun)) <= 5
    for number in range(1, 6):
        assert one.frames_heard(number) == list(range(1, 13))


@pytest.mark.parametrize("number", range(1, 13))
def test_a_worker_killed_right_after_a_write_loses_nothing_and_answers_nothing_twice(number: int) -> None:
    async def play(one: Call) -> None:
        one.kill_worker_after_write(number)
        one.connect()
        for utterance in range(1, 5):
            await one.say(utterance, then=5.0)
        await one.send(0, 250)

    one = call(play)
    assert len(one.workers) == 2
    assert asked(one) == [1, 2, 3, 4]
    assert len({message.turn_id for message in one.channel.of(AudioMessage)}) <= 4
    assert one.sessions.session.pending is None


@pytest.mark.parametrize("number", range(1, 16))
def test_a_worker_killed_after_an_interruption_and_a_slow_write_loses_nothing(number: int) -> None:
    async def play(one: Call) -> None:
        one.kill_worker_after_write(number)
        one.sessions.delay = 0.3
        one.engine.answer_seconds = 8.0
        one.connect()
        for utterance in range(1, 5):
            # Each but the last answer is interrupted by the next utterance.
            await one.send(utterance, 12)
            await one.send(0, 25)
        await one.send(0, 400)

    one = call(play)
    assert len(one.workers) == 2
    assert asked(one) == [1, 2, 3, 4]
    assert len({message.turn_id for message in one.channel.of(AudioMessage)}) <= 4


def test_a_worker_whose_time_is_up_hands_over_in_the_middle_of_an_answer() -> None:
    async def play(one: Call) -> None:
        one.engine.answer_seconds = 80.0
        one.connect()
        await one.clock.sleep(5)
        one.worker_seconds = 900.0
        await one.say(1, then=80.0)

    one = call(play, worker_seconds=100.0)
    assert one.outcomes == ["handed_over"]
    ((question, answer),) = one.exchanges()
    assert question == "utterance 1"
    # About 63 s of it were heard.
    assert "Part 90" in answer
    assert "Part 130" not in answer
    assert one.engine.answered == [1]


def test_a_worker_whose_time_is_up_hands_over_in_the_middle_of_an_utterance() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.clock.sleep(8)
        one.worker_seconds = 900.0
        await one.send(1, round(70 / FRAME))
        await one.send(0, 60)

    one = call(play, worker_seconds=100.0)
    assert one.outcomes == ["handed_over"]
    assert one.frames_heard(1) == list(range(1, round(70 / FRAME) + 1))
    assert [question for question, _ in one.exchanges()] == ["utterance 1"]


def test_a_successor_answers_within_the_lease_and_a_ping() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=6.0)
        one.kill_worker()
        killed = one.clock.now()
        await one.send(2, 12)
        while 2 not in one.engine.answered:
            await one.send(0, 1)
        one.took = one.clock.now() - killed  # type: ignore[attr-defined]  # for the assertion below

    one = call(play)
    assert one.took < 20  # type: ignore[attr-defined]  # see above
    assert one.engine.answered == [1, 2]


def test_a_handover_that_lambda_refuses_is_made_up_for_by_a_ping() -> None:
    async def play(one: Call) -> None:
        one.refuses_workers = True
        one.connect()
        await one.clock.sleep(15)
        one.refuses_workers = False
        one.worker_seconds = 900.0
        await one.say(1, then=12.0)

    one = call(play, worker_seconds=100.0)
    assert one.outcomes[0] == "handed_over"
    assert asked(one) == [1]


def test_a_pending_turn_that_cannot_be_read_is_let_go() -> None:
    async def play(one: Call) -> None:
        one.sessions.change(pending=b"from another version", answered_seq=5)
        one.seq = 5
        one.connect()
        await one.say(1, then=6.0)

    one = call(play)
    assert asked(one) == [1]
    assert one.sessions.session.pending is None


def test_a_stale_worker_stores_nothing_and_says_nothing() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(1, 12)
        await one.send(0, 2)
        # Another worker acquires the session behind this one's back.
        one.sessions.change(epoch=one.sessions.session.epoch + 1)
        said = len(one.channel.of(AudioMessage))
        await one.send(0, 60)
        assert len(one.channel.of(AudioMessage)) == said

    one = call(play)
    assert one.outcomes == ["lost"]
    assert one.turns == []
    assert one.meter.counts["LeaseLost"] == 1
    assert one.channel.ended() is None


def test_a_worker_whose_store_is_silent_stops_before_another_may_begin() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.sessions.fails = True
        await one.clock.sleep(11)

    one = call(play)
    assert one.outcomes == ["lost"]


def test_a_store_that_fails_for_a_while_costs_no_turn() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(1, 12)
        one.relay.fails = 3
        one.sessions.fails = True
        asyncio.get_running_loop().call_later(2.0, lambda: setattr(one.sessions, "fails", False))
        await one.send(0, 120)

    one = call(play)
    assert [question for question, _ in one.exchanges()] == ["utterance 1"]
