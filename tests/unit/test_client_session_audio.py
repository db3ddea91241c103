"""Audio that `parley_client.Session` sends: every frame arrives once, in order, and at a pace that is no flood."""

import asyncio

from parley_client import Ready, Reconnecting, Timing

from tests.unit.client_peer import SESSION, Peer
from tests.unit.client_sessions import against, frames, next_of, say, session


def test_audio_is_cut_into_frames_and_kept_until_acknowledged() -> None:
    async def scene(peer: Peer) -> None:
        said = b"".join(frames(4)) + b"\7\7" * 100
        async with session(peer) as call:
            for start in range(0, len(said), 1000):
                await call.send_audio(said[start : start + 1000])
            await peer.until(lambda: len(peer.frames) == 4)
            peer.acknowledge = False
            call.flush()
            await peer.until(lambda: 5 in peer.frames)
            assert call.unacknowledged == 1
            await peer.say({"type": "ack", "seq": 5})
            await peer.until(lambda: call.unacknowledged == 0)
        heard = b"".join(peer.frames[seq] for seq in sorted(peer.frames))
        assert heard == said + bytes(320 - 200)
        assert peer.sent("session.end")

    against(Peer(), scene)


def test_a_connection_lost_mid_utterance_loses_nothing() -> None:
    """What was sent and not kept, and what was said meanwhile, arrives once, in order, on the next connection."""

    async def scene(peer: Peer) -> None:
        said = frames(30)
        async with session(peer) as call:
            for frame in said:
                await call.send_audio(frame)
                await asyncio.sleep(0.005)
            await peer.until(lambda: len(peer.frames) == 30)
            seen = [await next_of(call, Ready), await next_of(call, Reconnecting), await next_of(call, Ready)]
        assert [peer.frames[seq] for seq in sorted(peer.frames)] == said
        assert isinstance(seen[1], Reconnecting)
        assert len(peer.connections) == 3
        assert peer.asked == [{}, {"session_id": SESSION}, {"session_id": SESSION}]
        assert peer.starts[1]["last_seq"] >= 7

    against(Peer(close_at=[7, 19]), scene)


def test_a_gap_is_filled_when_the_server_asks() -> None:
    async def scene(peer: Peer) -> None:
        said = frames(10)
        async with session(peer) as call:
            for frame in said:
                await call.send_audio(frame)
            await peer.until(lambda: len(peer.frames) == 10)
            await peer.until(lambda: call.unacknowledged == 0)
            # Long forgotten frames, and ones that were never said.
            await peer.say({"type": "resend", "from": 1, "to": 99})
            await call.send_audio(frames(1)[0])
            await peer.until(lambda: 11 in peer.frames)
        assert [peer.frames[seq] for seq in range(1, 11)] == said
        assert peer.arrivals[-1] == 11

    against(Peer(lose={3, 4, 8}), scene)


def test_the_last_frame_is_sent_again_when_nothing_acknowledges_it() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            for frame in frames(2):
                await call.send_audio(frame)
            await peer.until(lambda: len(peer.frames) == 2)
        assert peer.arrivals == [1, 2, 2]

    against(Peer(lose={2}), scene)


def test_a_second_client_goes_on_with_the_sessions_numbers() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, session_id=SESSION) as call:
            await call.send_audio(frames(1)[0])
            await peer.until(lambda: 57 in peer.frames)

    against(Peer(next_seq=57), scene)


def test_audio_waits_when_too_much_of_it_is_kept() -> None:
    async def scene(peer: Peer) -> None:
        few = Timing(hold=0.36, ping_every=1)
        async with session(peer, timing=few) as call:
            saying = asyncio.create_task(say(call, frames(8)))
            await peer.until(lambda: len(peer.frames) == 4)
            await asyncio.sleep(0.05)
            assert len(peer.frames) == 4
            peer.acknowledge = True
            await peer.say({"type": "ack", "seq": 4})
            await saying
            await peer.until(lambda: len(peer.frames) == 8)

    against(Peer(acknowledge=False), scene)


def test_after_a_long_absence_audio_catches_up_without_a_flood() -> None:
    """A minute of speech that was kept is sent at four times its pace at most, after a second of it at once."""

    async def scene(peer: Peer) -> None:
        entering = asyncio.create_task(session(peer, timing=Timing(ready_within=60)).__aenter__())
        await peer.until(lambda: peer.starts)
        call = await entering
        loop = asyncio.get_running_loop()
        started = loop.time()
        await say(call, frames(45))
        await peer.until(lambda: len(peer.frames) == 45)
        # 4.05 s of speech: the first second goes at once, the rest in a quarter of its time.
        assert loop.time() - started > 0.7
        await call.__aexit__(None, None, None)

    against(Peer(), scene)
