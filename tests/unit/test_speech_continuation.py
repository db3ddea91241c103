"""An engine that outlives its connections: what it says again, and what it never does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from parley.conversation.models import Message
from parley.conversation.tools.tool import ToolResult
from parley.speech.continuation import Continuing
from parley.speech.engine import (
    AssistantAudio,
    EngineClosed,
    EngineEvent,
    EngineLost,
    EngineRequest,
    HeardAnew,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)

from tests.unit.scripted_engine import FRAME, EngineScript, ScriptedEngine, frame_pcm
from tests.unit.virtual_time import VirtualClock, run_virtual


@dataclass
class Talk:
    """Somebody talks to an engine."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    got: list[EngineEvent] = field(default_factory=list)
    seq: int = 0

    def __post_init__(self) -> None:
        self.script = EngineScript(self.clock)
        self.history: list[Message] = []
        self.engine = Continuing(self.script, self._request, self.clock)
        self._listening = asyncio.ensure_future(self._listen())

    def _request(self) -> EngineRequest:
        return EngineRequest(system="Be brief.", language="en-US", history=list(self.history))

    async def _listen(self) -> None:
        async for event in self.engine.events():
            self.got.append(event)

    async def say(self, utterance: int, frames: int, *, pace: float = FRAME) -> None:
        for index in range(1, frames + 1):
            self.seq += 1
            self.engine.hear(frame_pcm(utterance, index), self.seq)
            await self.engine.feed()
            await self.clock.sleep(pace)

    @property
    def stream(self) -> ScriptedEngine:
        return self.script.streams[-1]

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.got)

    def heard_by(self, stream: int, utterance: int) -> list[int]:
        return [index for number, heard, index in self.script.heard_frames if (number, heard) == (stream, utterance)]

    async def close(self) -> None:
        self._listening.cancel()
        await self.engine.close()


def talk(play: Callable[[Talk], Awaitable[None]]) -> Talk:
    async def main() -> Talk:
        one = Talk()
        try:
            await play(one)
        finally:
            await one.close()
        return one

    return run_virtual(main())


def test_what_is_said_before_the_connection_is_open_is_heard() -> None:
    async def play(one: Talk) -> None:
        await one.say(1, 10, pace=0.001)
        await one.say(0, 20)

    one = talk(play)
    assert one.heard_by(1, 1) == list(range(1, 11))
    assert one.script.answered == [1]
    assert one.engine.answered_mark >= 10


def test_what_waited_goes_in_pieces_of_a_fifth_of_a_second_and_later_frames_as_they_come() -> None:
    async def play(one: Talk) -> None:
        await one.say(1, 10, pace=0.001)
        await one.clock.sleep(1)
        await one.say(0, 2)

    assert talk(play).script.pieces == pytest.approx([0.18] * 5 + [0.09] * 2)


def test_a_connection_that_dies_in_an_utterance_is_replaced_and_hears_it_whole() -> None:
    async def play(one: Talk) -> None:
        await one.say(0, 10)
        await one.say(1, 8)
        one.stream.die()
        await one.say(1, 4)
        await one.say(0, 20)

    one = talk(play)
    assert one.heard_by(2, 1) == [*range(1, 9), *range(1, 5)]
    assert one.count(HeardAnew) == 1
    assert one.script.answered == [1]


def test_a_connection_that_dies_before_its_answer_is_replaced_and_answers() -> None:
    async def play(one: Talk) -> None:
        one.script.think_seconds = 2.0
        await one.say(0, 10)
        await one.say(1, 10)
        await one.say(0, 8)
        assert one.count(TurnStarted) == 1
        one.stream.die()
        one.script.think_seconds = 0.2
        await one.say(0, 30)

    one = talk(play)
    assert one.count(TurnStarted) == 2
    assert one.heard_by(2, 1) == list(range(1, 11))
    assert one.script.answered == [1]


def test_a_connection_that_dies_in_its_answer_ends_it_and_nothing_is_heard_again() -> None:
    async def play(one: Talk) -> None:
        one.script.answer_seconds = 10.0
        await one.say(0, 10)
        await one.say(1, 10)
        await one.say(0, 12)
        assert one.count(AssistantAudio) > 1
        one.stream.die()
        await one.say(0, 30)
        await one.say(2, 5)
        await one.say(0, 30)

    one = talk(play)
    assert one.heard_by(2, 1) == []
    assert one.count(TurnEnded) == 2
    assert one.script.answered == [1, 2]


def test_a_connection_that_takes_no_more_is_replaced() -> None:
    async def play(one: Talk) -> None:
        await one.say(0, 10)
        # It ends without a word.
        one.stream._alive = False
        await one.say(1, 10)
        await one.say(0, 20)

    one = talk(play)
    assert one.script.opened == 2
    assert one.script.answered == [1]


def test_the_next_connection_takes_over_in_silence_with_the_history() -> None:
    async def play(one: Talk) -> None:
        one.script.lifetime_seconds = 100.0
        await one.say(1, 10)
        await one.say(0, 30)
        one.history = [Message(role="user", text="utterance 1"), Message(role="assistant", text="Answer 1.")]
        await one.say(0, round(60 / FRAME))
        await one.say(2, 10)
        await one.say(0, 30)

    one = talk(play)
    assert one.script.opened == 2
    assert [len(request.history) for request in one.script.requests] == [0, 2]
    assert one.script.answered == [1, 2]
    assert one.count(EngineClosed) == one.count(HeardAnew) == 0
    assert one.heard_by(2, 2) == list(range(1, 11))


