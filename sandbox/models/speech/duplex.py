"""Calls that are answered while their request goes on arriving: HTTP/2 streams of signed event-stream messages."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import psutil
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from sandbox.models.event_stream import MEDIA_TYPE, Message, SignedMessages, encode_exception

_log = logging.getLogger(__name__)


class ServiceError(Exception):
    """An error as the service reports it: before the answer has begun by HTTP, afterwards as an exception event."""

    def __init__(self, kind: str, message: str, status: int = 400, **fields: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.fields = fields


class Disconnected(Exception):
    """The client has gone."""


class Broken(Exception):
    """Ends the connection in the middle of the answer, as a test asked."""


@dataclass(frozen=True)
class Dialect:
    """How a service writes its exceptions.

    `internal` is the one for trouble of its own; in a stream their names may be in `lower_camel` case; `message` names
    the field of their message.
    """

    internal: str
    lower_camel: bool = False
    message: str = "message"


class Exchange:
    """One call: its headers, the messages that arrive, the answer that goes out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, dialect: Dialect) -> None:
        self._dialect = dialect
        self.headers: Mapping[str, str] = Headers(scope=scope)
        self.path: Mapping[str, str] = scope.get("path_params", {})
        self.request_id = str(uuid.uuid4())
        self.begun = False
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()

    async def messages(self) -> AsyncIterator[Message]:
        """The messages as they arrive, until the client ends its side. Raises `Disconnected` or `ServiceError`."""
        stream = SignedMessages()
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Disconnected
            try:
                for message in stream.feed(event.get("body", b"")):
                    yield message
            except ValueError as error:
                raise ServiceError("ValidationException", f"The request is {error}.") from None
            if stream.ended or not event.get("more_body", False):
                return

    async def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """Send the answer's headers."""
        self.begun = True
        fields = {"content-type": MEDIA_TYPE, "x-amzn-requestid": self.request_id} | dict(headers or {})
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def send(self, data: bytes) -> None:
        """Send encoded messages."""
        async with self._sending:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def fail(self, error: ServiceError) -> None:
        """Report an error in the form that the state of the answer allows, and end the answer."""
        fields = {self._dialect.message: error.message} | error.fields
        if not self.begun:
            headers = {"x-amzn-errortype": error.kind, "x-amzn-requestid": self.request_id}
            response = JSONResponse(fields, error.status, headers)
            await response({"type": "http"}, self._receive, self._send)
            return
        kind = error.kind[0].lower() + error.kind[1:] if self._dialect.lower_camel else error.kind
        await self.send(encode_exception(kind, fields))
        await self.end()

    async def end(self) -> None:
        """End the answer."""
        async with self._sending:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class Duplex:
    """An ASGI endpoint around a coroutine that holds one such call."""

    def __init__(self, handler: Callable[[Exchange], Awaitable[None]], dialect: Dialect) -> None:
        self._handler = handler
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        exchange = Exchange(scope, receive, send, self._dialect)
        try:
            await self._handler(exchange)
            await exchange.end()
        except ServiceError as error:
            await exchange.fail(error)
        except Disconnected:
            return
        except Broken:
            _cut(scope["client"][1])
        except Exception as error:
            # A client waits for its stream's end; without one it would wait for ever.
            _log.exception("A call failed")
            await exchange.fail(ServiceError(self._dialect.internal, str(error), 500))


def _cut(client_port: int) -> None:
    """End the TCP connection of a client, as a network that fails: ASGI has no way to ask the server for that."""
    for connection in psutil.Process().net_connections("tcp4"):
        if connection.raddr and connection.raddr.port == client_port and connection.fd >= 0:
            with socket.socket(fileno=os.dup(connection.fd)) as own:
                own.shutdown(socket.SHUT_RDWR)
