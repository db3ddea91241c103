"""Messages typed into a whole call, in virtual time: each is answered once, whatever becomes of its worker."""

import pytest

from tests.unit.voice_call import Call, asked, call


def test_a_typed_message_is_answered_once_by_voice() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.send(0, 60)
        one.type("What is typed?")
        await one.send(0, 60)

    one = call(play)
    assert [text for text in one.engine.heard_texts if not text.startswith("heard")] == ["What is typed?"]
    assert [(turn.role, turn.medium) for turn in one.turns] == [("user", "text"), ("assistant", "voice")]
    assert one.turns[0].text == "What is typed?"


@pytest.mark.parametrize("number", range(1, 7))
def test_a_killed_workers_answer_to_a_typed_message_still_names_it(number: int) -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.kill_worker_after_write(number)
        one.type("What is typed?")
        await one.send(0, 300)
        # What was stored, and not told any more, is told when it is asked for again.
        one.type("What is typed?")
        await one.send(0, 60)

    one = call(play)
    assert [turn.text for turn in one.turns if turn.role == "user"] == ["What is typed?"]
    assert {done.request_id for done in one.channel.done()} == {"m-1"}


def test_a_typed_message_that_is_sent_again_gets_its_answer_again() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.send(0, 60)
        one.kill_worker()
        await one.send(0, 200)
        one.type("What is typed?")
        await one.send(0, 20)

    one = call(play)
    assert [text for text in one.engine.heard_texts if not text.startswith("heard")] == ["What is typed?"]
    assert [done.request_id for done in one.channel.done()] == ["m-1", "m-1"]
    assert len({done.turn_id for done in one.channel.done()}) == 1
    assert one.sessions.session.inbox == ()


def test_a_typed_message_is_not_lost_with_its_worker() -> None:
    async def play(one: Call) -> None:
        one.engine.think_seconds = 2.0
        one.connect()
        await one.send(0, 20)
        one.type("What is typed?")
        await one.clock.sleep(1)
        one.kill_worker()
        await one.send(0, 300)

    one = call(play)
    assert [question for question, _ in one.exchanges()] == ["What is typed?"]
    assert one.sessions.session.inbox == ()


def test_a_typed_message_that_a_spoken_turn_passes_by_is_not_asked_for_ever() -> None:
    async def play(one: Call) -> None:
        one.connect()
        await one.send(0, 20)
        stream = one.engine.streams[0]

        async def takes_no_text(text: str) -> None:
            one.engine.heard_texts.append(text)

        stream.send_text = takes_no_text  # type: ignore[method-assign]  # it answers what is spoken only
        one.type("Typed")
        await one.say(1, then=5.0)
        assert len(one.sessions.session.inbox) == 1
        await one.say(2, then=5.0)

    one = call(play)
    assert asked(one) == [1, 2]
    assert one.sessions.session.inbox == ()
    assert one.engine.heard_texts == ["Typed"]
