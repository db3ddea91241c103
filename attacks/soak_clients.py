"""Clients that do as real ones do when something fails: they say it again under the same key, until it is answered."""

import asyncio
import contextlib
import json
import random
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
from parley_client import Answer, ParleyError, Problem, Session
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from sandbox.people import Connected, Person

PATIENCE = 240.0
"""Seconds after which a client gives up. A killed turn stays in progress for its function's whole time limit."""
SILENCE = 15.0
"""Seconds without a message after which a WebSocket client connects again."""
TURNS_A_CONVERSATION = 8

_AGAIN = frozenset({409, 429, 500, 502, 503, 504})
_TOPICS = ("a ticket", "a session", "a turn", "the gateway", "a document", "a flag", "an environment")


@dataclass(frozen=True)
class Turn:
    """What a client was told is done: it must stand in its conversation, once."""

    conversation_id: str
    question: str
    turn_id: str
    answer: str


@dataclass
class Ledger:
    """What was acknowledged, how long it took, and how often it had to be said again. Clients share it."""

    turns: list[Turn] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)
    """By id, the word that only this document has."""
    spoken: Counter[str] = field(default_factory=Counter)
    """By conversation, how many utterances were answered by voice."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    """What was given up, in words."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, kind: str, since: float) -> None:
        """Something was acknowledged."""
        with self.lock:
            self.seconds.setdefault(kind, []).append(time.monotonic() - since)

    def again(self, kind: str) -> None:
        """Something has to be said again."""
        with self.lock:
            self.retries[kind] += 1


class GivenUp(Exception):
    """A client's patience ended."""


def voice_session(person: Person, session_id: str | None = None) -> Session:
    """A voice session of the client library, for a person: a new one, or one to go on with."""
    token = str(person.http.headers["Authorization"]).removeprefix("Bearer ")
    url = str(person.http.base_url).rstrip("/")
    return Session(url, token=token, websocket_url=person.websocket_url, session_id=session_id, trust_env=False)


class Client(ABC):
    """One user, who does one thing after another until `end`."""

    kind = ""

    def __init__(self, person: Person, ledger: Ledger, seed: int) -> None:
        self.person = person
        self.ledger = ledger
        self.random = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self.end = 0.0

    def run(self, end: float) -> None:
        """Until the clock (`time.monotonic`) says so; what has begun is brought to its end."""
        self.end = end
        try:
            while time.monotonic() < end:
                self.once()
        except GivenUp as trouble:
            with self.ledger.lock:
                self.ledger.unanswered.append(f"{self.kind}: {trouble}")

    @abstractmethod
    def once(self) -> None:
        """One thing, acknowledged. Raises GivenUp."""

    def question(self) -> str:
        """A question that nobody else asks."""
        return f"What is {self.random.choice(_TOPICS)}? ({uuid.uuid4().hex})"

    def pause(self, attempt: int, wish: str | None = None) -> None:
        """Before the next attempt."""
        self.ledger.again(self.kind)
        wished = float(wish) if wish and wish.isdecimal() else 0.0
        time.sleep(max(wished, self.random.uniform(0.25, 0.5) * 2 ** min(attempt, 4)))

    def patiently(self, send: Callable[[], httpx.Response], *, done: frozenset[int] = frozenset()) -> httpx.Response:
        """Send a request until it has an answer that stands. Raises GivenUp."""
        start, attempt, why = time.monotonic(), 0, ""
        while time.monotonic() < start + PATIENCE:
            wish = None
            try:
                answer = send()
            except httpx.TransportError as error:
                why = repr(error)
            else:
                if answer.is_success or answer.status_code in done:
                    return answer
                why, wish = f"{answer.status_code} {answer.text[:200]}", answer.headers.get("Retry-After")
                if answer.status_code not in _AGAIN:
                    raise GivenUp(why)
            self.pause(attempt, wish)
            attempt += 1
        raise GivenUp(f"{why}, after {attempt} attempts")


class Talker(Client):
    """A client of conversations, a few turns each."""

    conversation: str | None = None
    turns = 0

    def once(self) -> None:
        """One turn."""
        if self.turns == TURNS_A_CONVERSATION:
            self.conversation, self.turns = None, 0
        question, since = self.question(), time.monotonic()
        turn = self.ask(question)
        self.ledger.took(self.kind, since)
        with self.ledger.lock:
            self.ledger.turns.append(turn)
        self.conversation, self.turns = turn.conversation_id, self.turns + 1

    @abstractmethod
    def ask(self, question: str) -> Turn:
        """The answered turn. Raises GivenUp."""


