"""Live WebSocket connections and the `@connections` management API over them."""

import asyncio
import base64
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
FRAME_LIMIT = 32 * 1024
MESSAGE_LIMIT = 128 * 1024
# How much may wait for a client that does not read; API Gateway does not publish its figure.
SEND_BUFFER_LIMIT = 256 * 1024


@dataclass
class Connection:
    """One client. Messages to it go through one queue, so that they arrive whole and in the order of the posts."""

    source_ip: str
    user_agent: str
    authorizer: Mapping[str, Any] | None = None
    id: str = field(default_factory=lambda: base64.urlsafe_b64encode(os.urandom(11)).decode())
    connected_at: float = field(default_factory=time.time)
    last_active_at: float = field(default_factory=time.time)
    closing: tuple[int, str] | None = None
    waiting_bytes: int = 0
    _waiting: deque[str] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, text: str) -> bool:
        """Queue a message; False when the client reads too slowly and its buffer is full."""
        if self.waiting_bytes and self.waiting_bytes + len(text) > SEND_BUFFER_LIMIT:
            return False
        self._waiting.append(text)
        self.waiting_bytes += len(text)
        self.touch()
        self._changed.set()
        return True

    def close(self, code: int, reason: str) -> None:
        """Ask for the connection to be closed once what waits has been sent."""
        if self.closing is None:
            self.closing = (code, reason)
        self._changed.set()

    async def next_message(self) -> str | None:
        """The next message to write, or None when the connection is to be closed. `written` follows every message."""
        while not self._waiting:
            if self.closing is not None:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    def written(self, text: str) -> None:
        """Free the buffer that a message took."""
        self.waiting_bytes -= len(text)

    def touch(self) -> None:
        """Restart the idle time."""
        self.last_active_at = time.time()


class Connections:
    """The connections that are open now, by id."""

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Make a connection reachable by its id."""
        self._open[connection.id] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection: posts to it answer 410 from now on."""
        self._open.pop(connection.id, None)

    def get(self, connection_id: str) -> Connection | None:
        """The open connection of that id."""
        connection = self._open.get(connection_id)
        return connection if connection and connection.closing is None else None

    def close_all(self, code: int, reason: str) -> None:
        """Ask every connection to close."""
        for connection in self._open.values():
            connection.close(code, reason)


def management_routes(connections: Connections) -> list[Route]:
    """`@connections`: post to, look at and delete a connection."""

    async def post(request: Request) -> Response:
        connection = connections.get(request.path_params["connection_id"])
        if connection is None:
            return _gone()
        data = await request.body()
        if len(data) > MESSAGE_LIMIT:
            return _error(413, "PayloadTooLargeException", "Message too large")
        if not connection.send(data.decode("utf-8", errors="replace")):
            return _error(429, "LimitExceededException", "The client's send buffer is full")
        return Response(status_code=200)

    async def get(request: Request) -> Response:
        connection = connections.get(request.path_params["connection_id"])
        if connection is None:
            return _gone()
        body = {
            "connectedAt": _iso(connection.connected_at),
            "identity": {"sourceIp": connection.source_ip, "userAgent": connection.user_agent},
            "lastActiveAt": _iso(connection.last_active_at),
        }
        return Response(json.dumps(body), 200, {"content-type": "application/json"})

    async def delete(request: Request) -> Response:
        connection = connections.get(request.path_params["connection_id"])
        if connection is None:
            return _gone()
        connection.close(1000, "Connection Closed Normally")
        return Response(status_code=204)

    path = "/@aws/ws/@connections/{connection_id}"
    return [
        Route(path, post, methods=["POST"]),
        Route(path, get, methods=["GET"]),
        Route(path, delete, methods=["DELETE"]),
    ]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _gone() -> Response:
    return Response(status_code=410, headers={"x-amzn-errortype": "GoneException"})


def _error(status: int, kind: str, message: str) -> Response:
    body = json.dumps({"message": message})
    return Response(body, status, {"content-type": "application/json", "x-amzn-errortype": kind})
