"""What tests of `parley_client.Session` share: sessions of little patience, scenes with a peer, frames that differ."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from parley_client import Event, Session, Timing

from tests.unit.client_peer import Peer, serving

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


async def say(call: Session, said: list[bytes]) -> None:
    for frame in said:
        await call.send_audio(frame)


async def next_of[T: Event](events: Session, kind: type[T]) -> T:
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"The session ended without a {kind.__name__}.")
