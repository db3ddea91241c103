"""Answers in a whole call, in virtual time: what is stored of them, what interrupts them, and tools they use."""

import asyncio

from parley.conversation.tools.tool import ToolResult
from parley.server_messages import (
    AudioMessage,
    InterruptedMessage,
    MessageDone,
    SessionReady,
    ToolNotice,
    Transcript,
    UsageReport,
)
from parley.speech.session import ACK_FRAMES

from tests.unit.conversation_doubles import passage, turn
from tests.unit.voice_call import Call, asked, call


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


def test_a_conversation_begun_by_text_goes_on_by_voice() -> None:
    async def play(one: Call) -> None:
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
