"""Nova 2 Sonic's stand-in, spoken to through AWS's own SDK over TLS and HTTP/2."""

import asyncio
import json
from typing import Any

import pytest
from aws_sdk_bedrock_runtime.models import (
    ModelStreamErrorException,
    ModelTimeoutException,
    ThrottlingException,
    ValidationException,
)

from sandbox.models.speech.audio import resample
from sandbox.models.speech.sonic_output import INTERRUPTED_TEXT
from sandbox.models.speech.sonic_tools import FAILED, NOTHING
from tests.unit.speech_doubles import (
    MODEL,
    QUESTIONS,
    RATE,
    SILENCE,
    Endpoint,
    Talk,
    end_of,
    endpoint,
    served,
    speech,
    talk,
)

__all__ = ["endpoint", "served"]

LONG_ANSWER = (
    "The first thing to know is that this answer is long. The second thing is that nobody wants to hear all of it. "
    "The third thing is that it goes on for quite a while. The fourth thing is not worth waiting for."
)
PASSAGES = {
    "passages": [
        {"id": 1, "document": "websocket.md", "heading": "WebSocket", "text": "A WebSocket frame may be 32 KB large."},
        {"id": 2, "document": "tickets.md", "heading": "Tickets", "text": "A ticket is valid for 60 seconds."},
    ]
}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    inner = {"name": name, "description": "A tool.", "inputSchema": {"json": json.dumps(schema)}}
    return {"toolSpec": inner}


SEARCH = tool("search_knowledge", query={"type": "string"})


def test_a_spoken_question_is_heard_looked_up_and_answered_aloud(endpoint: Endpoint) -> None:
    async def work() -> Talk:
        async with talk(endpoint) as session:
            await session.begin([SEARCH])
            await session.open_microphone()
            await session.say(QUESTIONS[0])
            use = await session.until("toolUse")
            assert use["toolName"] == "search_knowledge"
            assert json.loads(use["content"]) == {"query": QUESTIONS[0]}
            await session.tool_result(use["toolUseId"], json.dumps(PASSAGES))
            await session.until("contentEnd", type="AUDIO", stopReason="END_TURN")
            await session.hear(SILENCE * 120)
            await session.until("usageEvent")
            await session.end()
            await session.until("completionEnd", stopReason="END_TURN")
            assert await session.next() is None
            return session

    session = asyncio.run(work())

    answer = "A WebSocket frame may be 32 KB large."
    assert session.blocks() == [
        ("USER", "TEXT", "FINAL", QUESTIONS[0], "PARTIAL_TURN"),
        ("TOOL", "TOOL", "", json.dumps({"query": QUESTIONS[0]}), "TOOL_USE"),
        ("ASSISTANT", "TEXT", "SPECULATIVE", answer, "PARTIAL_TURN"),
        ("ASSISTANT", "AUDIO", "", "", "END_TURN"),
        ("ASSISTANT", "TEXT", "FINAL", answer, "END_TURN"),
    ]
    assert (
        asyncio.run(heard(endpoint, resample(session.audio(), 24_000, RATE))) == "A WebSocket frame may be 32 KB large."
    )


async def heard(endpoint: Endpoint, pcm: bytes) -> str:
    """What the stand-in makes of speech."""
    async with talk(endpoint) as session:
        await session.begin()
        await session.open_microphone()
        await session.hear(pcm + SILENCE * 25)
        return str((await session.until("textOutput", role="USER"))["content"])


def test_every_event_carries_the_session_and_one_completion_holds_them_all(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"transcript": "Hello.", "answer": "Good morning."})

    async def work() -> Talk:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone()
            for _ in range(2):
                await session.say("Stop please.")
                await session.hear(SILENCE * 60)
                await session.until("usageEvent")
            await session.end()
            await session.until("completionEnd")
            return session

    session = asyncio.run(work())
    names = [next(iter(event)) for event in session.events]
    ids = {
        tuple(fields[key] for key in ("sessionId", "promptName", "completionId"))
        for event in session.events
        for fields in event.values()
    }

    assert len(ids) == 1
    assert names.count("completionStart") == names.count("completionEnd") == 1
    assert names[0] == "completionStart"
    first, second = (event["usageEvent"] for event in session.events if "usageEvent" in event)
    assert second["totalTokens"] > first["totalTokens"]
    assert second["details"]["delta"]["output"]["speechTokens"] > 0


