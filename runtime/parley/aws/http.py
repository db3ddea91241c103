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
from typing import Self
from urllib.parse import urlsplit

from botocore.exceptions import EndpointConnectionError

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
"""A whole answer, which takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_fresh: bool = True


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
                async with asyncio.timeout(within):
                    return await self._exchange(connection, request)
            except (OSError, EOFError, ValueError) as error:
                connection.writer.close()
                # One that was kept may have been closed meanwhile, and says so only now.
                if connection.is_fresh or isinstance(error, TimeoutError):
                    raise EndpointConnectionError(endpoint_url=self.endpoint) from error
            except BaseException:
                connection.writer.close()
                raise

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
            self._idle.pop().writer.close()

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_within):
                reader, writer = await asyncio.open_connection(
                    self._hostname, self._port, ssl=self._tls if self._is_secure else None, limit=1024 * 1024
                )
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self.endpoint) from error
        return _Connection(reader, writer)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # The variable by which the other SDKs of AWS are told of further authorities.
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))

    async def _exchange(self, connection: _Connection, request: bytes) -> Response:
        connection.writer.write(request)
        head = await connection.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(connection.reader)
        else:
            body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            connection.writer.close()
        else:
            connection.is_fresh = False
            self._idle.append(connection)
        return Response(int(status_line.split(" ", 2)[1]), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return bytes(body)
