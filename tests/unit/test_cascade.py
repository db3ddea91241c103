"""The engine made of three services, with scripted ones: turns, interruptions, tools, and services that fail."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest
from parley.conversation.models import Completion, Message, ModelChoice, ModelFailure, Prompt
from parley.conversation.tools.tool import ToolResult, ToolSpec, ToolUse
from parley.errors import LanguageUnsupported
from parley.speech.activity import Began, Ended, VoiceActivity
from parley.speech.audio import output_bytes
from parley.speech.cascade import AHEAD_SECONDS, FINAL_SECONDS, TOOL_SECONDS, Cascade, cascade_factory
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.services import Recognised
from parley.speech.voices import Voice

from tests.unit.engine_doubles import Witness, witnessed
from tests.unit.voice_doubles import run_virtual

SPEECH, SILENCE, QUIET = b"\1" * 4, b"\2" * 4, b"\0" * 4
TOOL = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}})


class LoopClock:
    """The event loop's own time, virtual or not."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Activity:
    """Hears speech and its end in marked frames."""

    def __init__(self) -> None:
        self.speaking = False
        self.frames = 0

    def feed(self, pcm: bytes) -> list[Began | Ended]:
        self.frames += 1
        if pcm == SPEECH and not self.speaking:
            self.speaking = True
            return [Began(float(self.frames))]
        if pcm == SILENCE and self.speaking:
            self.speaking = False
            return [Ended(float(self.frames))]
        return []


