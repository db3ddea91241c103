"""Ends of `parley_client.Session`: by the server, by the program, and what becomes of who still speaks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from parley_client import Answer, Ended, Over, Ready, Session, Timing

from tests.unit.client_peer import SESSION, Peer
from tests.unit.client_sessions import QUICK, against, frames, next_of, say, session


def test_being_taken_over_ends_it_without_a_reconnection() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as first, session(peer, session_id=SESSION, keep=True) as second:
            await peer.connections[0].send('{"type": "session.ended", "reason": "replaced"}')
            await peer.connections[0].close()
            assert (await next_of(first, Ended)).reason == "replaced"
            assert [event async for event in first] == []
            await second.send_text("Still here?")
            await next_of(second, Answer)
        assert len(peer.connections) == 2
        assert not peer.sent("session.end")

    against(Peer(), scene)


def test_a_flood_ends_it() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await peer.say({"type": "session.ended", "reason": "flood"})
            assert [event async for event in call][-1] == Ended(reason="flood")
        assert len(peer.connections) == 1

    against(Peer(), scene)


def test_who_goes_on_speaking_when_the_session_is_over_is_told() -> None:
    async def scene(peer: Peer) -> None:
        # More than it holds: who waits for room then does not wait for ever.
        async with session(peer, timing=replace(QUICK, hold=0.36)) as call:
            speaking = asyncio.create_task(speak(call))
            await peer.until(lambda: len(peer.frames) >= 4)
            await peer.connections[0].send('{"type": "session.ended", "reason": "failed"}')
            with pytest.raises(Over):
                await speaking
            assert [event async for event in call if not isinstance(event, Ended | Ready)] == []

    async def speak(call: Session) -> None:
        for frame in frames(200):
            await call.send_audio(frame)

    against(Peer(lose=set(range(1, 200))), scene)


def test_a_microphone_outlives_the_session_quietly() -> None:
    async def microphone() -> AsyncIterator[bytes]:
        for frame in frames(200):
            yield frame

    async def scene(peer: Peer) -> None:
        async with session(peer, timing=replace(QUICK, hold=0.36)) as call:
            call.listen(microphone())
            await peer.until(lambda: len(peer.frames) >= 4)
            await peer.connections[0].send('{"type": "session.ended", "reason": "idle"}')
            assert (await next_of(call, Ended)).reason == "idle"
            assert [event async for event in call] == []

    against(Peer(lose=set(range(1, 200))), scene)


def test_a_broken_microphone_is_no_secret() -> None:
    async def microphone() -> AsyncIterator[bytes]:
        yield frames(1)[0]
        raise OSError("The microphone is gone.")

    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            with pytest.raises(OSError, match="microphone is gone"):
                await next_of(call.listen(microphone()), Ended)
        assert peer.sent("session.end")

    against(Peer(), scene)


def test_a_session_that_is_left_in_trouble_does_not_wait_for_what_was_said() -> None:
    async def scene(peer: Peer) -> None:
        async def fail() -> None:
            async with session(peer, timing=Timing(end_within=30)) as call:
                await say(call, frames(3))
                raise RuntimeError("ours")

        with pytest.raises(RuntimeError, match="ours"):
            await fail()
        assert peer.sent("session.end")

    against(Peer(acknowledge=False), scene)


def test_a_session_that_cannot_be_ended_is_left() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, timing=Timing(end_within=0.1)) as call:
            await say(call, frames(1))
            peer.silent = True

    against(Peer(), scene)
