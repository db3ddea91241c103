"""The session worker over a whole call, in virtual time."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.conversation.tools.tool import ToolResult
from parley.server_messages import (
    AudioMessage,
    ErrorMessage,
    InterruptedMessage,
    MessageDone,
    SessionReady,
    ToolNotice,
    Transcript,
    UsageReport,
)
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.session import ACK_FRAMES

from tests.unit.conversation_doubles import passage
from tests.unit.voice_call import Call
from tests.unit.voice_doubles import FRAME, run_virtual


def call(play: Callable[[Call], Awaitable[None]], **changes: object) -> Call:
    """Play a call to its end."""

    async def main() -> Call:
        one = Call(**changes)  # type: ignore[arg-type]  # whatever the test changes
        try:
            await play(one)
        finally:
            await one.close()
        return one

    return run_virtual(main())


def asked(one: Call) -> list[int]:
    """The utterances of all stored questions.

    What the user says while nobody answers is one question with what comes after it: nothing of it is lost.
    """
    return [int(number) for question, _ in one.exchanges() for number in re.findall(r"utterance (\d+)", question)]


def test_an_utterance_is_answered_and_stored() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=6.0)
        one.hang_up()
        await one.clock.sleep(2)

    one = call(play)
    assert one.outcomes == ["ended"]
    assert one.exchanges() == [("utterance 1", "Answer 1. Part 2 of it. Part 3 of it. Part 4 of it.")]
    assert one.frames_heard(1) == list(range(1, 13))
    ready = one.channel.of(SessionReady)[0]
    assert (ready.engine, ready.language) == ("nova-sonic", "en-US")
    done = one.channel.of(MessageDone)[0]
    assert done.medium == "voice"
    assert done.turn_id in one.voice
    assert [said.text for said in one.channel.of(Transcript) if said.role == "user" and said.final] == ["utterance 1"]
    assert one.channel.ended() == "ended"
    # Acknowledged, but for the last frames.
    assert not one.kept or min(one.kept) > 78 - ACK_FRAMES


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
        writes = 0

        def written() -> None:
            nonlocal writes
            writes += 1
            if writes == number:
                one.kill_worker()

        one.sessions.after_write = written
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
        writes = 0

        def written() -> None:
            nonlocal writes
            writes += 1
            if writes == number:
                one.kill_worker()

        one.sessions.after_write = written
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


def test_an_interruption_keeps_only_what_was_heard() -> None:
    async def play(one: Call) -> None:
        one.engine.answer_seconds = 10.0
        one.connect()
        await one.send(1, 12)
        await one.send(0, 30)
        # About 2 s of the answer were played by now.
        await one.send(2, 12)
        await one.send(0, 150)

    one = call(play)
    (first, heard), (second, whole) = one.exchanges()
    assert (first, second) == ("utterance 1", "utterance 2")
    assert heard.startswith("Answer 1. Part 2 of it.")
    assert "Part 7" not in heard
    assert "Part 20" in whole
    interrupted = one.channel.of(InterruptedMessage)
    assert len(interrupted) == 1
    assert f"heard: {heard}" in one.engine.heard_texts
    # Nothing more of that turn's voice was sent.
    at = next(index for index, post in enumerate(one.channel.posts) if isinstance(post.message, InterruptedMessage))
    later = [post.message for post in one.channel.posts[at:] if isinstance(post.message, AudioMessage)]
    assert all(message.turn_id != interrupted[0].turn_id for message in later)
    assert one.meter.counts["Interruptions"] == 1


def test_what_the_client_reports_decides_how_much_was_heard() -> None:
    async def play(one: Call) -> None:
        one.engine.answer_seconds = 10.0
        one.reports_played = False
        one.connect()
        await one.send(1, 12)
        await one.send(0, 40)
        asyncio.get_running_loop().call_later(0.3, lambda: one.report_exactly(600))
        await one.send(2, 12)
        await one.send(0, 150)

    one = call(play)
    assert one.exchanges()[0] == ("utterance 1", "Answer 1.")


def test_speech_into_the_rest_of_a_complete_answer_interrupts_it() -> None:
    async def play(one: Call) -> None:
        one.engine.answer_seconds = 6.0
        one.connect()
        await one.send(1, 12)
        # The engine has given all of the answer in half a second; it is still being played.
        await one.send(0, 25)
        await one.send(2, 12)
        await one.send(0, 120)

    one = call(play)
    assert len(one.channel.of(InterruptedMessage)) == 1
    assert len(one.exchanges()) == 2
    assert "Part 12" not in one.exchanges()[0][1]


def test_a_pause_within_an_utterance_is_no_second_question() -> None:
    async def play(one: Call) -> None:
        one.engine.think_seconds = 1.0
        one.connect()
        await one.send(1, 12)
        await one.send(0, 6)
        await one.send(2, 12)
        await one.send(0, 80)

    one = call(play)
    assert [question for question, _ in one.exchanges()] == ["utterance 1 utterance 2"]
    assert not one.channel.of(InterruptedMessage)


def test_a_slow_tool_does_not_block_the_audio() -> None:
    async def play(one: Call) -> None:
        one.engine.uses_tool = True
        one.tools.seconds = 5.0
        one.tools.result = ToolResult(content={"passages": 1}, passages=(passage(1), passage(2)))
        one.connect()
        await one.say(1, then=12.0)

    one = call(play)
    notices = [(notice.name, notice.status) for notice in one.channel.of(ToolNotice)]
    assert notices == [("search_knowledge", "started"), ("search_knowledge", "done")]
    assert one.frames_heard(1) == list(range(1, 13))
    assert max(one.meter.times["RelayLatency"]) < 100
    done = one.channel.done()[0]
    assert done.knowledge == "used"
    assert [citation.document for citation in done.citations] == ["file-1.md", "file-2.md"]
    assert [usage.input_tokens for usage in one.channel.of(UsageReport)] == [100]


def test_a_failing_tool_is_told_to_the_model_and_noticed() -> None:
    async def play(one: Call) -> None:
        one.engine.uses_tool = True
        one.tools.result = ToolResult(content={"error": "no"}, is_error=True)
        one.connect()
        await one.say(1, then=6.0)

    one = call(play)
    assert [notice.status for notice in one.channel.of(ToolNotice)] == ["started", "failed"]
    assert [result.is_error for result in one.engine.results] == [True]
    assert one.channel.done()[0].knowledge == "none"


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


def test_a_typed_message_is_answered_once_by_voice() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.send(0, 60)
        one.type("What is typed?")
        await one.send(0, 60)

    one = call(play)
    assert [text for text in one.engine.heard_texts if not text.startswith("heard")] == ["What is typed?"]
    assert [(turn.role, turn.medium) for turn in one.turns] == [("user", "text"), ("assistant", "voice")]
    assert one.turns[0].text == "What is typed?"


@pytest.mark.parametrize("number", range(1, 7))
def test_a_killed_workers_answer_to_a_typed_message_still_names_it(number: int) -> None:
    async def play(one: Call) -> None:
        writes = 0

        def written() -> None:
            nonlocal writes
            writes += 1
            if writes == number:
                one.kill_worker()

        one.connect()
        await one.send(0, 20)
        one.sessions.after_write = written
        one.type("What is typed?")
        await one.send(0, 300)
        # What was stored, and not told any more, is told when it is asked for again.
        one.type("What is typed?")
        await one.send(0, 60)

    one = call(play)
    assert [turn.text for turn in one.turns if turn.role == "user"] == ["What is typed?"]
    assert {done.request_id for done in one.channel.done()} == {"m-1"}


def test_a_typed_message_that_is_sent_again_gets_its_answer_again() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.send(0, 60)
        one.kill_worker()
        await one.send(0, 200)
        one.type("What is typed?")
        await one.send(0, 20)

    one = call(play)
    assert [text for text in one.engine.heard_texts if not text.startswith("heard")] == ["What is typed?"]
    assert [done.request_id for done in one.channel.done()] == ["m-1", "m-1"]
    assert len({done.turn_id for done in one.channel.done()}) == 1
    assert one.sessions.session.inbox == ()


def test_a_typed_message_is_not_lost_with_its_worker() -> None:
    async def play(one: Call) -> None:
        one.engine.think_seconds = 2.0
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.clock.sleep(1)
        one.kill_worker()
        await one.send(0, 300)

    one = call(play)
    assert [question for question, _ in one.exchanges()] == ["What is typed?"]
    assert one.sessions.session.inbox == ()


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


def test_an_engine_that_refuses_is_reported_and_tried_again() -> None:
    async def play(one: Call) -> None:
        one.engine.refuses = 8
        one.connect()
        await one.send(1, 12)
        await one.send(0, 350)

    one = call(play)
    assert [(error.code, error.retryable) for error in one.channel.of(ErrorMessage)] == [("engine_unavailable", True)]
    assert one.engine.answered == [1]
    assert one.frames_heard(1) == list(range(1, 13))


def test_an_engine_that_will_not_serve_fails_the_session() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.engine.streams[0].emit(EngineClosed("failed", retryable=False))
        await one.clock.sleep(2)

    one = call(play)
    assert one.channel.ended() == "failed"


def test_a_conversation_begun_by_text_goes_on_by_voice() -> None:
    async def play(one: Call) -> None:
        from tests.unit.conversation_doubles import turn

        one.store.turns_by_id["ada", "a" * 28] = [turn("user", "Hello?"), turn("assistant", "Hello.")]
        one.sessions.change(conversation_id="a" * 28)
        one.connect()
        await one.say(1, then=6.0)

    one = call(play)
    assert [(message.role, message.text) for message in one.engine.requests[0].history] == [
        ("user", "Hello?"),
        ("assistant", "Hello."),
    ]
    assert len(one.store.turns_by_id["ada", "a" * 28]) == 4


def test_frames_reach_the_engine_soon_after_they_came() -> None:
    async def play(one: Call) -> None:
        one.connect()
        for number in range(1, 10):
            await one.say(number)

    one = call(play)
    assert sorted(one.meter.times["RelayLatency"])[len(one.meter.times["RelayLatency"]) // 2] < 30
    # Point reads: hardly more than one for each frame.
    assert one.relay.reads < one.seq * 1.6


def test_a_connection_of_the_model_that_dies_before_its_answer_costs_nothing() -> None:
    async def play(one: Call) -> None:
        one.engine.think_seconds = 1.5
        one.connect()
        await one.send(0, 10)
        await one.send(1, 12)
        await one.send(0, 8)
        one.engine.streams[0].die()
        await one.send(0, 80)

    one = call(play)
    assert one.exchanges() == [("utterance 1", "Answer 1. Part 2 of it. Part 3 of it. Part 4 of it.")]
    # The page shows one turn, not two.
    assert len({said.turn_id for said in one.channel.of(Transcript)}) == 1


def test_a_pending_turn_that_cannot_be_read_is_let_go() -> None:
    async def play(one: Call) -> None:
        one.sessions.change(pending=b"from another version", answered_seq=5)
        one.seq = 5
        one.connect()
        await one.say(1, then=6.0)

    one = call(play)
    assert asked(one) == [1]
    assert one.sessions.session.pending is None


def test_a_conversation_that_is_deleted_during_the_call_is_followed_by_another() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.say(1, then=6.0)
        one.store.deleted.add(one.sessions.session.conversation_id or "")
        one.store.turns_by_id.clear()
        await one.say(2, then=6.0)

    one = call(play)
    assert asked(one) == [2]
    ((_, conversation_id),) = one.store.turns_by_id
    assert conversation_id == one.sessions.session.conversation_id


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


def test_an_engine_may_say_things_out_of_their_order() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        stream = one.engine.streams[0]
        # Outside of a turn nothing is anybody's.
        stream.emit(AssistantAudio(bytes(4800)), AssistantTranscript("Nobody's.", spoken=False), TurnEnded())
        stream.emit(ToolRequest("r", "search_knowledge", {}), Interrupted())
        # A turn of nothing is none.
        stream.emit(TurnStarted(), TurnEnded())
        # The last of the question comes when the answer has been announced; the answer has no voice.
        stream.emit(UserTranscript("How", final=False), TurnStarted(), UserTranscript("How late?", final=True))
        stream.emit(AssistantTranscript("Late.", spoken=False), TurnEnded())
        await one.send(0, 20)
        # A turn begins although nothing interrupted the one before.
        long = AssistantAudio(bytes(48_000 * 5))
        stream.emit(UserTranscript("First", final=True), TurnStarted(), AssistantTranscript("One.", spoken=False), long)
        await one.send(0, 20)
        stream.emit(TurnStarted(), AssistantTranscript("Two.", spoken=False), long, TurnEnded())
        await one.send(0, 90)

    one = call(play)
    texts = [(question, answer) for question, answer in one.exchanges()]
    assert texts[0] == ("How late?", "Late.")
    assert [question for question, _ in texts] == ["How late?", "First", ""]
    assert texts[2][1] == "Two."
    assert len(one.channel.of(InterruptedMessage)) == 1
    assert not one.tools.used


def test_a_typed_message_that_a_spoken_turn_passes_by_is_not_asked_for_ever() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        stream = one.engine.streams[0]

        async def takes_no_text(text: str) -> None:
            one.engine.heard_texts.append(text)

        stream.send_text = takes_no_text  # type: ignore[method-assign]  # it answers what is spoken only
        one.type("Typed")
        await one.say(1, then=5.0)
        assert len(one.sessions.session.inbox) == 1
        await one.say(2, then=5.0)

    one = call(play)
    assert asked(one) == [1, 2]
    assert one.sessions.session.inbox == ()
    assert one.engine.heard_texts == ["Typed"]
