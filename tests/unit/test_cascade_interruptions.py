"""Interruptions of the engine made of three services: what ends an answer, until when, and what is remembered of it."""

import asyncio

import pytest
from parley.speech.engine import AssistantAudio, AssistantTranscript, Interrupted, TurnEnded, TurnStarted

from tests.unit.cascade_doubles import SILENCE, SPEECH, World
from tests.unit.engine_doubles import Witness, witnessed
from tests.unit.virtual_time import run_virtual


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