def test_a_user_who_speaks_during_the_answer_ends_it(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"answer": LONG_ANSWER})

    async def work() -> Talk:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone()
            await session.say(QUESTIONS[0])
            await session.until("audioOutput")
            await session.say("Stop please.")
            await session.until("contentEnd", type="TEXT", stopReason="INTERRUPTED")
            await session.until("textOutput", role="USER")
            return session

    session = asyncio.run(work())
    blocks = session.blocks()
    heard = " ".join(
        block[3] for block in blocks if block[0] == "ASSISTANT" and block[2] == "FINAL" and block[4] != "INTERRUPTED"
    )

    assert ("ASSISTANT", "TEXT", "FINAL", INTERRUPTED_TEXT, "INTERRUPTED") in blocks
    assert LONG_ANSWER.startswith(heard)
    assert len(heard) < len(LONG_ANSWER) / 2
    assert session.events[-1]["textOutput"]["content"] == "Stop please."


def test_typed_text_is_answered_and_not_echoed(endpoint: Endpoint) -> None:
    async def work() -> Talk:
        async with talk(endpoint) as session:
            await session.begin([SEARCH], voice="tiffany")
            await session.text("USER", "Hello.")
            await session.text("ASSISTANT", "Hello. What would you like to know?")
            await session.open_microphone()
            await session.text("USER", QUESTIONS[1], interactive=True)
            use = await session.until("toolUse")
            await session.tool_result(use["toolUseId"], json.dumps(PASSAGES))
            await session.until("textOutput", role="ASSISTANT")
            return session

    session = asyncio.run(work())

    assert session.events[-1]["textOutput"]["content"] == "A ticket is valid for 60 seconds."
    assert not any(block[0] == "USER" for block in session.blocks())


@pytest.mark.parametrize(
    ("asked", "tools", "result", "name", "said"),
    [
        (QUESTIONS[2], [SEARCH, tool("get_time")], '{"time": "12:30"}', "get_time", "The time is 12:30."),
        (QUESTIONS[1], [SEARCH], '{"error": "The store is down."}', "search_knowledge", FAILED),
        (QUESTIONS[1], [SEARCH], '{"passages": []}', "search_knowledge", NOTHING),
        (QUESTIONS[1], [SEARCH], "Sixty seconds.", "search_knowledge", "Sixty seconds."),
    ],
)
def test_what_a_tool_found_is_said(
    endpoint: Endpoint, asked: str, tools: list[dict[str, Any]], result: str, name: str, said: str
) -> None:
    async def work() -> tuple[str, str]:
        async with talk(endpoint) as session:
            await session.begin(tools)
            await session.text("USER", asked, interactive=True)
            use = await session.until("toolUse")
            await session.tool_result(use["toolUseId"], result)
            answer = await session.until("textOutput", role="ASSISTANT")
            return use["toolName"], answer["content"]

    assert asyncio.run(work()) == (name, said)


def test_small_talk_needs_no_tool(endpoint: Endpoint) -> None:
    async def work() -> str:
        async with talk(endpoint) as session:
            await session.begin([SEARCH])
            await session.text("USER", "How are you?", interactive=True)
            return str((await session.until("textOutput", role="ASSISTANT"))["content"])

    assert "extractive model" in asyncio.run(work())


def test_two_streams_are_answered_at_the_same_time(endpoint: Endpoint) -> None:
    async def ask(question: str) -> str:
        async with talk(endpoint) as session:
            await session.begin([SEARCH])
            await session.open_microphone()
            await session.say(question)
            use = await session.until("toolUse")
            await asyncio.sleep(0)
            await session.tool_result(use["toolUseId"], json.dumps(PASSAGES))
            return str((await session.until("textOutput", role="ASSISTANT"))["content"])

    async def work() -> list[str]:
        return list(await asyncio.gather(ask(QUESTIONS[0]), ask(QUESTIONS[1])))

    assert asyncio.run(work()) == ["A WebSocket frame may be 32 KB large.", "A ticket is valid for 60 seconds."]