def test_a_turn_that_begins_while_the_next_connection_opens_stays_where_it_is() -> None:
    async def play(one: Talk) -> None:
        one.script.lifetime_seconds = 100.0
        await one.clock.sleep(50.3)
        # The next connection takes 0.2 s to open: meanwhile somebody types.
        await one.engine.send_text("Typed")
        await one.clock.sleep(20)

    one = talk(play)
    assert [text for text in one.script.heard_texts if text == "Typed"] == ["Typed"]
    assert one.count(TurnStarted) == one.count(TurnEnded) == 1
    # It was opened too early, and again after the turn.
    assert one.script.opened == 3
    assert one.engine.openings == 2


def test_near_the_limit_it_takes_over_in_an_utterance_too() -> None:
    async def play(one: Talk) -> None:
        one.script.lifetime_seconds = 100.0
        await one.say(0, round(39 / FRAME))
        await one.say(1, round(50 / FRAME))
        await one.say(0, 30)

    one = talk(play)
    assert one.script.opened == 2
    assert one.heard_by(2, 1) == list(range(1, round(50 / FRAME) + 1))
    assert one.script.answered == [1]
    assert one.count(EngineClosed) == 0


def test_an_opening_that_fails_while_the_old_connection_lives_is_tried_again() -> None:
    async def play(one: Talk) -> None:
        one.script.lifetime_seconds = 100.0
        await one.clock.sleep(10)
        one.script.refuses = 2
        await one.clock.sleep(60)
        await one.say(1, 10)
        await one.say(0, 20)

    one = talk(play)
    assert one.engine.openings == 2
    assert one.count(EngineLost) == 0
    assert one.script.answered == [1]


def test_an_engine_that_stays_away_is_reported_once_and_given_up_in_the_end() -> None:
    async def play(one: Talk) -> None:
        one.script.refuses = 1000
        await one.clock.sleep(200)

    one = talk(play)
    assert one.count(EngineLost) == 1
    assert one.got[-1] == EngineClosed("failed", retryable=False)


def test_connections_that_die_at_once_are_not_opened_without_a_pause() -> None:
    async def play(one: Talk) -> None:
        async def murder() -> None:
            while True:
                await one.clock.sleep(0.05)
                for stream in one.script.streams:
                    stream.die()

        task = asyncio.ensure_future(murder())
        await one.clock.sleep(60)
        task.cancel()

    one = talk(play)
    assert one.count(EngineLost) == 1
    assert one.script.opened < 25


def test_a_tools_result_goes_only_to_the_connection_that_asked() -> None:
    async def play(one: Talk) -> None:
        one.script.uses_tool = True
        await one.say(1, 10)
        await one.say(0, 10)
        asked = next(event for event in one.got if isinstance(event, ToolRequest))
        one.stream.die()
        await one.say(0, 10)
        await one.engine.send_tool_result(asked.id, ToolResult(content={}))
        assert one.script.results == []
        asked = [event for event in one.got if isinstance(event, ToolRequest)][-1]
        await one.engine.send_tool_result(asked.id, ToolResult(content={}))
        await one.say(0, 10)

    one = talk(play)
    assert len(one.script.results) == 1
    assert one.script.answered == [1]


def test_silence_and_noise_that_nothing_answers_are_forgotten() -> None:
    async def play(one: Talk) -> None:
        await one.say(0, 100)
        assert 90 <= one.engine.answered_mark < 100
        # A noise that the engine makes nothing of.
        one.stream.send_audio = _deaf  # type: ignore[method-assign]  # the engine hears nothing from now on
        await one.say(1, 3)
        assert not one.engine.is_idle
        await one.say(0, round(60 / FRAME))
        assert one.engine.answered_mark < 104
        await one.say(0, round(70 / FRAME))
        assert one.engine.answered_mark > 1000
        assert one.engine.is_idle

    talk(play)


async def _deaf(pcm: bytes) -> None:
    """Hears nothing."""


def test_an_engine_that_does_not_say_where_an_utterance_ended_answers_all_it_was_sent() -> None:
    async def play(one: Talk) -> None:
        one.script.tells_position = False
        await one.say(1, 10)
        await one.say(0, 20)

    one = talk(play)
    assert one.engine.answered_mark >= 14
    assert one.engine.is_idle


def test_an_interruption_before_the_answer_leaves_the_question_open() -> None:
    async def play(one: Talk) -> None:
        one.script.think_seconds = 1.0
        await one.say(1, 10)
        await one.say(0, 5)
        await one.say(2, 3)
        one.stream.die()
        await one.say(2, 3)
        await one.say(0, 30)

    one = talk(play)
    # Both parts are heard by the next connection, and the pause between them as well.
    assert one.count(Interrupted) == 2
    assert one.heard_by(2, 1) == list(range(1, 11))
    assert len(one.heard_by(2, 2)) == 6
    assert [event.text for event in one.got if isinstance(event, UserTranscript) and event.final][-1] == "utterance 2"
