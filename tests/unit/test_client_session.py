"""`parley_client.Session` against a server on loopback that speaks the protocol and breaks as told."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parley_client import (
    Answer,
    Audio,
    Delta,
    Ended,
    Event,
    Interrupted,
    Over,
    Problem,
    Ready,
    Reconnecting,
    Refused,
    Session,
    Timing,
    ToolNotice,
    Transcript,
    Unreachable,
    Usage,
)

from tests.unit.client_peer import SESSION, VOICE, Peer, answer, serving

PROJECT = Path(__file__).parents[2]
FRAME = 2880
QUICK = Timing(
    ready_within=0.3,
    ping_every=0.05,
    silent_after=0.4,
    remind_after=0.1,
    report_every=0.02,
    first_pause=0.01,
    longest_pause=0.05,
    give_up_after=2.0,
    end_within=2.0,
)
REFUSED = {"error": {"code": "not_found", "message": "You have no session of this id."}}


def session(peer: Peer, *, timing: Timing = QUICK, **options: Any) -> Session:
    return Session(peer.url, **{"token": "good", **options}, timing=timing, trust_env=False)


def against(peer: Peer, scene: Callable[[Peer], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(20), serving(peer):
            await scene(peer)

    asyncio.run(play())


def frames(count: int, first: int = 1) -> list[bytes]:
    """Frames that differ."""
    return [bytes([number % 251, number // 251]) * (FRAME // 2) for number in range(first, first + count)]


async def next_of[T: Event](events: Session, kind: type[T]) -> T:
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"The session ended without a {kind.__name__}.")


def test_readme_example() -> None:
    """An existing voice program's ten lines: hear what is said, and see that audio, interruption and answer arrive."""
    source = re.search(r"```python\n(.*?)```", (PROJECT / "client" / "README.md").read_text(), re.S)
    assert source
    assert len([line for line in source[1].splitlines() if line.strip()]) <= 10
    scope: dict[str, Any] = {}
    exec(source[1], scope)
    played: list[bytes | None] = []

    class Loudspeaker:
        def play(self, pcm: bytes) -> None:
            played.append(pcm)

        def stop(self) -> None:
            played.append(None)

    async def microphone() -> AsyncIterator[bytes]:
        for frame in frames(3):
            yield frame

    async def scene(peer: Peer) -> None:
        talk = asyncio.create_task(scope["converse"](peer.url, "good", microphone(), Loudspeaker()))
        await peer.until(lambda: len(peer.frames) == 3)
        await peer.speak("t1", 2)
        await peer.say({"type": "interrupted", "turn_id": "t1"})
        await peer.say(answer())
        await peer.say({"type": "session.ended", "reason": "ended"})
        await talk

    against(Peer(), scene)
    assert played == [VOICE, VOICE, None]


def test_every_event_arrives_as_what_it_is() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, conversation_id="c0", language="en-US", voice="tiffany") as call:
            for message in (
                {"type": "transcript", "turn_id": "t1", "role": "user", "text": "Do bees", "final": False},
                {"type": "tool", "turn_id": "t1", "name": "search_knowledge", "status": "started"},
                {"type": "message.delta", "turn_id": "t1", "text": "Bees"},
                {"type": "of_tomorrow"},
                {"type": "audio", "turn_id": "t1", "data": "not base64"},
                {"type": "transcript", "turn_id": "t1"},
                {"type": "error", "code": "audio_invalid", "message": "Odd.", "retryable": False},
                {"message": "Internal server error", "connectionId": "x", "requestId": "y"},
                answer(),
                {"type": "usage", "turn_id": "t1", "input_tokens": 1, "output_tokens": 2, "cost_usd": None},
            ):
                await peer.say(message)
            seen = [await anext(call) for _ in range(8)]
        assert peer.starts == [
            {
                "action": "session.start",
                "medium": "voice",
                "session_id": SESSION,
                "conversation_id": "c0",
                "language": "en-US",
                "voice": "tiffany",
            }
        ]
        assert seen[:6] == [
            Ready(session_id=SESSION, engine="nova-sonic"),
            Transcript(turn_id="t1", role="user", text="Do bees", final=False),
            ToolNotice(turn_id="t1", name="search_knowledge", status="started"),
            Delta(turn_id="t1", text="Bees"),
            Problem(code="audio_invalid", message="Odd."),
            Problem(code="gateway", message="Internal server error", retryable=True),
        ]
        assert isinstance(seen[6], Answer)
        assert seen[6].text == "Bees sleep [1]."
        assert seen[6].citations[0].document == "bees.md"
        assert seen[7] == Usage(turn_id="t1", input_tokens=1, output_tokens=2, cost_usd=None)
        assert call.conversation_id == "c1"

    against(Peer(), scene)


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


