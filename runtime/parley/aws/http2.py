"""HTTP/2 on the CRT, as the transport of the SDKs in `parley.aws.bidirectional`.

The SDKs' own transport on the CRT waits, for each piece that it writes, until the CRT's thread says that it is written:
one more wake-up of the event loop eleven times a second in a call. It ignores AWS_CA_BUNDLE, and a connection that is
given up while it is made raises in the CRT's thread. This one writes without waiting, watches from the side that
writing goes on, and leaves to the CRT what it has promised.
"""

import asyncio
import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from functools import cache
from io import BytesIO
from typing import Any

from awscrt.http import Http2ClientConnection, HttpHeaders, HttpRequest
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    SocketOptions,
    TlsContextOptions,
)
from smithy_http import tuples_to_fields
from smithy_http.aio import HTTPResponse

CONNECT_SECONDS = 3.0
"""For TCP and TLS; every endpoint is in the function's own region."""

SEND_SECONDS = 5.0
"""The longest that a piece waits to be sent: HTTP/2's window stays shut when the peer is gone without a word."""

PIECES_UNDER_WAY = 64
"""Pieces that may wait to be sent before a writer should wait as well: six seconds of audio."""


class Http2Transport:
    """One connection to one endpoint, made when it is needed, and again when it was lost."""

    SUPPORTS_DUPLEX_STREAMING = True
    TIMEOUT_EXCEPTIONS = (TimeoutError,)

    def __init__(self) -> None:
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def send(self, request: Any, *, request_config: object = None) -> HTTPResponse:
        """The answer to a request, as soon as its headers are there.

        A body that is an Outgoing goes on being written. Raises AwsCrtError, ConnectionError and TimeoutError.
        """
        duplex = isinstance(request.body, Outgoing)
        whole = b"" if duplex else await request.consume_body_async()
        described = _described(request, None if duplex else whole)
        connection = await self._connected(request.destination)
        answer = _Answer()
        stream = connection.request(described, answer.on_response, answer.on_body, manual_write=duplex)
        answer.follow(stream)
        stream.activate()
        if duplex:
            request.body.begin(stream, answer.body)
        status, headers = await answer.headers
        return HTTPResponse(status=status, fields=tuples_to_fields(headers), body=answer.body)

    async def close(self) -> None:
        """Close the connection; what is under way on it fails."""
        self._closed = True
        if (connection := self._connection) is not None:
            self._connection = None
            await asyncio.shield(asyncio.wrap_future(connection.close()))

    async def _connected(self, url: Any) -> Any:
        async with self._connecting:
            if self._closed:
                raise ConnectionError
            if self._connection is None or not self._connection.is_open():
                # Never cancelled: the CRT's thread sets it in any case, at once or after half a minute.
                self._connection = await asyncio.shield(asyncio.wrap_future(_connect(url.host, url.port or 443)))
            return self._connection


class Outgoing:
    """A request's body that is written in pieces, in order and without waiting.

    Pieces that are written before there is a connection wait for it. When one cannot be sent within SEND_SECONDS, the
    answer fails with TimeoutError, and so does whatever else is written.
    """

    def __init__(self) -> None:
        self._loop: Any = None
        self._stream: Any = None
        self._answer: Body | None = None
        self._early: list[tuple[bytes | None, bool]] = []
        # When each piece was written that is not sent yet. The CRT sends in order, and its thread takes them away.
        self._under_way: deque[float] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    def begin(self, stream: Any, answer: "Body") -> None:
        """Send what was written and what will be on an activated stream."""
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._answer = answer
        early, self._early = self._early, []
        for piece, last in early:
            self._send(piece, last)

    def write(self, piece: bytes) -> None:
        """Write a piece. Raises the error that ended the writing."""
        self._send(piece, last=False)
        if self._failure is not None:
            raise self._failure

    async def end(self) -> None:
        """Say that this was all, and wait until what a stream was given is sent.

        Else closing the connection would cut it off. Raises the error that ended the writing.
        """
        self._send(None, last=True)
        await self.room(under_way=0)

    async def room(self, under_way: int = PIECES_UNDER_WAY) -> None:
        """Wait until no more than so many pieces are under way. Raises the error that ended the writing."""
        while self._failure is None and len(self._under_way) > under_way:
            self._room = self._room or self._loop.create_future()
            # Looked at once more: the CRT's thread tells of what it has sent only when somebody waits.
            if len(self._under_way) > under_way:
                await asyncio.shield(self._room)
        if self._failure is not None:
            raise self._failure

    def _send(self, piece: bytes | None, last: bool) -> None:
        if self._failure is not None:
            return
        if self._stream is None:
            self._early.append((piece, last))
            return
        self._under_way.append(self._loop.time())
        try:
            writing = self._stream.write_data(None if piece is None else BytesIO(piece), last)
        except RuntimeError as failure:
            # The CRT's word for a stream that has ended.
            self._fail(failure)
            return
        writing.add_done_callback(self._sent)
        if self._watch is None:
            self._watch = self._loop.call_later(SEND_SECONDS, self._look)

    def _sent(self, writing: "Future[None]") -> None:
        """Called on the CRT's thread."""
        self._under_way.popleft()
        if (failure := writing.exception()) is not None:
            _tell(self._loop, self._fail, failure)
        elif self._room is not None and len(self._under_way) <= PIECES_UNDER_WAY:
            _tell(self._loop, self._make_room)

    def _look(self) -> None:
        self._watch = None
        with contextlib.suppress(IndexError):
            left = self._under_way[0] + SEND_SECONDS - self._loop.time()
            if left > 0:
                self._watch = self._loop.call_later(left, self._look)
            else:
                self._fail(TimeoutError())

    def _fail(self, failure: Any) -> None:
        if self._failure is None:
            self._failure = failure
            if self._answer is not None:
                self._answer.end(failure)
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None


