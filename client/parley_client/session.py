"""A live session: one connection after another, with what was said kept across them."""

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Literal, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from parley_client.errors import Over, Refused, Unreachable
from parley_client.events import Answer, Audio, Delta, Ended, Event, Interrupted, Problem, Ready, Reconnecting, event_of
from parley_client.outgoing import Outgoing, Pace, audio_message
from parley_client.playback import Playback
from parley_client.texts import Texts
from parley_client.tickets import Passing, Ticket, Tickets, Token
from parley_client.timing import Timing

FRAGMENT_CHARACTERS = 7_500
"""API Gateway takes messages of 128 KB in frames of 32 KB: four bytes a character at most."""

REFUSED_TICKETS = 3
"""A ticket may be refused because it came too late; so many in a row are no accident."""

_FINAL = frozenset({"ended", "idle", "replaced", "taken_over", "flood", "failed"})


class Session:
    """One session with the assistant, as an async context manager: entered when the server is ready.

    Iterate over it for the events. Leaving it ends the session, unless `keep` is set: then another Session with the
    same `session_id` goes on with it. A lost connection is made again by itself; audio that the server does not have
    yet is kept and sent again.

    Entering and iterating raise Refused and Unreachable.
    """

    def __init__(
        self,
        api_url: str,
        *,
        token: Token,
        websocket_url: str | None = None,
        session_id: str | None = None,
        conversation_id: str | None = None,
        medium: Literal["voice", "text"] = "voice",
        engine: str | None = None,
        language: str | None = None,
        voice: str | None = None,
        keep: bool = False,
        report_played: bool = True,
        trust_env: bool = True,
        timing: Timing | None = None,
    ) -> None:
        """A session at the HTTP API `api_url`, which names the WebSocket's address itself, unless `websocket_url` does.

        `token` is a bearer token or an API key, or a function that gives one. `conversation_id` goes on with an earlier
        conversation; without `engine`, `language` and `voice` the deployment's own are used. With `report_played` the
        audio counts as played in real time from when it came; a program that knows better sets it to False and calls
        `played`. `trust_env` lets environment variables name proxies and certificates.
        """
        self.session_id = session_id
        self.conversation_id = conversation_id
        self._medium = medium
        self._choice = {"engine": engine, "language": language, "voice": voice}
        self._keep = keep
        self._report_played = report_played
        self._trust_env = trust_env
        self._timing = timing or Timing()
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(15, connect=10), trust_env=trust_env)
        self._tickets = Tickets(api_url, token, self._http, websocket_url=websocket_url)
        self._outgoing = Outgoing(self._timing.hold)
        self._playback = Playback()
        self._silenced: str | None = None
        self._texts = Texts(self._timing.ask_again_after)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._socket: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._was_ready = False
        self._ending = False
        self._over = asyncio.Event()
        self._trouble: BaseException | None = None
        self._heard_at = 0.0
        self._running: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises Refused, and Unreachable when no session comes about in `give_up_after` seconds."""
        self._running = asyncio.create_task(self._run())
        try:
            await _first(self._ready.wait(), self._over.wait())
            if self._trouble is not None:
                raise self._trouble
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._keep:
                with contextlib.suppress(TimeoutError):
                    await (self.end() if kind is None else self._end())
        finally:
            await self._close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events, until the session is over. Iterate in one place, and steadily: what is not taken is kept."""
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises ParleyError when the session broke, and whatever the source of `listen` raised."""
        event = await self._events.get()
        if event is not None:
            return event
        self._events.put_nowait(None)
        if self._trouble is not None:
            raise self._trouble
        raise StopAsyncIteration

    async def send_audio(self, pcm: bytes) -> None:
        """Say the next piece: PCM at INPUT_RATE of any length, in real time, silence included.

        It returns at once, also while the connection is away; it waits when `Timing.hold` seconds are kept. Raises
        what broke the session, and Over when it has ended.
        """
        await self._outgoing.add(pcm)
        if self._over.is_set():
            raise self._trouble or Over

    def listen(self, source: AsyncIterable[bytes]) -> Self:
        """Send what a microphone gives, beside whatever the program does, until it ends. Returns the session."""
        self._listening = asyncio.create_task(self._listen(source))
        return self

    def flush(self) -> None:
        """Send what is less than a frame, too: no more audio comes for now."""
        self._outgoing.flush()

    async def send_text(self, message: str, *, request_id: str | None = None, model_role: str | None = None) -> str:
        """Type something. Returns its request id, which comes back with the answer where the medium is text.

        It is sent again after a reconnection unless it is known to have arrived, and where the medium is text when
        nothing is heard of its answer; the request id keeps it from being answered twice.
        """
        request_id = request_id or str(uuid.uuid4())
        text = self._texts.add(request_id, message, model_role, time.monotonic())
        if self._ready.is_set():
            await self._send(self._in_conversation(text))
        return request_id

    async def played(self, turn_id: str, milliseconds: int) -> None:
        """Report how much of a turn's voice has been heard, from its beginning."""
        await self._send({"action": "played", "turn_id": turn_id, "ms": milliseconds})

    @property
    def unacknowledged(self) -> int:
        """Frames of audio that the server does not have yet."""
        return self._outgoing.held

    @property
    def speaking_for(self) -> float:
        """Seconds until the assistant's voice, as far as it came, has been played."""
        return self._playback.left(time.monotonic())

    async def end(self) -> None:
        """End the session for good, once the server has all that was said. Raises TimeoutError."""
        if self._over.is_set():
            return
        if self._listening is not None:
            self._listening.cancel()
        self._outgoing.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.end_within):
                await _first(self._outgoing.all_kept(), self._over.wait())
        await self._end()

    async def _end(self) -> None:
        self._ending = True
        async with asyncio.timeout(self._timing.end_within):
            await self._send({"action": "session.end"})
            await self._over.wait()

    async def _close(self) -> None:
        for task in (self._listening, self._running):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        await self._http.aclose()

    # One connection after another.

    async def _run(self) -> None:
        try:
            await self._connections()
        except asyncio.CancelledError:
            raise
        except Exception as trouble:
            self._trouble = trouble
        finally:
            self._ready.clear()
            self._over.set()
            self._outgoing.close()
            self._events.put_nowait(None)

    async def _connections(self) -> None:
        lost_at, attempt, refused = time.monotonic(), 0, 0
        while True:
            self._was_ready = False
            try:
                ticket = await self._tickets.issue(self.session_id)
                self.session_id = ticket.session_id
                await self._connection(ticket)
                return
            except _TicketRefused as trouble:
                refused += 1
                if refused >= REFUSED_TICKETS:
                    raise Refused(
                        "ticket_refused", "The server refuses its own tickets: is this clock right?"
                    ) from None
                lost: Passing = trouble
            except Passing as trouble:
                lost = trouble
            if self._ending:
                return
            if self._was_ready:
                lost_at, attempt, refused = time.monotonic(), 0, 0
                self._tell(Reconnecting(reason=lost.reason))
            attempt += 1
            pause = max(self._pause(attempt), lost.after)
            if time.monotonic() + pause - lost_at > self._timing.give_up_after:
                raise Unreachable("unreachable", f"No session at {self._tickets.url}: {lost.reason}.")
            await asyncio.sleep(pause)

    def _pause(self, attempt: int) -> float:
        longest = min(self._timing.first_pause * 2.0 ** min(attempt - 1, 16), self._timing.longest_pause)
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret

    async def _connection(self, ticket: Ticket) -> None:
        """Hold one connection until the session has ended. Raises Passing when it is lost, and Refused."""
        try:
            async with connect(
                ticket.url,
                proxy=True if self._trust_env else None,
                # API Gateway compresses nothing, and answers the ping of our own.
                compression=None,
                ping_interval=None,
                close_timeout=2,
            ) as socket:
                self._socket, self._heard_at = socket, time.monotonic()
                self._texts.connected()
                try:
                    await self._converse(socket)
                finally:
                    self._socket = None
                    self._ready.clear()
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                raise _TicketRefused(f"the ticket was refused ({status})") from error
            raise Passing(f"the WebSocket answers {status}") from error
        except ConnectionClosed as error:
            raise Passing(str(error)) from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise Passing(str(error) or type(error).__name__) from error

    async def _converse(self, socket: ClientConnection) -> None:
        start: dict[str, Any] = {"action": "session.start", "session_id": self.session_id}
        if self._medium == "voice":
            start |= self._choice | {
                "medium": "voice",
                "conversation_id": self.conversation_id,
                "last_seq": self._outgoing.last_seq or None,
            }
        await self._write(socket, _known(start))
        await _first(
            self._receive(socket),
            self._speak(socket),
            self._give_signs_of_life(socket),
            self._report(),
        )

    async def _receive(self, socket: ClientConnection) -> None:
        async for raw in socket:
            self._heard_at = time.monotonic()
            try:
                message = json.loads(raw)
            except ValueError:
                continue
            if isinstance(message, dict) and await self._take(message):
                return
        raise Passing(f"the connection was closed ({socket.close_code})")

    async def _take(self, message: dict[str, Any]) -> bool:
        """Deal with a message. Returns True when it ends the session."""
        match message:
            case {"type": "ack", "seq": int(seq)}:
                self._outgoing.acknowledge(seq, self._heard_at)
            case {"type": "resend", "from": int(first), "to": int(last)}:
                self._outgoing.ask(first, last)
            case {"type": "pong"}:
                # Spoken answers do not name the text that they answer.
                if self._medium == "voice":
                    self._texts.ponged()
            case _:
                event = event_of(message)
                if event is not None:
                    return await self._happen(event, message)
        return False

    async def _happen(self, event: Event, message: dict[str, Any]) -> bool:
        now = self._heard_at
        match event:
            case Ready():
                await self._begin(event, message.get("next_seq"))
            case Problem() if not self._ready.is_set():
                if event.retryable:
                    raise Passing(event.message or event.code)
                raise Refused(event.code, event.message)
            case Problem(code="session_not_started"):
                raise Passing("the server has forgotten the session")
            case Problem(code="conflict", request_id=str(request_id)) if self._texts.is_repeated(request_id):
                return False
            case Problem(request_id=str(request_id)):
                (self._texts.refused if event.retryable else self._texts.settled)(request_id)
            case Delta(request_id=str(request_id)):
                self._texts.progress(request_id, now)
            case Answer():
                self.conversation_id = event.conversation_id
                self._texts.settled(event.request_id or "")
            case Audio(turn_id=turn_id):
                if turn_id == self._silenced:
                    return False
                self._playback.feed(turn_id, event.pcm, now)
            case Interrupted(turn_id=turn_id):
                self._silenced = turn_id
                heard = self._playback.stop(turn_id, now)
                if heard is not None and self._report_played:
                    await self.played(turn_id, heard)
            case Ended(reason=reason) if reason not in _FINAL and not self._ending:
                raise Passing(f"the server ended the connection ({reason})")
        self._tell(event)
        return isinstance(event, Ended)

    async def _begin(self, event: Ready, next_seq: int | None) -> None:
        self.session_id = event.session_id
        self.conversation_id = event.conversation_id or self.conversation_id
        if next_seq is not None:
            self._outgoing.resume(next_seq, self._heard_at)
        self._was_ready = True
        again = not self._ready.is_set()
        self._ready.set()
        if again:
            for text in self._texts.all(self._heard_at):
                await self._send(self._in_conversation(text))
            if self._ending:
                await self._send({"action": "session.end"})

    async def _speak(self, socket: ClientConnection) -> None:
        """Send what the user says, as it comes."""
        pace = Pace()
        await self._ready_in_time()
        while True:
            now = time.monotonic()
            taken = self._outgoing.take(now)
            if taken is None:
                await self._outgoing.something()
                continue
            seq, frame = taken
            if (wait := pace.wait(frame, now)) > 0:
                await asyncio.sleep(wait)
            await self._write(socket, audio_message(seq, frame))

    async def _ready_in_time(self) -> None:
        try:
            async with asyncio.timeout(self._timing.ready_within):
                await self._ready.wait()
        except TimeoutError:
            raise Passing(f"the session was not ready within {self._timing.ready_within:g} s") from None

    async def _give_signs_of_life(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._timing.ping_every)
            now = time.monotonic()
            if now - self._heard_at > self._timing.silent_after:
                raise Passing(f"the server was silent for {self._timing.silent_after:g} s")
            self._outgoing.remind(now, self._timing.remind_after)
            if self._ready.is_set():
                self._texts.pinged()
            await self._write(socket, {"action": "ping"})
            if self._ready.is_set() and self._medium == "text":
                for text in self._texts.overdue(now):
                    await self._write(socket, self._in_conversation(text))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._timing.report_every)
            if self._report_played:
                for turn_id, heard in self._playback.reports(time.monotonic()):
                    await self.played(turn_id, heard)

    async def _listen(self, source: AsyncIterable[bytes]) -> None:
        try:
            async for pcm in source:
                await self.send_audio(pcm)
            self.flush()
        except Exception as trouble:
            if not self._over.is_set():
                self._trouble = trouble
                self._events.put_nowait(None)

    def _tell(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _in_conversation(self, text: dict[str, Any]) -> dict[str, Any]:
        return text | _known({"conversation_id": self.conversation_id})

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message, if there is a connection: what must not be lost is sent again by the next one."""
        if (socket := self._socket) is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._write(socket, message)

    async def _write(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False)
        if len(text) <= FRAGMENT_CHARACTERS:
            await socket.send(text)
        else:
            await socket.send([text[at : at + FRAGMENT_CHARACTERS] for at in range(0, len(text), FRAGMENT_CHARACTERS)])


class _TicketRefused(Passing):
    """The WebSocket refused a ticket that has just been issued."""


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


async def _first(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run them side by side until one ends; the others are cancelled. Raises what that one raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
