"""POST requests on the event loop, over connections that are kept: what asks for many a second.

botocore takes 1.4 ms of CPU for a request, and a thread besides; httpx takes 0.8 ms; this takes 0.1 ms, and can do
nothing else.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from botocore.exceptions import EndpointConnectionError

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
"""A whole answer, which takes milliseconds."""

HEAD_BYTES = 64 * 1024
"""An answer's headers at most."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes


class Http:
    """POST requests to one endpoint. Belongs to the event loop that uses it first."""

    def __init__(self, endpoint: str, *, connect_within: float = CONNECT_SECONDS) -> None:
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self.host = url.netloc
        """Host and port, as its header names them."""
        self._base_path = url.path.rstrip("/")
        self._hostname = url.hostname or ""
        self._is_secure = url.scheme == "https"
        self._port = url.port or (443 if self._is_secure else 80)
        self._connect_within = connect_within
        self._idle: list[_Connection] = []

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], *, within: float = READ_SECONDS
    ) -> Response:
        """POST to a path, of which each part is quoted already, for an answer `within` seconds.

        Raises EndpointConnectionError.
        """
        path = self._base_path + path
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.complete(path, body, headers).items())
        request = f"POST {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                response = await connection.exchange(request, within)
            except (OSError, EOFError, ValueError) as error:
                connection.close()
                # One that was kept may have been closed meanwhile, and says so only now.
                if connection.is_fresh or isinstance(error, TimeoutError):
                    raise EndpointConnectionError(endpoint_url=self.endpoint) from error
            except BaseException:
                connection.close()
                raise
            else:
                if response.headers.get("connection", "").lower() == "close":
                    connection.close()
                else:
                    connection.is_fresh = False
                    self._idle.append(connection)
                return response

    def complete(self, path: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a request, all but its length."""
        return {"host": self.host, **headers}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *outcome: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> "_Connection":
        try:
            async with asyncio.timeout(self._connect_within):
                tls = self._tls if self._is_secure else None
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._hostname, self._port, ssl=tls)
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self.endpoint) from error
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # The variable by which the other SDKs of AWS are told of further authorities.
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))


class _Connection(asyncio.Protocol):
    """A connection, for one request after another. asyncio's streams would take as long as all else of an exchange."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[Response] | None = None
        self.is_fresh = True

    async def exchange(self, request: bytes, within: float) -> Response:
        """The answer to a request. Raises OSError (TimeoutError), EOFError, or ValueError for what is no HTTP."""
        if self._transport is None:
            raise EOFError
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(within, self._fail, TimeoutError())
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._answer is None or self._answer.done():
            # Nobody has asked.
            self.close()
            return
        self._received += data
        try:
            response = _parsed(self._received)
        except ValueError as error:
            self._fail(error)
            return
        if response is not None:
            self._received.clear()
            self._answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        self._fail(error if isinstance(error, OSError) else EOFError())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _parsed(received: bytearray) -> Response | None:
    """What was received as an answer, once it is whole. Raises ValueError."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > HEAD_BYTES:
            raise ValueError("no end of the headers")
        return None
    status_line, *lines = received[:end].decode("latin-1").split("\r\n")
    _, status, *_ = status_line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    begin = end + 4
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _chunks(received, begin)
    else:
        size = int(headers.get("content-length", "0"))
        body = bytes(received[begin : begin + size]) if len(received) >= begin + size else None
    return None if body is None else Response(int(status), headers, body)


def _chunks(received: bytearray, begin: int) -> bytes | None:
    """A body that comes in chunks, once its last one and what follows that are there."""
    body = bytearray()
    while (end := received.find(b"\r\n", begin)) >= 0:
        size = int(received[begin:end].split(b";")[0], 16)
        if size < 0:
            raise ValueError("a chunk of no size")
        begin = end + 2
        if not size:
            # Further headers may follow, and then an empty line.
            return bytes(body) if received.find(b"\r\n\r\n", end) >= 0 else None
        body += received[begin : begin + size]
        begin += size + 2
    return None
