"""How requests are written and answers read; the connections themselves are tested with the AI endpoints."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from awscrt.http import Http2ClientConnection
from parley.aws import http2
from parley.aws.http2 import Body, Http2Transport, Outgoing

HERE = SimpleNamespace(host="localhost", port=1)


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> Future[Any]:
    """What the CRT promises, in place of a connection that is really made."""
    future: Future[Any] = Future()
    monkeypatch.setattr(Http2ClientConnection, "new", lambda *_, **__: future)
    return future


def test_a_connection_that_is_there_before_anyone_looks_is_taken(connecting: Future[Any]) -> None:
    connection = object()
    connecting.set_result(connection)

    async def connect() -> Any:
        return await Http2Transport()._connected(HERE)

    assert asyncio.run(connect()) is connection


def test_giving_up_leaves_the_promise_to_the_crt_which_keeps_it_later(connecting: Future[Any]) -> None:
    async def give_up() -> None:
        waiting = asyncio.create_task(Http2Transport()._connected(HERE))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        connecting.set_result("connection")

    asyncio.run(give_up())
    assert connecting.result() == "connection"


def test_a_transport_that_was_closed_connects_no_more(connecting: Future[Any]) -> None:
    async def connect() -> None:
        transport = Http2Transport()
        await transport.close()
        await transport._connected(HERE)

    with pytest.raises(ConnectionError):
        asyncio.run(connect())


class Stream:
    """In place of the CRT's: what is written, and when it is sent."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes | None, bool]] = []
        self.writing: list[Future[None]] = []

    def write_data(self, data: Any, end_stream: bool) -> "Future[None]":
        self.pieces.append((data and data.read(), end_stream))
        self.writing.append(Future())
        return self.writing[-1]


def writing(scenario: Callable[[Outgoing, Stream, Body], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scenario(Outgoing(), Stream(), Body())

    asyncio.run(main())


def test_what_was_written_early_is_sent_first() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.write(b"one")
        outgoing.write(b"two")
        outgoing.begin(stream, answer)
        outgoing.write(b"three")
        assert stream.pieces == [(b"one", False), (b"two", False), (b"three", False)]

    writing(scenario)


def test_a_body_that_ended_before_the_connection_was_there_ends_on_it() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.write(b"one")
        await outgoing.end()
        outgoing.begin(stream, answer)
        assert stream.pieces == [(b"one", False), (None, True)]

    writing(scenario)


def test_a_body_has_ended_when_all_of_it_is_sent() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.begin(stream, answer)
        outgoing.write(b"one")
        ending = asyncio.create_task(outgoing.end())
        await asyncio.sleep(0)
        assert stream.pieces == [(b"one", False), (None, True)]
        await asyncio.to_thread(stream.writing[0].set_result, None)
        await asyncio.sleep(0.02)
        assert not ending.done()
        await asyncio.to_thread(stream.writing[1].set_result, None)
        await asyncio.wait_for(ending, 5)

    writing(scenario)


def test_a_piece_that_cannot_be_sent_ends_the_answer_and_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "SEND_SECONDS", 0.1)

    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.begin(stream, answer)
        outgoing.write(b"one")
        stream.writing[0].set_result(None)
        await asyncio.sleep(0.06)
        # Its time begins when it is written, not when somebody first looked.
        outgoing.write(b"two")
        await asyncio.sleep(0.06)
        outgoing.write(b"three")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.piece(), 5)
        with pytest.raises(TimeoutError):
            outgoing.write(b"four")

    writing(scenario)


def test_an_error_of_the_crt_ends_the_answer_and_the_writing() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.begin(stream, answer)
        outgoing.write(b"one")
        stream.writing[0].set_exception(OSError("reset"))
        with pytest.raises(OSError, match="reset"):
            await asyncio.wait_for(answer.piece(), 5)
        with pytest.raises(OSError, match="reset"):
            outgoing.write(b"two")
        assert len(stream.pieces) == 1

    writing(scenario)


def test_a_stream_that_takes_nothing_any_more_says_so_at_once() -> None:
    class Ended(Stream):
        def write_data(self, data: Any, end_stream: bool) -> "Future[None]":
            raise RuntimeError("stream completed")

    async def scenario(outgoing: Outgoing, _: Stream, answer: Body) -> None:
        outgoing.begin(Ended(), answer)
        with pytest.raises(RuntimeError, match="completed"):
            outgoing.write(b"one")

    writing(scenario)


def test_a_writer_waits_while_much_is_under_way() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.begin(stream, answer)
        for _ in range(http2.PIECES_UNDER_WAY):
            outgoing.write(b"x")
            await asyncio.wait_for(outgoing.room(), 5)
        outgoing.write(b"x")
        waiting = asyncio.create_task(outgoing.room())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await asyncio.to_thread(stream.writing[0].set_result, None)
        await asyncio.wait_for(waiting, 5)

    writing(scenario)


def test_a_writer_that_waits_learns_that_the_writing_ended() -> None:
    async def scenario(outgoing: Outgoing, stream: Stream, answer: Body) -> None:
        outgoing.begin(stream, answer)
        for _ in range(http2.PIECES_UNDER_WAY + 1):
            outgoing.write(b"x")
        waiting = asyncio.create_task(outgoing.room())
        await asyncio.sleep(0)
        await asyncio.to_thread(stream.writing[0].set_exception, OSError("reset"))
        with pytest.raises(OSError, match="reset"):
            await asyncio.wait_for(waiting, 5)

    writing(scenario)


def test_an_answer_is_read_in_pieces_or_in_sizes() -> None:
    async def main() -> None:
        body = Body()
        for piece in (b"abc", b"defg", b"hi"):
            body.take(piece)
        assert await body.read(2) == b"ab"
        assert await body.read(4) == b"cdef"
        assert await body.piece() == b"g"
        body.end()
        assert await body.read(10) == b"hi"
        assert (await body.read(10), await body.read(), await body.piece()) == (b"", b"", b"")

    asyncio.run(main())


def test_a_reader_waits_for_pieces_and_for_the_end() -> None:
    async def main() -> None:
        body = Body()
        reading = asyncio.create_task(body.read())
        for piece in (b"one ", b"two"):
            await asyncio.sleep(0)
            body.take(piece)
        await asyncio.sleep(0)
        assert not reading.done()
        body.end()
        assert await asyncio.wait_for(reading, 5) == b"one two"

    asyncio.run(main())


def test_a_reader_that_gave_up_takes_nothing_along() -> None:
    async def main() -> None:
        body = Body()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(body.piece(), 0.01)
        body.take(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(body.read(10), 0.01)
        assert await body.piece() == b"late"

    asyncio.run(main())


def test_what_came_before_an_error_is_read_before_it() -> None:
    async def main() -> None:
        body = Body()
        body.take(b"one")
        body.end(OSError("reset"))
        with pytest.raises(OSError, match="reset"):
            await body.read()
        assert await body.piece() == b"one"
        with pytest.raises(OSError, match="reset"):
            await body.piece()

    asyncio.run(main())
