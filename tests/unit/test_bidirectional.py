import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from awscrt.aio.http import AIOHttpClientConnectionUnified
from parley.aws import bidirectional

HERE = SimpleNamespace(host="localhost", port=1)


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> Future[Any]:
    """What the CRT promises, in place of a connection that is really made."""
    future: Future[Any] = Future()
    monkeypatch.setattr(AIOHttpClientConnectionUnified, "_generic_new", lambda *_, **__: future)
    return future


def test_a_connection_that_is_there_before_anyone_looks_is_taken(connecting: Future[Any]) -> None:
    connecting.set_result("connection")
    assert asyncio.run(bidirectional._transport()._build_new_connection(HERE)) == "connection"


def test_giving_up_leaves_the_promise_to_the_crt_which_keeps_it_later(connecting: Future[Any]) -> None:
    async def give_up() -> None:
        waiting = asyncio.create_task(bidirectional._transport()._build_new_connection(HERE))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        connecting.set_result("connection")

    asyncio.run(give_up())
    assert connecting.result() == "connection"