class Body:
    """An answer's body, in pieces as they come. Reading raises the error that ended it early."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._failure: Exception | None = None
        self._news: asyncio.Future[None] | None = None

    def take(self, piece: bytes) -> None:
        """Add a piece."""
        self._pieces.append(piece)
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """Say that this was all, and why if it should have been more."""
        if not self._ended:
            self._ended = True
            self._failure = failure
            self._wake()

    async def piece(self) -> bytes:
        """The next piece; empty at the end. One reader at a time."""
        while not self._pieces:
            if not await self._more():
                return b""
        return self._pieces.popleft()

    async def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; fewer at the end.

        The SDKs ask before each read whether their body has this method. If it had not, they would find that out anew
        every time, which takes longer than the read.
        """
        # Nothing is taken before it is all there: who gives up reading loses nothing.
        while (size < 0 or sum(map(len, self._pieces)) < size) and await self._more():
            pass
        read = bytearray()
        while self._pieces and (size < 0 or len(read) < size):
            read += self._pieces.popleft()
        if 0 <= size < len(read):
            self._pieces.appendleft(bytes(read[size:]))
            del read[size:]
        return bytes(read)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.piece():
            yield piece

    async def _more(self) -> bool:
        """Wait for news; False when there will be none."""
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return False
        self._news = self._loop.create_future()
        await self._news
        return True

    def _wake(self) -> None:
        if self._news is not None:
            if not self._news.done():
                self._news.set_result(None)
            self._news = None


class _Answer:
    """What the CRT's thread says of an answer, told to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.headers: asyncio.Future[tuple[int, list[tuple[str, str]]]] = self._loop.create_future()
        self.body = Body()

    def on_response(self, *, status_code: int, headers: list[tuple[str, str]], **_: object) -> None:
        _tell(self._loop, self._take_headers, (status_code, headers))

    def on_body(self, *, chunk: bytes, **_: object) -> None:
        _tell(self._loop, self.body.take, chunk)

    def follow(self, stream: Any) -> None:
        """Learn of the stream's end, and of the answer's, which may be before it."""
        stream.completion_future.add_done_callback(lambda done: _tell(self._loop, self._end, done.exception()))
        stream.remote_end_stream_future.add_done_callback(self._on_remote_end)

    def _on_remote_end(self, done: "Future[None]") -> None:
        # Where it fails, the other one says why.
        if done.exception() is None:
            _tell(self._loop, self._end, None)

    def _take_headers(self, headers: tuple[int, list[tuple[str, str]]]) -> None:
        if not self.headers.done():
            self.headers.set_result(headers)

    def _end(self, failure: Exception | None) -> None:
        self.body.end(failure)
        if not self.headers.done():
            self.headers.set_exception(failure or ConnectionError())
            # Whoever waited for them may have given up.
            self.headers.exception()


def _tell(loop: asyncio.AbstractEventLoop, callback: Any, *values: object) -> None:
    """Call on the event loop's thread, from the CRT's. A loop that is closed has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *values)


def _described(request: Any, body: bytes | None) -> HttpRequest:
    headers = HttpHeaders()
    for field in request.fields.entries.values():
        for value in field.values:
            headers.add(field.name, value)
    for name, value in (("host", request.destination.netloc), ("accept", "*/*")):
        if name not in request.fields:
            headers.add(name, value)
    path = request.destination.path or "/"
    query = f"?{request.destination.query}" if request.destination.query else ""
    return HttpRequest(request.method, path + query, headers, BytesIO(body) if body else None)


def _connect(host: str, port: int) -> "Future[Http2ClientConnection]":
    tls = _trust(os.environ.get("AWS_CA_BUNDLE")).new_connection_options()
    tls.set_server_name(host)
    tls.set_alpn_list(["h2"])
    sockets = SocketOptions()
    sockets.connect_timeout_ms = round(CONNECT_SECONDS * 1000)
    sockets.keep_alive = True
    sockets.keep_alive_timeout_secs = sockets.keep_alive_interval_secs = 5
    sockets.keep_alive_max_probes = 2
    connecting: Future[Http2ClientConnection] = Http2ClientConnection.new(host, port, _threads(), sockets, tls)
    connecting.add_done_callback(lambda _: _stay_known(threading.get_ident()))
    return connecting


@cache
def _threads() -> ClientBootstrap:
    """The CRT's thread: one for all connections of the process."""
    group = EventLoopGroup(1)
    return ClientBootstrap(group, DefaultHostResolver(group))


@cache
def _stay_known(thread: int) -> None:
    """Let Python know this thread, which is the CRT's, until the process ends.

    Else Python makes a state for it, and maps memory for that, whenever the CRT calls: forty times a second in a call.
    """
    if thread != threading.main_thread().ident:
        ctypes.pythonapi.PyGILState_Ensure()


@cache
def _trust(authorities: str | None) -> ClientTlsContext:
    options = TlsContextOptions()
    if authorities:
        options.override_default_trust_store_from_path(ca_filepath=authorities)
    return ClientTlsContext(options)
