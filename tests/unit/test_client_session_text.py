"""Text that `parley_client.Session` sends: again until it has arrived, and not once more, however long it is."""

import asyncio
from dataclasses import replace

from parley_client import Answer, Problem, Ready, Reconnecting
from parley_client.texts import Texts

from tests.unit.client_peer import SESSION, Peer
from tests.unit.client_sessions import QUICK, against, next_of, session


def test_text_that_nothing_answered_is_sent_again_with_its_id() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, medium="text", conversation_id="c0") as call:
            assert peer.starts == [{"action": "session.start", "session_id": SESSION}]
            peer.silent = True
            sent = await call.send_text("Do bees sleep?", model_role="reasoning")
            await peer.until(lambda: peer.sent("text"))
            await next_of(call, Reconnecting)
            peer.silent = False
            assert (await next_of(call, Answer)).request_id == sent
            await peer.connections[-1].close()
            await next_of(call, Ready)
            await call.send_text("And wasps?", request_id="mine")
            await next_of(call, Answer)
        texts = peer.sent("text")
        assert texts[0] == {
            "action": "text",
            "message": "Do bees sleep?",
            "request_id": sent,
            "model_role": "reasoning",
            "conversation_id": "c0",
        }
        assert {text["request_id"] for text in texts[:-1]} == {sent}
        assert texts[-1] == {
            "action": "text",
            "message": "And wasps?",
            "request_id": "mine",
            "conversation_id": "c1",
        }

    against(Peer(), scene)


def test_text_typed_into_a_call_is_not_sent_again_once_it_has_arrived() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await call.send_text("Do bees sleep?", request_id="mine")
            await peer.until(lambda: len(peer.sent("ping")) >= 2)
            await peer.connections[-1].close()
            await next_of(call, Reconnecting)
            await next_of(call, Ready)
            peer.silent = True
            await call.send_text("And wasps?", request_id="later")
            await next_of(call, Reconnecting)
            peer.silent = False
            await next_of(call, Ready)
        assert [text["request_id"] for text in peer.sent("text")] == ["mine", "later", "later"]

    against(Peer(text_answers=False), scene)


def test_text_of_whose_answer_nothing_comes_is_sent_again_over_the_same_connection() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, medium="text", timing=replace(QUICK, ask_again_after=0.2)) as call:
            sent = await call.send_text("Do bees sleep?")
            await peer.until(lambda: len(peer.sent("text")) == 2)
            # The first attempt is under way after all: nothing for the program to hear of.
            await peer.say({"type": "error", "code": "conflict", "message": "", "retryable": True, "request_id": sent})
            peer.text_answers = True
            seen = [await anext(call)]
            while not isinstance(seen[-1], Answer):
                seen.append(await anext(call))
            assert seen[-1].request_id == sent
            assert not any(isinstance(event, Problem) for event in seen)
        assert len(peer.connections) == 1
        assert {text["request_id"] for text in peer.sent("text")} == {sent}

    against(Peer(text_answers=False), scene)


def test_text_is_overdue_when_nothing_was_heard_of_it_for_long() -> None:
    texts = Texts(ask_again_after=60)
    sent = texts.add("mine", "Do bees sleep?", None, now=0)
    assert texts.overdue(59) == []
    texts.progress("mine", 50)
    texts.progress("another's", 50)
    assert texts.overdue(109) == []
    assert texts.overdue(110) == [sent]
    assert texts.overdue(111) == []
    assert texts.all(120) == [sent]
    assert texts.overdue(179) == []
    texts.settled("mine")
    assert texts.overdue(1_000) == texts.all(1_000) == []


def test_text_that_was_refused_is_the_programs_to_send_again() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, medium="text", timing=replace(QUICK, ask_again_after=0.1)) as call:
            sent = await call.send_text("Do bees sleep?")
            await peer.say({"type": "error", "code": "throttled", "message": "", "retryable": True, "request_id": sent})
            assert (await next_of(call, Problem)).code == "throttled"
            before = len(peer.sent("text"))
            await asyncio.sleep(0.4)
            assert len(peer.sent("text")) == before
            peer.text_answers = True
            await call.send_text("Do bees sleep?", request_id=sent)
            assert (await next_of(call, Answer)).request_id == sent

    against(Peer(text_answers=False), scene)


def test_long_text_goes_in_frames_that_the_gateway_takes() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, medium="text") as call:
            await call.send_text("蜂" * 30_000)
            await next_of(call, Answer)
        assert peer.sent("text")[0]["message"] == "蜂" * 30_000

    against(Peer(largest_frame=32 * 1024), scene)