@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_the_microphone_may_have_another_rate(endpoint: Endpoint, rate: int) -> None:
    async def work() -> str:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone(rate)
            await session.hear(speech(QUESTIONS[1], rate=rate) + bytes(2 * rate))
            return str((await session.until("textOutput", role="USER"))["content"])

    assert "ticket" in asyncio.run(work())


def test_a_closed_microphone_ends_the_utterance(endpoint: Endpoint) -> None:
    async def work() -> str:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone()
            await session.hear(speech("Stop please."))
            await session.end()
            return str((await session.until("textOutput", role="USER"))["content"])

    assert asyncio.run(work()) == "Stop please."


def test_a_client_that_leaves_is_not_waited_for(endpoint: Endpoint) -> None:
    async def work() -> None:
        async with talk(endpoint) as session:
            await session.begin([SEARCH])
            await session.open_microphone()
            await session.text("USER", QUESTIONS[0], interactive=True)
            await session.until("toolUse")
            await session.end()
            await session.until("completionEnd")

    asyncio.run(work())


def test_a_stream_ends_after_eight_minutes(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"time_scale": 160, "silence_scale": 1})

    async def work() -> None:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone()

            async def keep_talking() -> None:
                while True:
                    await session.hear(SILENCE)
                    await asyncio.sleep(0.02)

            talking = asyncio.create_task(keep_talking())
            try:
                await end_of(session)
            finally:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)

    with pytest.raises(ModelTimeoutException, match="Model has timed out in processing the request"):
        asyncio.run(work())


def test_a_stream_ends_after_a_minute_without_audio(endpoint: Endpoint) -> None:
    endpoint.control("POST", "/_speech", {"time_scale": 100})

    async def work() -> None:
        async with talk(endpoint) as session:
            await session.begin()
            await session.open_microphone()
            await end_of(session)

    with pytest.raises(ValidationException, match="Timed out waiting for audio bytes or interactive content"):
        asyncio.run(work())


def test_only_known_models_answer(endpoint: Endpoint) -> None:
    async def work() -> None:
        async with talk(endpoint, "amazon.nova-sonic-v1:0") as session:
            await end_of(session)

    with pytest.raises(ValidationException, match="model identifier is invalid"):
        asyncio.run(work())


def test_a_stream_can_be_throttled(endpoint: Endpoint) -> None:
    operation = "InvokeModelWithBidirectionalStream"
    endpoint.control("POST", "/_faults", {"operation": operation, "error": "ThrottlingException", "times": 9})

    async def work() -> None:
        async with talk(endpoint) as session:
            await end_of(session)

    with pytest.raises(ThrottlingException):
        asyncio.run(work())


async def broken_answer(endpoint: Endpoint, *, kill: bool, heard: list[str]) -> None:
    endpoint.control("POST", "/_speech", {"answer": LONG_ANSWER})
    fault = {"operation": "SpokenAnswer", "containing": "ticket", "break_after": 3, "kill": kill, "model": MODEL}
    endpoint.control("POST", "/_faults", fault)
    async with talk(endpoint) as session:
        await session.begin()
        await session.text("USER", QUESTIONS[1], interactive=True)
        try:
            await end_of(session)
        finally:
            heard.extend(next(iter(event)) for event in session.events)


def test_an_answer_can_be_broken_off_with_an_error(endpoint: Endpoint) -> None:
    heard: list[str] = []

    with pytest.raises(ModelStreamErrorException):
        asyncio.run(broken_answer(endpoint, kill=False, heard=heard))

    assert heard.count("audioOutput") == 3


def test_a_connection_can_be_cut_in_the_middle_of_an_answer(endpoint: Endpoint) -> None:
    heard: list[str] = []

    # The SDK takes a lost connection for the end of the stream: what is missing is the completion's end.
    asyncio.run(broken_answer(endpoint, kill=True, heard=heard))

    assert heard.count("audioOutput") <= 3
    assert "completionEnd" not in heard


@pytest.mark.parametrize(
    "wrong",
    [{"colour": 1}, {"pace": 0}, {"pause": "long"}, [], {"listen": {"noise": []}}, {"listen": {"texts": [1]}}],
)
def test_settings_are_checked(endpoint: Endpoint, wrong: Any) -> None:
    before = endpoint.control("GET", "/_speech")

    assert "message" in endpoint.control("POST", "/_speech", wrong)
    assert endpoint.control("GET", "/_speech") == before
