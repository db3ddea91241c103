"""Runs an ASGI application on loopback."""

import asyncio
import logging
import socket
import ssl
from asyncio import constants
from typing import Any

import hypercorn.protocol
import uvicorn
import uvloop
from hypercorn import Config
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.protocol.h2 import H2Protocol
from starlette.applications import Starlette
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sandbox.certificates import Certificate
from sandbox.gateway.connections import FRAME_LIMIT, MESSAGE_LIMIT

HOST = "127.0.0.1"
# Linux grows a loopback socket's buffer to megabytes, which would hide a client that does not read.
SEND_BUFFER = 128 * 1024
CLOSE_WAIT = 5.0


class ApiGatewayProtocol(WebSocketsSansIOProtocol):
    """Closes after an oversize frame as API Gateway does, so that the client sees the close code.

    uvicorn closes the socket at once. The rest of the oversize frame is still arriving then, the kernel answers it with
    a reset, and a client may lose the close frame (1009) that it has not read yet.
    """

    def handle_parser_exception(self) -> None:
        """Send the close frame, then read on and discard until the client closes."""
        if self.close_sent:
            return
        close = self.conn.close_sent
        code, reason = (close.code, close.reason) if close else (1006, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_WAIT, self.transport.close)

    async def send(self, message: Any) -> None:
        """Count a refused handshake as completed; uvicorn would log an error for each."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        """Discard what follows an oversize frame."""
        if self.conn.parser_exc is not None:
            self.conn.receive_data(data)
            return
        super().data_received(data)

    def eof_received(self) -> None:
        """The client has closed its side."""
        if self.conn.parser_exc is not None:
            self.transport.close()


class _Streams(dict[int, Any]):
    """A connection's streams; what still comes in for one that has been answered goes nowhere."""

    def __missing__(self, number: int) -> "_Gone":
        return _Gone()


class _Gone:
    async def handle(self, event: Any) -> None:
        """Ignore it."""


class PatientH2Protocol(H2Protocol):
    """Goes on after an answer that came before the end of its request.

    hypercorn 0.18 ends the whole connection then, with every other stream on it; a service answers a malformed stream
    while the client is still sending.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.streams = _Streams()


# Neither is a setting of hypercorn's. A client that keeps its connection without reading would delay the end by 30 s.
hypercorn.protocol.H2Protocol = PatientH2Protocol  # type: ignore[attr-defined]  # imported there, not exported
constants.SSL_SHUTDOWN_TIMEOUT = 1.0


def bind(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one. Raises `OSError` when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def server_config(app: Starlette) -> uvicorn.Config:
    """The server's settings: API Gateway's limits on frames and messages among them."""
    # API Gateway offers no compression, sends no pings of its own and limits each frame besides the whole message;
    # the websockets package takes both limits as a pair.
    limits: Any = (MESSAGE_LIMIT, FRAME_LIMIT)
    return uvicorn.Config(
        app,
        ws=ApiGatewayProtocol,
        ws_max_size=limits,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        # A client's address is where it connects from, whatever its headers say: limits count by it.
        proxy_headers=False,
        log_level="warning",
        # Its lines would be made for each request, and dropped by the level.
        access_log=False,
        timeout_graceful_shutdown=3,
    )


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    _log()
    uvicorn.Server(server_config(app)).run(sockets=[listener])


def serve_twice(app: Starlette, listener: socket.socket, encrypted: socket.socket, certificate: Certificate) -> None:
    """Serve by HTTP, and over TLS by HTTP/2 too, whose streams go both ways at once; until SIGINT or SIGTERM."""
    _log()

    async def both() -> None:
        stop = asyncio.Event()
        over_tls = asyncio.create_task(serve_encrypted(app, encrypted, certificate, stop))
        await uvicorn.Server(server_config(app)).serve(sockets=[listener])
        stop.set()
        await over_tls

    uvloop.run(both())


async def serve_encrypted(
    app: Starlette, listener: socket.socket, certificate: Certificate, stop: asyncio.Event
) -> None:
    """Serve over TLS, by HTTP/2 with clients that ask for it, until `stop` is set. Takes the listener for itself."""
    config = Config()
    # The server closes what it is given: were it still ours too, it would close by number whatever came in its place.
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile = config.keyfile = str(certificate.server)
    config.alpn_protocols = ["h2", "http/1.1"]
    config.errorlog = logging.getLogger("sandbox.tls")
    # A call's stream may be silent for as long as its service allows.
    config.keep_alive_timeout = 600
    config.graceful_timeout = 1
    # Starlette types an ASGI application more loosely than hypercorn.
    application: Any = app
    try:
        await serve_hypercorn(application, config, shutdown_trigger=stop.wait)
    except ssl.SSLError:
        # It closes connections on which clients still send, and then complains that they did.
        if not stop.is_set():
            raise


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "sandbox.tls", "hypercorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
