"""Which events Nova 2 Sonic's stand-in refuses, and how."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aws_sdk_bedrock_runtime.models import ValidationException

from sandbox.models.speech.duplex import ServiceError
from sandbox.models.speech.sonic_input import Inputs
from tests.unit.speech_doubles import SILENCE, Endpoint, Talk, end_of, endpoint, served, talk

__all__ = ["endpoint", "served"]


async def nothing_first(session: Talk) -> None:
    await session.send("promptStart", **session.prompt_fields("matthew"))


async def a_flat_sensitivity(session: Talk) -> None:
    await session.send("sessionStart", inferenceConfiguration={}, endpointingSensitivity="HIGH")


async def two_starts(session: Talk) -> None:
    await session.begin()
    await session.send("sessionStart", inferenceConfiguration={})


async def two_prompts(session: Talk) -> None:
    await session.begin()
    await session.send("promptStart", **session.prompt_fields("matthew"))


async def no_such_voice(session: Talk) -> None:
    await session.begin(voice="alice")


async def no_such_sensitivity(session: Talk) -> None:
    await session.begin(sensitivity="EXTREME")


async def a_history_that_the_assistant_begins(session: Talk) -> None:
    await session.begin()
    await session.text("ASSISTANT", "Hello.")


async def too_long_a_message(session: Talk) -> None:
    await session.begin()
    await session.text("USER", "a" * (50 * 1024 + 1))


async def too_long_a_history(session: Talk) -> None:
    await session.begin()
    for number in range(5):
        await session.text("USER" if number % 2 == 0 else "ASSISTANT", "a" * 50_000)


async def history_after_speech(session: Talk) -> None:
    await session.begin()
    await session.open_microphone()
    await session.text("USER", "This was said before.")


async def two_system_prompts(session: Talk) -> None:
    await session.begin()
    await session.text("SYSTEM", "Be brief.")


async def no_system_prompt(session: Talk) -> None:
    await session.send("sessionStart", inferenceConfiguration={})
    await session.send("promptStart", **session.prompt_fields("matthew"))
    await session.text("USER", "Hello.")


async def an_empty_text(session: Talk) -> None:
    await session.begin()
    await session.text("USER", " ")


async def audio_before_its_start(session: Talk) -> None:
    await session.begin()
    await session.hear(SILENCE)


async def half_a_sample(session: Talk) -> None:
    await session.begin()
    await session.open_microphone()
    await session.hear(b"\0\0\0")


async def no_base64(session: Talk) -> None:
    await session.begin()
    await session.open_microphone()
    await session.send("audioInput", promptName=session.prompt, contentName=session.microphone, content="!!!")


async def a_strange_rate(session: Talk) -> None:
    await session.begin()
    await session.open_microphone(11_025)


async def another_prompt(session: Talk) -> None:
    await session.begin()
    session.prompt = "another"
    await session.open_microphone()


async def text_into_the_microphone(session: Talk) -> None:
    await session.begin()
    await session.open_microphone()
    await session.send("textInput", promptName=session.prompt, contentName=session.microphone, content="Hello.")


async def a_result_of_no_tool(session: Talk) -> None:
    await session.begin()
    await session.tool_result("nobody-asked", "{}")


async def an_unknown_event(session: Talk) -> None:
    await session.begin()
    await session.send("dance")


@pytest.mark.parametrize(
    "mistake",
    [
        nothing_first, a_flat_sensitivity, two_starts, two_prompts, no_such_voice, no_such_sensitivity,
        a_history_that_the_assistant_begins, too_long_a_message, too_long_a_history, history_after_speech,
        two_system_prompts, no_system_prompt, an_empty_text, audio_before_its_start, half_a_sample, no_base64,
        a_strange_rate, another_prompt, text_into_the_microphone, an_unknown_event,
    ],
)  # fmt: skip
def test_a_malformed_conversation_is_refused(mistake: Callable[[Talk], Coroutine[Any, Any, None]]) -> None:
    with pytest.raises(ServiceError, match=r"Invalid input request|Chat history") as refused:
        asyncio.run(mistake(Talk(Reader())))

    assert refused.value.kind == "ValidationException"


class Reader:
    """In place of a stream: what is sent is read at once, as the service reads it."""

    def __init__(self) -> None:
        self.input_stream = self
        self._inputs = Inputs()

    async def send(self, event: Any) -> None:
        self._inputs.take(event.value.bytes_)


@pytest.mark.parametrize("mistake", [nothing_first, half_a_sample, a_result_of_no_tool])
def test_a_refusal_ends_the_stream(endpoint: Endpoint, mistake: Callable[[Talk], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        async with talk(endpoint) as session:
            with contextlib.suppress(OSError):
                # The refusal may come before everything is sent.
                await mistake(session)
            await end_of(session)

    with pytest.raises(ValidationException, match=r"Invalid input request|tool result"):
        asyncio.run(work())