def test_the_connections_own_limit_is_no_end() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await next_of(call, Ready)
            await peer.say({"type": "session.ended", "reason": "limit"})
            await next_of(call, Ready)

    against(Peer(), scene)


def test_the_websocket_may_be_somewhere_else() -> None:
    """Behind a distribution, or in a sandbox, it is not where the API thinks."""

    async def scene(peer: Peer) -> None:
        real, peer.websocket_url = peer.websocket_url, "ws://nowhere.invalid/ws"
        async with session(peer, websocket_url=real):
            assert len(peer.connections) == 1

    against(Peer(), scene)


def test_refused_tickets_are_replaced() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer):
            assert len(peer.asked) == 3

    against(Peer(refuse_connections=2), scene)


def test_a_server_that_refuses_all_its_tickets_is_left() -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(Refused, match="its own tickets") as refused:
            async with session(peer):
                pass
        assert refused.value.code == "ticket_refused"

    against(Peer(refuse_connections=99), scene)


def test_a_busy_api_is_asked_again_when_it_says() -> None:
    busy: tuple[int, dict[str, Any], dict[str, str]] = (429, {"message": "Too Many Requests"}, {})

    async def scene(peer: Peer) -> None:
        started = asyncio.get_running_loop().time()
        async with session(peer):
            assert len(peer.asked) == 4
            assert asyncio.get_running_loop().time() - started >= 1

    against(Peer(http_answers=[busy, busy, (503, {}, {"Retry-After": "1"})]), scene)


def test_an_api_that_stays_busy_is_given_up() -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(Unreachable, match="429"):
            async with session(peer, timing=Timing(first_pause=0.01, longest_pause=0.01, give_up_after=0.2)):
                pass
        assert len(peer.asked) > 3

    against(Peer(http_answers=[(429, {}, {})] * 999), scene)


def test_nobody_at_the_address() -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(Unreachable):
            async with Session("http://127.0.0.1:9", token="good", trust_env=False, timing=Timing(give_up_after=0.1)):
                pass

    against(Peer(), scene)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, REFUSED, "not_found"),
        (401, {"message": "Unauthorized"}, "unauthorized"),
        (403, {"message": "Forbidden"}, "unauthorized"),
        (400, {}, "refused"),
        (200, {"of": "another service"}, "no_ticket"),
    ],
)
def test_what_no_further_attempt_helps_against(status: int, body: dict[str, Any], code: str) -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(Refused) as refused:
            async with session(peer):
                pass
        assert refused.value.code == code
        assert len(peer.asked) == 1

    against(Peer(http_answers=[(status, body, {})]), scene)


def test_a_refused_token_is_replaced_once() -> None:
    def token(refused: str | None) -> str:
        return "new" if refused == "old" else "old"

    async def token_later(refused: str | None) -> str:
        return token(refused)

    async def scene(peer: Peer) -> None:
        for source in (token, token_later):
            peer.http_answers.append((401, {"message": "Unauthorized"}, {}))
            async with session(peer, token=source):
                pass
        assert peer.tokens == ["old", "new", "old", "new"]

    against(Peer(), scene)


def test_a_server_that_never_says_ready_is_connected_to_again() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await call.send_audio(frames(1)[0])
            await peer.until(lambda: 1 in peer.frames)
        assert len(peer.connections) == 2

    against(Peer(never_ready=1), scene)


def test_no_worker_yet_is_tried_again() -> None:
    unavailable = {"type": "error", "code": "session_unavailable", "message": "No worker.", "retryable": True}

    async def scene(peer: Peer) -> None:
        entering = asyncio.create_task(session(peer).__aenter__())
        await peer.until(lambda: len(peer.starts) == 2)
        peer.start_error = None
        call = await entering
        await call.__aexit__(None, None, None)

    against(Peer(start_error=unavailable), scene)


