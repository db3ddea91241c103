"""What `parley_client.Session` tells its program of the assistant, and the server of what was heard."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from parley_client import Answer, Audio, Delta, Interrupted, Problem, Ready, ToolNotice, Transcript, Usage

from tests.unit.client_peer import SESSION, VOICE, Peer, answer
from tests.unit.client_sessions import against, frames, next_of, session

PROJECT = Path(__file__).parents[2]


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
