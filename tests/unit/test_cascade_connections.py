"""Connections of the engine made of three services: what is refused, and how they end, by a service or by us."""

import asyncio
from collections.abc import Callable

import pytest
from parley.conversation.models import ModelFailure
from parley.errors import LanguageUnsupported
from parley.speech.engine import AssistantAudio, EngineClosed, EngineUnavailable

from tests.unit.cascade_doubles import QUIET, World
from tests.unit.engine_doubles import Witness, witnessed
from tests.unit.virtual_time import run_virtual


def test_the_factory_tells_its_limits_and_refuses_what_it_cannot_speak() -> None:
    world = World(language="vi-VN")
    assert (world.factory.model, world.factory.lifetime_seconds, world.factory.idle_seconds) == ("first", 100.0, 15.0)
    with pytest.raises(LanguageUnsupported):
        asyncio.run(world.open())
    assert not world.ear.languages


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