def test_a_refused_start_is_an_error() -> None:
    refusal = {"type": "error", "code": "language_unsupported", "message": "No Vietnamese.", "retryable": False}

    async def scene(peer: Peer) -> None:
        with pytest.raises(Refused, match="No Vietnamese") as refused:
            async with session(peer, language="vi-VN"):
                pass
        assert refused.value.code == "language_unsupported"

    against(Peer(start_error=refusal), scene)


def test_a_server_that_falls_silent_is_connected_to_again() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await peer.until(lambda: len(peer.sent("ping")) >= 2)
            peer.silent = True
            await next_of(call, Reconnecting)
            peer.silent = False
            await next_of(call, Ready)

    against(Peer(), scene)


def test_a_forgotten_session_is_started_again() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await peer.say({"type": "error", "code": "session_not_started", "message": "?", "retryable": False})
            await next_of(call, Reconnecting)
            await next_of(call, Ready)

    against(Peer(), scene)


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


def test_long_text_goes_in_frames_that_the_gateway_takes() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, medium="text") as call:
            await call.send_text("蜂" * 30_000)
            await next_of(call, Answer)
        assert peer.sent("text")[0]["message"] == "蜂" * 30_000

    against(Peer(largest_frame=32 * 1024), scene)


def test_what_was_heard_is_reported() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await peer.speak("t1", 3)
            await next_of(call, Audio)
            assert call.speaking_for > 0
            await peer.until(lambda: {"action": "played", "turn_id": "t1", "ms": 300} in peer.messages)
        reports = [message["ms"] for message in peer.sent("played")]
        assert reports == sorted(set(reports))
        assert len(reports) > 2

    against(Peer(), scene)


def test_an_interruption_silences_the_turn_and_says_how_much_was_heard() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await peer.speak("t1", 10)
            await peer.until(lambda: peer.sent("played"))
            await peer.say({"type": "interrupted", "turn_id": "t1"})
            await peer.speak("t1", 1)
            await peer.speak("t2", 1)
            await next_of(call, Interrupted)
            assert (await next_of(call, Audio)).turn_id == "t2"
            await peer.until(lambda: any(message["turn_id"] == "t2" for message in peer.sent("played")))
        last = [message["ms"] for message in peer.sent("played") if message["turn_id"] == "t1"][-1]
        assert 0 < last < 1000

    against(Peer(), scene)


def test_a_program_may_report_by_itself() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, report_played=False) as call:
            await peer.speak("t1")
            await peer.say({"type": "interrupted", "turn_id": "t1"})
            await next_of(call, Interrupted)
            await call.played("t1", 42)
            await peer.until(lambda: peer.sent("played"))
        assert peer.sent("played") == [{"action": "played", "turn_id": "t1", "ms": 42}]

    against(Peer(), scene)


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


def test_audio_waits_when_too_much_of_it_is_kept() -> None:
    async def scene(peer: Peer) -> None:
        few = Timing(hold=0.36, ping_every=1)
        async with session(peer, timing=few) as call:
            saying = asyncio.create_task(_say(call, frames(8)))
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
        await _say(call, frames(45))
        await peer.until(lambda: len(peer.frames) == 45)
        # 4.05 s of speech: the first second goes at once, the rest in a quarter of its time.
        assert loop.time() - started > 0.7
        await call.__aexit__(None, None, None)

    against(Peer(), scene)


def test_a_session_that_is_left_in_trouble_does_not_wait_for_what_was_said() -> None:
    async def scene(peer: Peer) -> None:
        async def fail() -> None:
            async with session(peer, timing=Timing(end_within=30)) as call:
                await _say(call, frames(3))
                raise RuntimeError("ours")

        with pytest.raises(RuntimeError, match="ours"):
            await fail()
        assert peer.sent("session.end")

    against(Peer(acknowledge=False), scene)


def test_a_session_that_cannot_be_ended_is_left() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer, timing=Timing(end_within=0.1)) as call:
            await _say(call, frames(1))
            peer.silent = True

    against(Peer(), scene)


def _say(call: Session, said: list[bytes]) -> Coroutine[Any, Any, None]:
    async def say() -> None:
        for frame in said:
            await call.send_audio(frame)

    return say()
