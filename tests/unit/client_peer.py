"""A server on loopback that speaks the protocol of Parley's sessions, with the faults that a test asks for."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

SESSION = "0123456789abcdef"
VOICE = b"\1\2" * 2400
"""100 ms of the assistant's voice."""


@dataclass
class Peer:
    """One session's server: keeps what it was sent, and answers when 'good' is typed or asked to."""

    url: str = ""
    websocket_url: str = ""
    tokens: list[str] = field(default_factory=list)
    """The tokens that tickets were asked with, in order."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of these requests."""
    starts: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Everything that clients sent but audio."""
    frames: dict[int, bytes] = field(default_factory=dict)
    """Audio by number: the first of each counts."""
    arrivals: list[int] = field(default_factory=list)
    """The numbers of audio frames as they came, repetitions included."""
    next_seq: int = 1
    connections: list[ServerConnection] = field(default_factory=list)

    # Faults.
    http_answers: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Answers to the next requests for tickets, instead of a ticket."""
    refuse_connections: int = 0
    never_ready: int = 0
    """So many connections are never told that the session is ready."""
    start_error: dict[str, Any] | None = None
    close_at: list[int] = field(default_factory=list)
    """Frames at whose first arrival the connection breaks, before they are kept."""
    lose: set[int] = field(default_factory=set)
    """Frames that are lost once on their way."""
    acknowledge: bool = True
    text_answers: bool = True
    """Answer texts, naming them; a call's spoken answers do not."""
    silent: bool = False
    """Answer nothing at all any more."""
    largest_frame: int = 1 << 20
    """Bytes of one WebSocket frame at most, as API Gateway has it."""
    _tickets: int = 0

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message to the newest connection."""
        await self.connections[-1].send(json.dumps(message))

    async def speak(self, turn_id: str, pieces: int = 1) -> None:
        """Send some of the assistant's voice."""
        for _ in range(pieces):
            await self.say({"type": "audio", "turn_id": turn_id, "data": base64.b64encode(VOICE).decode()})

    def sent(self, action: str) -> list[dict[str, Any]]:
        """The messages of one kind that came."""
        return [message for message in self.messages if message["action"] == action]

    async def until(self, what: Any) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(10):
            while not what():
                await asyncio.sleep(0.005)

    @property
    def contiguous(self) -> int:
        """The highest number up to which nothing is missing."""
        seq = self.next_seq - 1
        while seq + 1 in self.frames:
            seq += 1
        return seq

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        self.connections.append(connection)
        number = len(self.connections)
        try:
            async for raw in connection:
                message = json.loads(raw)
                if message["action"] == "audio":
                    await self.hear(connection, message)
                    continue
                self.messages.append(message)
                if not self.silent:
                    await self._answer(connection, number, message)
        except ConnectionClosed:
            pass

    async def hear(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        """Take a frame."""
        seq = message["seq"]
        self.arrivals.append(seq)
        if seq in self.close_at:
            self.close_at.remove(seq)
            connection.transport.abort()
            return
        if seq in self.lose:
            self.lose.remove(seq)
            return
        self.frames.setdefault(seq, base64.b64decode(message["data"]))
        have = self.contiguous
        if self.acknowledge and not self.silent:
            if max(self.frames) > have:
                await connection.send(json.dumps({"type": "resend", "from": have + 1, "to": max(self.frames) - 1}))
            await connection.send(json.dumps({"type": "ack", "seq": have}))

    async def _answer(self, connection: ServerConnection, number: int, message: dict[str, Any]) -> None:
        answers: list[dict[str, Any]] = []
        match message:
            case {"action": "session.start"}:
                self.starts.append(message)
                if self.start_error:
                    answers = [self.start_error]
                elif number > self.never_ready:
                    answers = [{"type": "session.ready", "session_id": SESSION, "engine": "nova-sonic"}]
                    if message.get("medium") == "voice":
                        answers[0]["next_seq"] = max(self.next_seq, self.contiguous + 1)
            case {"action": "ping"}:
                answers = [{"type": "pong"}]
            case {"action": "text"} if self.text_answers:
                answers = [answer(request_id=message["request_id"])]
            case {"action": "session.end"}:
                # A reason that is the default is left out, as the server does.
                answers = [{"type": "session.ended"}]
        for each in answers:
            await connection.send(json.dumps(each))

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Check the ticket."""
        ticket = parse_qs(urlsplit(request.path).query).get("ticket")
        if self.refuse_connections:
            self.refuse_connections -= 1
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        return None if ticket == [f"ticket-{self._tickets}"] else connection.respond(HTTPStatus.UNAUTHORIZED, "")

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """POST /tickets, one request a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or "{}")
        self.tokens.append(headers["authorization"].removeprefix("Bearer "))
        self.asked.append(body)
        if self.http_answers:
            status, document, more = self.http_answers.pop(0)
        else:
            self._tickets += 1
            status, more = 201, {}
            document = {
                "ticket": f"ticket-{self._tickets}",
                "session_id": body.get("session_id", SESSION),
                "websocket_url": self.websocket_url,
                "expires_at": "2026-01-01T00:00:00Z",
            }
        data = json.dumps(document).encode()
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-length: {len(data)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await writer.drain()
        writer.close()


def answer(**fields: Any) -> dict[str, Any]:
    """A `message.done`."""
    return {
        "type": "message.done",
        "turn_id": "t1",
        "conversation_id": "c1",
        "message": "Bees sleep [1].",
        "citations": [{"id": 1, "document_id": "d1", "document": "bees.md", "text": "sleep", "score": 0.5, "new": 1}],
        "model": "m",
        "knowledge": "used",
        "medium": "voice",
        "of_tomorrow": True,
    } | fields


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[Peer]:
    """Serve it on free ports."""
    http = await asyncio.start_server(peer.http, "127.0.0.1", 0)
    async with (
        http,
        serve(
            peer.handle,
            "127.0.0.1",
            0,
            process_request=peer.admit,
            compression=None,
            max_size=(None, peer.largest_frame),
        ) as sockets,
    ):
        peer.url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        peer.websocket_url = f"ws://127.0.0.1:{next(iter(sockets.sockets)).getsockname()[1]}/ws"
        yield peer
