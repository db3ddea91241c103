"""Questions to the engine made of three services: when one is complete, when it goes on, and what is none."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from parley.conversation.models import Completion
from parley.speech.cascade import FINAL_SECONDS
from parley.speech.engine import TurnEnded, TurnStarted, UserTranscript

from tests.unit.cascade_doubles import SILENCE, SPEECH, World
from tests.unit.engine_doubles import Witness, witnessed
from tests.unit.virtual_time import run_virtual


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
