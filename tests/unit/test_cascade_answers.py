"""Answers of the engine made of three services: spoken as they are written, not far ahead, and with tools."""

import asyncio
import threading
from collections.abc import Callable, Mapping

import pytest
from parley.conversation.models import Completion, Message
from parley.conversation.tools.tool import ToolResult, ToolSpec, ToolUse
from parley.speech.audio import output_bytes
from parley.speech.cascade import AHEAD_SECONDS, TOOL_SECONDS
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)

from tests.unit.cascade_doubles import QUIET, SILENCE, SPEECH, World
from tests.unit.engine_doubles import Witness, witnessed
from tests.unit.virtual_time import run_virtual

TOOL = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})


def test_a_spoken_question_is_answered() -> None:
    world = World(
        "It is this. And that!", history=[Message(role="user", text="Hi"), Message(role="assistant", text="Hello")]
    )

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await engine.send_audio(QUIET)
            await engine.send_audio(SPEECH)
            world.ear.hear("What is", final=False)
            await asyncio.sleep(0.01)
            world.ear.hear("What is it?")
            await asyncio.sleep(0.01)
            await engine.send_audio(SILENCE)
            await witness.until(TurnEnded)
        return witness

    witness = run_virtual(scenario())
    events = [event for event in witness.events if not isinstance(event, AssistantAudio)]
    assert events == [
        UserTranscript("What is", final=False),
        UserTranscript("What is it?", final=True),
        TurnStarted(3.0),
        *[AssistantTranscript(word, spoken=False) for word in ("It", "is", "this.", "And", "that!")],
        TurnEnded(10, 5),
        EngineClosed("ended", retryable=False),
    ]
    assert [text for text, _ in world.mouth.spoken] == ["It is this.", "And that!"]
    assert len(witness.audio) == output_bytes(0.1) * len("Itisthis.Andthat!")
    assert world.mind.texts() == [("user", "Hi"), ("assistant", "Hello"), ("user", "What is it?")]
    assert world.mind.prompts[0].system == "Be kind."
    assert world.ear.audio == QUIET + SPEECH + SILENCE
    assert world.ear.closed
    assert world.mouth.closed


def test_the_first_sentence_is_spoken_while_the_model_still_writes() -> None:
    heard = threading.Event()

    def slowly(on_text: Callable[[str], None]) -> Completion:
        on_text("First of all. Then")
        assert heard.wait(10)
        on_text(" the rest.")
        return Completion(text="First of all. Then the rest.", input_tokens=1, output_tokens=1)

    world = World(slowly)

    async def scenario() -> None:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "Tell me.")
            await witness.until(AssistantAudio, 3)
            heard.set()
            await witness.until(TurnEnded)

    asyncio.run(scenario())
    assert [text for text, _ in world.mouth.spoken] == ["First of all.", "Then the rest."]


def test_voice_is_made_only_some_seconds_ahead_of_what_is_heard() -> None:
    world = World("Nine chars. " * 40)

    async def scenario() -> list[int]:
        engine = await world.open()
        made = []
        async with witnessed(engine) as witness:
            await world.ask(engine, "Tell me.")
            for _ in range(3):
                await asyncio.sleep(5)
                made.append(len(world.mouth.spoken))
            await witness.until(TurnEnded)
        return made

    made = run_virtual(scenario())
    # A sentence of ten letters lasts a second.
    assert made == [pytest.approx(AHEAD_SECONDS + 5 * number, abs=2) for number in (1, 2, 3)]
    assert len(world.mouth.spoken) == 40


def test_the_answer_is_in_the_language_that_was_heard() -> None:
    world = World("Gern.", "Ja.", language="en-US")

    async def scenario() -> None:
        engine = await world.open()
        async with witnessed(engine) as witness:
            world.ear.hear("Guten Tag", language="de-DE")
            await witness.until(TurnEnded)
            await asyncio.sleep(5)
            world.ear.hear("Xin chào", id_="r2", language="vi-VN")
            await witness.until(TurnEnded, 2)

    run_virtual(scenario())
    assert [voice for _, voice in world.mouth.spoken] == ["Vicki", "Vicki"]


def test_what_is_only_markup_is_not_spoken() -> None:
    world = World("Look:\n```\ncode\n```\n**Done.** [1]")

    async def scenario() -> None:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "Show me.")
            await witness.until(TurnEnded)

    run_virtual(scenario())
    assert "```" not in "".join(text for text, _ in world.mouth.spoken)


def test_tools_are_used_and_their_results_answered_with() -> None:
    use = ToolUse("u1", "clock", {"zone": "UTC"})
    world = World(
        Completion(text="One moment.", input_tokens=3, output_tokens=2, tool_uses=(use, ToolUse("u2", "clock", "?"))),
        "It is nine.",
        tools=[TOOL],
    )

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "What time is it?")
            request = await witness.until(ToolRequest)
            assert request == ToolRequest("u1", "clock", {"zone": "UTC"})
            assert (await witness.until(ToolRequest, 2)).arguments == {}
            await engine.send_audio(QUIET)
            await engine.send_tool_result("u2", ToolResult(content={"time": "nine"}))
            await engine.send_tool_result("u1", ToolResult(content={"time": "9"}))
            await engine.send_tool_result("unknown", ToolResult(content={}))
            assert await witness.until(TurnEnded) == TurnEnded(13, 7)
        return witness

    run_virtual(scenario())
    question, asked, given = world.mind.prompts[1].messages
    assert (question.text, asked.text, [one.id for one in asked.tool_uses]) == (
        "What time is it?",
        "One moment.",
        ["u1", "u2"],
    )
    assert given.tool_results == {"u1": ToolResult(content={"time": "9"}), "u2": ToolResult(content={"time": "nine"})}
    assert world.mind.prompts[0].tools == [TOOL]
    assert [text for text, _ in world.mouth.spoken] == ["One moment.", "It is nine."]


def test_a_tool_without_result_is_given_up_and_a_model_that_only_uses_tools_is_told_to_stop() -> None:
    def again(number: int) -> Completion:
        return Completion(text="", input_tokens=1, output_tokens=1, tool_uses=(ToolUse(f"u{number}", "clock", {}),))

    world = World(*[again(number) for number in range(3)], "So be it.", tools=[TOOL])

    async def scenario() -> float:
        engine = await world.open()
        async with witnessed(engine) as witness:
            began = asyncio.get_running_loop().time()
            await world.ask(engine, "What time is it?")
            await witness.until(ToolRequest)
            for number in range(2):
                await witness.until(ToolRequest, number + 1)
                await engine.send_tool_result(f"u{number}", ToolResult(content={}))
            # The witness has less patience than a tool has time.
            await asyncio.sleep(TOOL_SECONDS)
            await witness.until(TurnEnded)
            return asyncio.get_running_loop().time() - began

    assert run_virtual(scenario()) == pytest.approx(TOOL_SECONDS, abs=2)
    last = world.mind.prompts[-1]
    assert last.system != "Be kind."
    results: Mapping[str, ToolResult] = last.messages[-1].tool_results
    assert results["u2"].is_error
