"""The engine on Nova 2 Sonic against a scripted wire: its events, its turns, its ends."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.aws import nova_sonic
from parley.aws.bidirectional import StreamFailed
from parley.aws.nova_sonic import nova_sonic_factory
from parley.aws.nova_sonic_events import HISTORY_BYTES, MESSAGE_BYTES, Tuning, trimmed
from parley.conversation.models import Message
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.errors import LanguageUnsupported
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    SpeechEngine,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)

from sandbox.models.speech.sonic_input import Inputs
from tests.unit.engine_doubles import Witness, witnessed

PCM = bytes(range(200))
FRAME = bytes(range(240)) * 12
TOOL = ToolSpec("search_knowledge", "Finds passages.", {"type": "object", "properties": {"query": {"type": "string"}}})


class ScriptedWire:
    """A wire whose other end is the test."""

    def __init__(self, first: tuple[bytes, ...]) -> None:
        self.sent = [json.loads(event)["event"] for event in first]
        self.incoming: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.broken = False
        self.finished = self.closed = False
        self.inputs = Inputs()
        for event in first:
            self.inputs.take(event)

    async def send(self, *events: bytes) -> None:
        if self.broken:
            raise StreamFailed("Stalled")
        for event in events:
            # The stand-in's own checks of order, names and limits.
            self.inputs.take(event)
            self.sent.append(json.loads(event)["event"])

    async def received(self) -> AsyncIterator[bytes]:
        while (item := await self.incoming.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def finish(self) -> None:
        self.finished = True
        self.incoming.put_nowait(None)

    async def close(self) -> None:
        self.closed = True
        self.incoming.put_nowait(None)

    def give(self, name: str, **fields: Any) -> None:
        self.incoming.put_nowait(json.dumps({"event": {name: fields}}).encode())

    def text(self, role: str, text: str, stage: str = "FINAL", stop: str = "PARTIAL_TURN") -> None:
        extra = json.dumps({"generationStage": stage})
        self.give("contentStart", contentId="t", type="TEXT", role=role, additionalModelFields=extra)
        self.give("textOutput", contentId="t", role=role, content=text)
        self.give("contentEnd", contentId="t", type="TEXT", stopReason=stop)

    def sound(self, *pieces: bytes, stop: str = "PARTIAL_TURN") -> None:
        self.give("contentStart", contentId="a", type="AUDIO", role="ASSISTANT")
        for piece in pieces:
            self.give("audioOutput", contentId="a", content=base64.b64encode(piece).decode())
        self.give("contentEnd", contentId="a", type="AUDIO", stopReason=stop)

    def tool(self, content: str) -> None:
        self.give("contentStart", contentId="u", type="TOOL", role="TOOL")
        self.give("toolUse", contentId="u", toolUseId="use-1", toolName="search_knowledge", content=content)
        self.give("contentEnd", contentId="u", type="TOOL", stopReason="TOOL_USE")

    def usage(self, taken: int, given_: int) -> None:
        self.give("usageEvent", totalInputTokens=taken, totalOutputTokens=given_, totalTokens=taken + given_)

    def names(self) -> list[str]:
        return [next(iter(event)) for event in self.sent]

    def bodies(self, name: str) -> list[dict[str, Any]]:
        return [event[name] for event in self.sent if name in event]


class Peer:
    """Opens scripted wires."""

    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.wires: list[ScriptedWire] = []

    async def connect(self, model: str, first: tuple[bytes, ...]) -> ScriptedWire:
        if self.failure:
            raise StreamFailed(self.failure)
        self.wires.append(ScriptedWire(first))
        return self.wires[-1]

    async def open(self, **fields: Any) -> tuple[SpeechEngine, ScriptedWire]:
        factory = nova_sonic_factory(connect=self.connect, tuning=Tuning(sensitivity="LOW", max_tokens=300))
        request = EngineRequest(**({"system": "Be kind.", "language": "en-US"} | fields))
        return await factory.open(request), self.wires[-1]


def test_a_session_opens_as_the_service_wants_it() -> None:
    async def scenario() -> ScriptedWire:
        history = [Message(role="user", text="Hello"), Message(role="assistant", text="Good day")]
        engine, wire = await Peer().open(history=history, tools=[TOOL], voice="Tiffany")
        await engine.close()
        return wire

    wire = asyncio.run(scenario())
    text = ["contentStart", "textInput", "contentEnd"]
    assert wire.names() == [
        "sessionStart",
        "promptStart",
        *text * 3,
        "contentStart",
        "contentEnd",
        "promptEnd",
        "sessionEnd",
    ]
    assert wire.sent[0]["sessionStart"] == {
        "inferenceConfiguration": {"maxTokens": 300, "topP": 0.9, "temperature": 0.7},
        "turnDetectionConfiguration": {"endpointingSensitivity": "LOW"},
    }
    prompt = wire.sent[1]["promptStart"]
    assert prompt["audioOutputConfiguration"]["voiceId"] == "tiffany"
    assert prompt["audioOutputConfiguration"]["sampleRateHertz"] == 24_000
    specification = prompt["toolConfiguration"]["tools"][0]["toolSpec"]
    assert json.loads(specification["inputSchema"]["json"]) == TOOL.input_schema
    roles = [body["role"] for body in wire.bodies("contentStart")]
    assert roles == ["SYSTEM", "USER", "ASSISTANT", "USER"]
    assert [body["content"] for body in wire.bodies("textInput")] == ["Be kind.", "Hello", "Good day"]
    assert wire.finished
    assert wire.closed


def test_without_tools_none_are_spoken_of() -> None:
    async def scenario() -> ScriptedWire:
        engine, wire = await Peer().open()
        await engine.close()
        return wire

    assert "toolConfiguration" not in asyncio.run(scenario()).sent[1]["promptStart"]


def test_a_clients_frame_is_one_event_and_longer_audio_goes_in_pieces() -> None:
    async def scenario() -> ScriptedWire:
        engine, wire = await Peer().open()
        await engine.send_audio(FRAME)
        await engine.send_audio(FRAME + FRAME + b"ab")
        await engine.close()
        return wire

    pieces = [base64.b64decode(body["content"]) for body in asyncio.run(scenario()).bodies("audioInput")]
    assert pieces == [FRAME, FRAME, FRAME, b"ab"]


def test_a_turn_is_told_as_its_audio_is_given_out() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.give("completionStart")
            wire.text("USER", " What is it? ")
            wire.text("ASSISTANT", "It is this.", "SPECULATIVE")
            wire.sound(PCM, PCM)
            wire.text("ASSISTANT", "And that.", "SPECULATIVE")
            wire.sound(PCM, stop="END_TURN")
            wire.usage(100, 40)
            wire.text("ASSISTANT", "It is this.")
            wire.text("ASSISTANT", "And that.", stop="END_TURN")
            wire.usage(110, 50)
            await witness.until(TurnEnded)
        return witness

    witness = asyncio.run(scenario())
    assert witness.events == [
        UserTranscript("What is it?", final=True),
        TurnStarted(),
        AssistantTranscript("It is this.", spoken=False),
        AssistantAudio(PCM),
        AssistantAudio(PCM),
        AssistantTranscript("It is this.", spoken=True),
        AssistantTranscript("And that.", spoken=False),
        AssistantAudio(PCM),
        AssistantTranscript("And that.", spoken=True),
        TurnEnded(110, 50),
        EngineClosed("ended", retryable=False),
    ]


def test_a_turn_ends_without_word_of_its_tokens_and_the_next_counts_only_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nova_sonic, "USAGE_SECONDS", 0.01)

    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            for total in (30, 70):
                wire.text("USER", "Yes?")
                wire.text("ASSISTANT", "Yes.", "SPECULATIVE")
                wire.sound(PCM, stop="END_TURN")
                wire.usage(total, total)
                wire.text("ASSISTANT", "Yes.", stop="END_TURN")
                await witness.until(TurnEnded, 1 if total == 30 else 2)
        return witness

    ends = [event for event in asyncio.run(scenario()).events if isinstance(event, TurnEnded)]
    assert ends == [TurnEnded(30, 30), TurnEnded(40, 40)]


def test_the_next_utterance_ends_a_turn_that_is_over() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.text("USER", "One?")
            wire.text("ASSISTANT", "One.", "SPECULATIVE")
            wire.sound(PCM, stop="END_TURN")
            wire.text("ASSISTANT", "One.", stop="END_TURN")
            wire.text("USER", "Two?")
            await witness.until(lambda event: event == UserTranscript("Two?", final=True))
        return witness

    kinds = asyncio.run(scenario()).kinds()
    assert kinds[-3:] == ["TurnEnded", "UserTranscript", "EngineClosed"]


def test_an_interruption_is_told_once_and_drops_what_nobody_has_taken() -> None:
    async def scenario() -> list[Any]:
        engine, wire = await Peer().open()
        wire.text("USER", "Tell me all.")
        wire.text("ASSISTANT", "A long story.", "SPECULATIVE")
        wire.sound(*[PCM] * 5, stop="INTERRUPTED")
        wire.text("ASSISTANT", "A long")
        wire.text("ASSISTANT", '{ "interrupted" : true }', stop="INTERRUPTED")
        wire.text("USER", "Stop.")
        for _ in range(20):
            await asyncio.sleep(0)
        await engine.close()
        return [event async for event in engine.events()]

    assert asyncio.run(scenario()) == [
        UserTranscript("Tell me all.", final=True),
        TurnStarted(),
        AssistantTranscript("A long story.", spoken=False),
        Interrupted(),
        UserTranscript("Stop.", final=True),
        EngineClosed("ended", retryable=False),
    ]


def test_an_interruption_is_known_by_its_text_alone_and_by_a_new_utterance() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.text("USER", "One?")
            wire.text("ASSISTANT", "One.", "SPECULATIVE")
            wire.sound(PCM, stop="END_TURN")
            wire.text("ASSISTANT", '{"interrupted": true}')
            wire.text("USER", "Two?")
            wire.text("ASSISTANT", "Two.", "SPECULATIVE")
            wire.sound(PCM)
            wire.text("USER", "Three?")
            await witness.until(UserTranscript, 3)
        return witness

    events = asyncio.run(scenario()).events
    assert [event for event in events if isinstance(event, Interrupted | TurnStarted | TurnEnded)] == [
        TurnStarted(),
        Interrupted(),
        TurnStarted(),
        Interrupted(),
    ]


def test_what_the_user_adds_before_an_answer_belongs_to_the_same_turn() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.text("USER", "Find it.")
            wire.tool('{"query": "it"}')
            wire.text("USER", "Please.")
            wire.text("ASSISTANT", "Here.", "SPECULATIVE")
            wire.sound(PCM, stop="END_TURN")
            await witness.until(AssistantAudio)
        return witness

    kinds = asyncio.run(scenario()).kinds()
    assert kinds.count("TurnStarted") == 1
    assert "Interrupted" not in kinds


@pytest.mark.parametrize(
    ("content", "arguments"), [('{"query": "frames"}', {"query": "frames"}), ("frames", {}), ("[1]", {})]
)
def test_a_tool_is_asked_for_and_its_result_sent(content: str, arguments: dict[str, Any]) -> None:
    async def scenario() -> tuple[ToolRequest, ScriptedWire]:
        engine, wire = await Peer().open(tools=[TOOL])
        async with witnessed(engine) as witness:
            wire.tool(content)
            request: ToolRequest = await witness.until(ToolRequest)
            await engine.send_tool_result(request.id, ToolResult(content={"passages": ["é"]}))
        return request, wire

    request, wire = asyncio.run(scenario())
    assert request == ToolRequest("use-1", "search_knowledge", arguments)
    assert json.loads(wire.bodies("toolResult")[0]["content"]) == {"passages": ["é"]}
    configuration = wire.bodies("contentStart")[-1]["toolResultInputConfiguration"]
    assert configuration["toolUseId"] == "use-1"


def test_what_is_typed_goes_beside_the_voice() -> None:
    async def scenario() -> ScriptedWire:
        engine, wire = await Peer().open()
        await engine.send_audio(PCM)
        await engine.send_text("By the way")
        await engine.send_audio(PCM)
        await engine.heard("what was heard")
        await engine.close()
        return wire

    wire = asyncio.run(scenario())
    assert (
        wire.bodies("contentStart")[-1] | {"interactive": True, "role": "USER", "type": "TEXT"}
        == (wire.bodies("contentStart")[-1])
    )
    assert wire.bodies("textInput")[-1]["content"] == "By the way"


@pytest.mark.parametrize(
    ("code", "closed"),
    [
        ("ModelTimeoutException", EngineClosed("limit", retryable=True)),
        ("ThrottlingException", EngineClosed("failed", retryable=True)),
        ("ConnectionLost", EngineClosed("failed", retryable=True)),
        ("ValidationException", EngineClosed("failed", retryable=True)),
        ("AccessDeniedException", EngineClosed("failed", retryable=False)),
    ],
)
def test_the_connections_end_is_told_with_its_reason(code: str, closed: EngineClosed) -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.incoming.put_nowait(StreamFailed(code))
            await witness.until(EngineClosed)
            with pytest.raises(EngineUnavailable):
                await engine.send_audio(PCM)
        return witness

    assert asyncio.run(scenario()).events == [closed]


@pytest.mark.parametrize("payload", [b"{}", b"no json", b'{"event": {"audioOutput": {"content": 1}}}'])
def test_what_is_no_event_ends_the_connection(payload: bytes) -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.incoming.put_nowait(payload)
            await witness.until(EngineClosed)
        return witness

    assert asyncio.run(scenario()).events == [EngineClosed("failed", retryable=True)]


def test_unknown_events_and_blocks_are_left_out() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.give("somethingNew", contentId="x")
            wire.give("contentEnd", contentId="never begun", type="TEXT", stopReason="END_TURN")
            wire.text("USER", "Hello.")
            wire.text("USER", "   ")
            await witness.until(UserTranscript)
            wire.give("completionEnd", stopReason="END_TURN")
        return witness

    assert asyncio.run(scenario()).kinds() == ["UserTranscript", "EngineClosed"]


def test_a_stream_that_takes_nothing_any_more_is_given_up() -> None:
    async def scenario() -> Witness:
        engine, wire = await Peer().open()
        async with witnessed(engine) as witness:
            wire.broken = True
            with pytest.raises(EngineUnavailable):
                await engine.send_audio(PCM)
            await witness.until(EngineClosed)
        return witness

    assert asyncio.run(scenario()).events == [EngineClosed("failed", retryable=True)]


def test_closing_ends_though_the_service_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_sonic, "CLOSE_SECONDS", 0.05)

    class Mute(ScriptedWire):
        async def finish(self) -> None:
            self.finished = True

        async def send(self, *events: bytes) -> None:
            await asyncio.sleep(60)

    async def scenario() -> ScriptedWire:
        wires: list[Mute] = []

        async def connect(model: str, first: tuple[bytes, ...]) -> Mute:
            wires.append(Mute(first))
            return wires[-1]

        engine = await nova_sonic_factory(connect=connect).open(EngineRequest(system="Be kind.", language="en-US"))
        async with asyncio.timeout(5):
            await asyncio.gather(engine.close(), engine.close())
        with pytest.raises(EngineUnavailable):
            await engine.send_text("Hello")
        return wires[0]

    assert asyncio.run(scenario()).closed


def test_answers_that_nobody_takes_leave_the_stream_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova_sonic, "EVENTS_WAITING", 10)

    async def scenario() -> tuple[int, int]:
        engine, wire = await Peer().open()
        wire.text("ASSISTANT", "Long.", "SPECULATIVE")
        wire.sound(*[PCM] * 50)
        for _ in range(200):
            await asyncio.sleep(0)
        unread = wire.incoming.qsize()
        witness = Witness(engine)
        await witness.until(AssistantAudio, 50)
        await engine.close()
        await witness.done()
        return unread, len(witness.audio)

    unread, heard = asyncio.run(scenario())
    assert unread > 30
    assert heard == 50 * len(PCM)


def test_a_refused_session_is_unavailable_and_an_unknown_language_is_refused_before() -> None:
    with pytest.raises(EngineUnavailable):
        asyncio.run(Peer("AccessDeniedException").open())
    for fields in ({"language": "vi-VN"}, {"voice": "nobody"}):
        peer = Peer()
        with pytest.raises(LanguageUnsupported):
            asyncio.run(peer.open(**fields))
        assert not peer.wires


@given(st.lists(st.sampled_from(["", " ", "é" * 30_000, "a b"]), max_size=12), st.booleans())
def test_history_fits_the_service_and_keeps_the_latest(texts: list[str], user_first: bool) -> None:
    roles: list[Literal["user", "assistant"]] = ["user", "assistant"] if user_first else ["assistant", "user"]
    history = [Message(role=roles[number % 2], text=text) for number, text in enumerate(texts)]
    kept = trimmed(history)
    sizes = [len(message.text.encode()) for message in kept]
    assert all(0 < size <= MESSAGE_BYTES for size in sizes)
    assert sum(sizes) <= HISTORY_BYTES
    assert not kept or kept[0].role == "user"
    whole = [message for message in history if message.text.strip()]
    assert [message.role for message in kept] == [message.role for message in whole[len(whole) - len(kept) :]]
    if sum(len(message.text.encode()) for message in whole) < MESSAGE_BYTES and whole and whole[0].role == "user":
        assert kept == whole
