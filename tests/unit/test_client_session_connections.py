"""Connections of `parley_client.Session`: what is tried again, what is given up, and with which tickets and tokens."""

import asyncio
from typing import Any

import pytest
from parley_client import Ready, Reconnecting, Refused, Session, Timing, Unreachable

from tests.unit.client_peer import Peer
from tests.unit.client_sessions import against, frames, next_of, session

REFUSED = {"error": {"code": "not_found", "message": "You have no session of this id."}}


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


def test_the_connections_own_limit_is_no_end() -> None:
    async def scene(peer: Peer) -> None:
        async with session(peer) as call:
            await next_of(call, Ready)
            await peer.say({"type": "session.ended", "reason": "limit"})
            await next_of(call, Ready)

    against(Peer(), scene)
