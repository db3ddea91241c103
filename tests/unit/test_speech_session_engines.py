"""The engine in a whole call, in virtual time: one that refuses, ends, dies or says things out of their order."""

from parley.server_messages import ErrorMessage, InterruptedMessage, Transcript
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)

from tests.unit.voice_call import Call, call


def test_an_engine_that_refuses_is_reported_and_tried_again() -> None:
    async def play(one: Call) -> None:
        one.engine.refuses = 8
        one.connect()
        await one.send(1, 12)
        await one.send(0, 350)

    one = call(play)
    assert [(error.code, error.retryable) for error in one.channel.of(ErrorMessage)] == [("engine_unavailable", True)]
    assert one.engine.answered == [1]
    assert one.frames_heard(1) == list(range(1, 13))


def test_an_engine_that_will_not_serve_fails_the_session() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.engine.streams[0].emit(EngineClosed("failed", retryable=False))
        await one.clock.sleep(2)

    one = call(play)
    assert one.channel.ended() == "failed"


def test_a_connection_of_the_model_that_dies_before_its_answer_costs_nothing() -> None:
    async def play(one: Call) -> None:
        one.engine.think_seconds = 1.5
        one.connect()
        await one.send(0, 10)
        await one.send(1, 12)
        await one.send(0, 8)
        one.engine.streams[0].die()
        await one.send(0, 80)

    one = call(play)
    assert one.exchanges() == [("utterance 1", "Answer 1. Part 2 of it. Part 3 of it. Part 4 of it.")]
    # The page shows one turn, not two.
    assert len({said.turn_id for said in one.channel.of(Transcript)}) == 1


def test_an_engine_may_say_things_out_of_their_order() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        stream = one.engine.streams[0]
        # Outside of a turn nothing is anybody's.
        stream.emit(AssistantAudio(bytes(4800)), AssistantTranscript("Nobody's.", spoken=False), TurnEnded())
        stream.emit(ToolRequest("r", "search_knowledge", {}), Interrupted())
        # A turn of nothing is none.
        stream.emit(TurnStarted(), TurnEnded())
        # The last of the question comes when the answer has been announced; the answer has no voice.
        stream.emit(UserTranscript("How", final=False), TurnStarted(), UserTranscript("How late?", final=True))
        stream.emit(AssistantTranscript("Late.", spoken=False), TurnEnded())
        await one.send(0, 20)
        # A turn begins although nothing interrupted the one before.
        long = AssistantAudio(bytes(48_000 * 5))
        stream.emit(UserTranscript("First", final=True), TurnStarted(), AssistantTranscript("One.", spoken=False), long)
        await one.send(0, 20)
        stream.emit(TurnStarted(), AssistantTranscript("Two.", spoken=False), long, TurnEnded())
        await one.send(0, 90)

    one = call(play)
    texts = [(question, answer) for question, answer in one.exchanges()]
    assert texts[0] == ("How late?", "Late.")
    assert [question for question, _ in texts] == ["How late?", "First", ""]
    assert texts[2][1] == "Two."
    assert len(one.channel.of(InterruptedMessage)) == 1
    assert not one.tools.used