class HttpTalker(Talker):
    """Asks by `POST /chat` with an idempotency key."""

    kind = "text over HTTP"

    def ask(self, question: str) -> Turn:
        """See Talker."""
        key = uuid.uuid4().hex
        body = {"conversation_id": self.conversation} if self.conversation else {}
        answer = self.patiently(lambda: self.person.chat(question, key=key, **body)).json()
        return Turn(answer["conversation_id"], question, answer["turn_id"], answer["message"])


class SocketTalker(Talker):
    """Asks over the WebSocket with a request id."""

    kind = "text over WebSocket"

    def __init__(self, person: Person, ledger: Ledger, seed: int) -> None:
        super().__init__(person, ledger, seed)
        self._stack = ExitStack()
        self._connected: Connected | None = None

    def run(self, end: float) -> None:
        """See Client."""
        with self._stack:
            super().run(end)

    def ask(self, question: str) -> Turn:
        """See Talker."""
        request = {"message": question, "request_id": uuid.uuid4().hex, "conversation_id": self.conversation}
        start, attempt, why = time.monotonic(), 0, ""
        while time.monotonic() < start + PATIENCE:
            try:
                answer = self._attempt(request)
            except (ConnectionClosed, InvalidHandshake, httpx.HTTPError, OSError) as error:
                why = repr(error)
                self._connected = None
                self._stack.close()
            else:
                if answer.get("type") == "message.done":
                    return Turn(answer["conversation_id"], question, answer["turn_id"], answer["message"])
                why = json.dumps(answer)
                if answer.get("type") == "error" and not (answer["retryable"] or answer["code"] == "conflict"):
                    raise GivenUp(why)
            self.pause(attempt)
            attempt += 1
        raise GivenUp(f"{why}, after {attempt} attempts")

    def _attempt(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to this request or the error that came for it, API Gateway's among them."""
        if self._connected is None:
            self._connected = self._stack.enter_context(self.person.connected())
        self._connected.send("text", **request)
        while True:
            message: dict[str, Any] = json.loads(self._connected.socket.recv(timeout=SILENCE))
            mine = message.get("request_id") == request["request_id"]
            if "type" not in message or (mine and message["type"] in {"message.done", "error"}):
                return message


class Librarian(Client):
    """Adds documents, under ids of its own choice so that it can say so again."""

    kind = "documents"

    def once(self) -> None:
        """One document."""
        word, document_id, since = uuid.uuid4().hex, uuid.uuid4().hex, time.monotonic()
        body = {"name": f"{word}.md", "text": f"# Shelf\n\nThe book {word} is blue.\n", "document_id": document_id}
        # A conflict says that it was added by an attempt whose answer was lost.
        self.patiently(lambda: self.person.http.post("/knowledge/documents", json=body), done=frozenset({409}))
        self.ledger.took(self.kind, since)
        with self.ledger.lock:
            self.ledger.documents[document_id] = word
        time.sleep(self.random.uniform(0.1, 0.5))


class Caller(Client):
    """Types into voice sessions, which answer by voice; the client library connects again by itself."""

    kind = "typed calls"

    def once(self) -> None:
        """One session of a few utterances."""
        asyncio.run(self._call(self.end))

    async def _call(self, end: float) -> None:
        session_id: str | None = None
        asked: tuple[str, str, float] | None = None
        left = TURNS_A_CONVERSATION
        patience_ends = time.monotonic() + PATIENCE
        while left and (asked is not None or time.monotonic() < end):
            try:
                async with voice_session(self.person, session_id) as session:
                    session_id = session.session_id
                    while left and (asked is not None or time.monotonic() < end):
                        asked = asked or (self.question(), uuid.uuid4().hex, time.monotonic())
                        await self._utterance(session, *asked)
                        asked, left, patience_ends = None, left - 1, time.monotonic() + PATIENCE
            except ParleyError as error:
                self.ledger.again(self.kind)
                if time.monotonic() > patience_ends:
                    raise GivenUp(str(error)) from error
                await asyncio.sleep(1)

    async def _utterance(self, session: Session, question: str, request_id: str, since: float) -> None:
        """Ask, and ask again where nothing comes: a worker may end between storing an answer and telling it."""
        while time.monotonic() < since + PATIENCE:
            await session.send_text(question, request_id=request_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE):
                    answer = await self._answer(session, request_id)
                self.ledger.took(self.kind, since)
                turn = Turn(answer.conversation_id, question, answer.turn_id, answer.text)
                with self.ledger.lock:
                    self.ledger.turns.append(turn)
                return
            self.ledger.again(self.kind)
        raise GivenUp(f"no answer to {question!r} within {PATIENCE:g} s")

    async def _answer(self, session: Session, request_id: str) -> Answer:
        async for event in session:
            match event:
                case Answer() if event.request_id == request_id:
                    return event
                case Problem(request_id=request) if request == request_id and not event.retryable:
                    raise GivenUp(f"{event.code}: {event.message}")
        raise ParleyError("ended", "The session ended before it answered.")