class Ear:
    """A recogniser, and its only connection."""

    lifetime_seconds: float | None = 100.0
    idle_seconds: float | None = 15.0

    def __init__(self) -> None:
        self.said: asyncio.Queue[Recognised | Exception | None] = asyncio.Queue()
        self.languages: list[str] = []
        self.audio = b""
        self.broken = False
        self.closed = 0

    async def open(self, language: str) -> "Ear":
        self.languages.append(language)
        return self

    async def send(self, pcm: bytes) -> None:
        if self.broken:
            raise EngineUnavailable
        self.audio += pcm

    async def results(self) -> AsyncIterator[Recognised]:
        while (item := await self.said.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def close(self) -> None:
        self.closed += 1
        self.said.put_nowait(None)

    def hear(self, text: str, *, final: bool = True, id_: str = "r1", language: str | None = None) -> None:
        self.said.put_nowait(Recognised(id_, text, final, language))


class Mouth:
    """A synthesizer: a tenth of a second of voice for each character, one piece for each word."""

    def __init__(self) -> None:
        self.spoken: list[tuple[str, str]] = []
        self.failing = False
        self.closed = False

    async def speak(self, text: str, voice: Voice) -> AsyncIterator[str | bytes]:
        self.spoken.append((text, voice.id))
        for word in text.split():
            if self.failing:
                raise EngineUnavailable
            yield word
            yield bytes(output_bytes(0.1 * len(word)))
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.closed = True


class Mind:
    """A language model that says what its script says: texts, uses of tools, failures."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.prompts: list[Prompt] = []
        self.ended: list[str] = []

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.prompts.append(prompt)
        step = self.script.pop(0) if self.script else "Yes."
        if isinstance(step, Exception):
            raise step
        try:
            if callable(step):
                return cast(Completion, step(on_text))
            if isinstance(step, Completion):
                if on_text and step.text:
                    on_text(step.text)
                return step
            for piece in step.split(" "):
                assert on_text
                on_text(piece + " ")
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("whole")
        return Completion(text=step, input_tokens=10, output_tokens=5)

    def texts(self, number: int = -1) -> list[tuple[str, str]]:
        return [(message.role, message.text) for message in self.prompts[number].messages]


class World:
    """An engine and its services."""

    def __init__(self, *script: Any, **request: Any) -> None:
        self.ear, self.mouth, self.mind, self.activity = Ear(), Mouth(), Mind(*script), Activity()
        models = ModelChoice(model=self.mind, ids_by_role={"quick": ["first"]}, pause=lambda _seconds: None)
        self.factory = cascade_factory(
            self.ear,
            lambda: self.mouth,
            models,
            clock=LoopClock(),
            activity=lambda: cast(VoiceActivity, self.activity),
        )
        self.request = EngineRequest(**({"system": "Be kind.", "language": "en-US"} | request))

    async def open(self) -> Cascade:
        engine = await self.factory.open(self.request)
        assert isinstance(engine, Cascade)
        return engine

    async def ask(self, engine: Cascade, text: str, id_: str = "r1") -> None:
        """An utterance: speech, its transcript, and its end."""
        await engine.send_audio(SPEECH)
        self.ear.hear(text, id_=id_)
        await engine.send_audio(SILENCE)
        await asyncio.sleep(0.01)


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


def test_a_guess_stands_when_the_recogniser_is_late_and_its_last_word_is_not_answered_again() -> None:
    world = World("Yes.")

    async def scenario() -> tuple[Witness, float]:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await engine.send_audio(SPEECH)
            world.ear.hear("is it so", final=False)
            await asyncio.sleep(0.01)
            await engine.send_audio(SILENCE)
            began = asyncio.get_running_loop().time()
            await witness.until(TurnStarted)
            waited = asyncio.get_running_loop().time() - began
            world.ear.hear("Is it so?")
            await witness.until(TurnEnded)
            await asyncio.sleep(5)
        return witness, waited

    witness, waited = run_virtual(scenario())
    assert waited == pytest.approx(FINAL_SECONDS, abs=0.05)
    assert world.mind.texts() == [("user", "is it so")]
    assert [event for event in witness.events if isinstance(event, UserTranscript)] == [
        UserTranscript("is it so", final=False),
        UserTranscript("is it so", final=True),
    ]
    assert witness.kinds().count("TurnStarted") == 1


def test_who_goes_on_speaking_is_not_answered_yet() -> None:
    world = World("Yes.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await engine.send_audio(SPEECH)
            world.ear.hear("Is it", final=False)
            await asyncio.sleep(0.01)
            await engine.send_audio(SILENCE)
            await asyncio.sleep(FINAL_SECONDS / 2)
            await engine.send_audio(SPEECH)
            world.ear.hear("Is it so")
            await asyncio.sleep(FINAL_SECONDS * 2)
            assert "TurnStarted" not in witness.kinds()
            world.ear.hear("or not?", id_="r2")
            await asyncio.sleep(0.01)
            await engine.send_audio(SILENCE)
            await witness.until(TurnEnded)
        return witness

    run_virtual(scenario())
    assert world.mind.texts() == [("user", "Is it so or not?")]


def test_noise_is_no_question_and_a_voice_that_only_the_recogniser_hears_is_one() -> None:
    world = World("Yes.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await engine.send_audio(SPEECH)
            await engine.send_audio(SILENCE)
            world.ear.hear("  ")
            await asyncio.sleep(10)
            assert not witness.events
            world.ear.hear("very softly")
            await witness.until(TurnEnded)
        return witness

    witness = run_virtual(scenario())
    assert TurnStarted(2.0) in witness.events or TurnStarted(None) in witness.events
    assert world.mind.texts() == [("user", "very softly")]


def test_who_speaks_before_the_answer_goes_on_with_the_same_question() -> None:
    never = threading.Event()

    def silent(on_text: Callable[[str], None]) -> Completion:
        never.wait(0.3)
        on_text("Too late.")
        raise AssertionError("a cancelled model goes on")

    world = World(silent, "Good.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "I would like")
            await witness.until(TurnStarted)
            await world.ask(engine, "a coffee.", "r2")
            await witness.until(TurnEnded)
            await asyncio.sleep(0.4)
        return witness

    witness = asyncio.run(scenario())
    assert witness.kinds()[:5] == ["UserTranscript", "TurnStarted", "Interrupted", "UserTranscript", "TurnStarted"]
    assert world.mind.texts(1) == [("user", "I would like a coffee.")]
    assert "Cancelled" in world.mind.ended
    assert witness.spoken == ""
    assert [text for text, _ in world.mouth.spoken] == ["Good."]


@pytest.mark.parametrize(
    ("heard", "remembered"),
    [
        ("A long", [("user", "Tell me all."), ("assistant", "A long"), ("user", "Something else?")]),
        ("", [("user", "Tell me all.\n\nSomething else?")]),
        (None, [("user", "Tell me all."), ("assistant", "A long story that goes on."), ("user", "Something else?")]),
    ],
)
def test_who_speaks_into_the_answer_ends_it_and_history_keeps_what_was_heard(
    heard: str | None, remembered: list[tuple[str, str]]
) -> None:
    world = World("A long story that goes on. " + "And on and on. " * 30, "Certainly.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "Tell me all.")
            await witness.until(lambda event: event == AssistantTranscript("on.", spoken=False))
            await asyncio.sleep(0)
            if heard is None:
                # As much as was made of it counts, when nobody says what was heard.
                world.mouth.spoken.clear()
            await engine.send_audio(SPEECH)
            await witness.until(Interrupted)
            if heard is not None:
                await engine.heard(heard)
            world.ear.hear("Something else?", id_="r2")
            await asyncio.sleep(0.01)
            await engine.send_audio(SILENCE)
            await witness.until(TurnEnded)
        return witness

    witness = run_virtual(scenario())
    kinds = witness.kinds()
    after = kinds[kinds.index("Interrupted") + 1 :]
    assert after[:2] == ["UserTranscript", "TurnStarted"]
    if heard is not None:
        assert world.mind.texts() == remembered
    else:
        assert world.mind.texts()[1][1].startswith("A")


def test_an_answer_is_interrupted_while_it_is_played_and_not_after() -> None:
    world = World("A b c d e f g h i j.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "Letters?")
            await witness.until(TurnEnded)
            await asyncio.sleep(0.5)
            await engine.send_audio(SPEECH)
            await witness.until(Interrupted)
            await engine.heard("A b")
            await engine.send_audio(SILENCE)
            await engine.send_audio(SPEECH)
            await engine.send_audio(SILENCE)
            await asyncio.sleep(1)
            world.ear.hear("Go on.", id_="r2")
            await witness.until(TurnEnded, 2)
            await asyncio.sleep(60)
            await engine.send_audio(SPEECH)
            await asyncio.sleep(1)
        return witness

    witness = run_virtual(scenario())
    assert witness.kinds().count("Interrupted") == 1
    assert world.mind.texts() == [("user", "Letters?"), ("assistant", "A b"), ("user", "Go on.")]


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


def test_a_typed_message_is_answered_aloud_and_ends_another_answer() -> None:
    world = World("A story. " * 50, "As you wish.")

    async def scenario() -> Witness:
        engine = await world.open()
        async with witnessed(engine) as witness:
            await world.ask(engine, "Tell me.")
            await witness.until(AssistantAudio)
            await engine.send_text("In short, please")
            await witness.until(TurnEnded)
        return witness

    witness = run_virtual(scenario())
    kinds = witness.kinds()
    assert kinds[kinds.index("Interrupted") :][:3] == ["Interrupted", "UserTranscript", "TurnStarted"]
    assert TurnStarted(None) in witness.events
    assert world.mind.texts()[-1] == ("user", "In short, please")


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


def break_ear(world: World) -> None:
    world.ear.said.put_nowait(EngineUnavailable())


def end_ear(world: World) -> None:
    world.ear.said.put_nowait(None)


def break_mouth(world: World) -> None:
    world.mouth.failing = True


def break_mind(world: World) -> None:
    world.mind.script = [ModelFailure("first", "rejected")] * 4


@pytest.mark.parametrize("fail", [break_ear, end_ear, break_mouth, break_mind])
def test_a_service_that_fails_ends_the_connection(fail: Callable[[World], None]) -> None:
    world = World("An answer. And more.")

    async def scenario() -> list[str]:
        engine = await world.open()
        async with witnessed(engine) as witness:
            fail(world)
            world.ear.hear("Well?")
            assert await witness.until(EngineClosed) == EngineClosed("failed", retryable=True)
            with pytest.raises(EngineUnavailable):
                await engine.send_audio(QUIET)
            with pytest.raises(EngineUnavailable):
                await engine.send_text("Hello?")
        return witness.kinds()

    assert run_virtual(scenario())[-1] == "EngineClosed"


def test_closing_ends_everything_at_any_moment() -> None:
    world = World("A story. " * 50)

    async def scenario() -> Witness:
        engine = await world.open()
        witness = Witness(engine)
        await world.ask(engine, "Tell me.")
        await witness.until(AssistantAudio)
        await engine.close()
        await engine.close()
        await witness.done()
        assert [event async for event in engine.events()] == [EngineClosed("ended", retryable=False)]
        return witness

    witness = run_virtual(scenario())
    assert witness.events[-1] == EngineClosed("ended", retryable=False)
    assert world.ear.closed == 1


def test_the_factory_tells_its_limits_and_refuses_what_it_cannot_speak() -> None:
    world = World(language="vi-VN")
    assert (world.factory.model, world.factory.lifetime_seconds, world.factory.idle_seconds) == ("first", 100.0, 15.0)
    with pytest.raises(LanguageUnsupported):
        asyncio.run(world.open())
    assert not world.ear.languages
