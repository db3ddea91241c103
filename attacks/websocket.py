"""hypothesis against the WebSocket API: batch after batch, and after each of them the connection must still answer."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import hypothesis
import jsonschema_rs
from hypothesis import HealthCheck, Phase, given, settings
from websockets.exceptions import ConnectionClosed

from attacks.messages import Arsenal, Frame
from attacks.report import Report
from attacks.victim import Targets, Victim, make_victim, still_whole
from sandbox.people import Connected, Person, Sandbox
from sandbox.state import PROJECT

DOCUMENT = PROJECT / "docs" / "asyncapi.json"
ANSWER_SECONDS = 30
"""Without a pong for so long, a connection hangs."""

LOOK_SECONDS = 240.0
"""How often it is looked at what another user hears."""

BATCH = 10
"""Messages of a batch on average, floods not counted."""
BATCHES_A_CONNECTION = 20
VOICE_IN = 20
"""One batch of so many begins a call, whose worker takes a second to start."""

CLOSES = frozenset({1000, 1001, 1003, 1009})
"""The codes that the document and the service have: ended, going away, a binary frame, too large."""

FAULTS = frozenset({"internal", "store_unavailable", "knowledge_unavailable", "model_unavailable", "deadline_exceeded"})
"""Errors that nothing a client sends may cause."""

GATEWAY_FIELDS = {"message", "connectionId", "requestId"}
GATEWAY_MESSAGES = frozenset({"Forbidden", "Too Many Requests"})

_ENOUGH_FAILURES = 5


class Wrong(Exception):
    """The server did what it must not."""


class Judge:
    """Knows what the server may say."""

    def __init__(self, document: dict[str, Any], victim: Targets) -> None:
        self._marker = victim.marker
        self._kinds: dict[str, jsonschema_rs.Validator] = {}
        messages = document["components"]["messages"]
        for reference in document["operations"]["receive"]["messages"]:
            name = reference["$ref"].rsplit("/", 1)[1]
            schema = {**messages[name]["payload"], "components": document["components"]}
            self._kinds[messages[name]["name"]] = jsonschema_rs.validator_for(schema)

    def look_at(self, text: str | bytes) -> tuple[str, dict[str, Any]]:
        """What a message is, for counting, and the message. Raises Wrong."""
        if isinstance(text, bytes):
            raise Wrong("The server sent a binary frame.")
        if self._marker in text:
            raise Wrong(f"The server sent what is another user's: {text[:500]}")
        message = json.loads(text)
        if "type" not in message:
            if set(message) != GATEWAY_FIELDS or message["message"] not in GATEWAY_MESSAGES:
                raise Wrong(f"API Gateway says {text[:500]}")
            return f"gateway: {message['message']}", message
        kind = str(message["type"])
        if kind not in self._kinds:
            raise Wrong(f"The document has no message of the type {kind!r}.")
        for error in self._kinds[kind].iter_errors(message):
            raise Wrong(f"A {kind} is not as the document says ({error.message}): {text[:500]}")
        if kind == "error":
            if message["code"] in FAULTS:
                raise Wrong(f"The server is at fault: {text[:500]}")
            kind = f"error: {message['code']}"
        elif kind == "session.ended":
            kind = f"session.ended: {message.get('reason', 'ended')}"
        return kind, message


class Attacker:
    """One user with one connection after another."""

    def __init__(self, person: Person, judge: Judge, report: Report) -> None:
        self._person = person
        self._judge = judge
        self._report = report
        self._stack = ExitStack()
        self._connected: Connected | None = None
        self._batches = 0

    def play(self, batch: list[Frame]) -> None:
        """Send it, and ask whether the connection lives. Raises Wrong."""
        if self._connected is None or self._batches == BATCHES_A_CONNECTION:
            self.leave()
            self._connected = self._stack.enter_context(self._person.connected())
            self._batches = 0
        self._batches += 1
        must_close = {frame.closes_with for frame in batch if frame.closes_with is not None}
        try:
            self._send(self._connected, batch)
            self._connected.send("ping")
            self._until_pong(self._connected)
            if must_close:
                self._until_closed(self._connected)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            self._report.answers[f"closed with {code}"] += 1
            self.leave()
            if code not in (must_close | {1000} if must_close else CLOSES):
                raise Wrong(f"The connection was closed with {code}.") from closed

    def leave(self) -> None:
        """Close the connection."""
        self._connected = None
        self._stack.close()

    def _send(self, connected: Connected, batch: list[Frame]) -> None:
        for frame in batch:
            for _ in range(frame.times):
                self._report.sent[frame.kind] += 1
                connected.socket.send(frame.fragments[0] if len(frame.fragments) == 1 else iter(frame.fragments))

    def _until_pong(self, connected: Connected) -> None:
        while self._next(connected) != "pong":
            pass

    def _until_closed(self, connected: Connected) -> None:
        while True:
            self._next(connected)

    def _next(self, connected: Connected) -> str:
        try:
            text = connected.socket.recv(timeout=ANSWER_SECONDS)
        except TimeoutError:
            raise Wrong(f"The connection neither answered nor closed within {ANSWER_SECONDS} s.") from None
        kind, message = self._judge.look_at(text)
        self._report.answers[kind] += 1
        return str(message.get("type"))


def fuzz_websocket(sandbox: Sandbox, *, cases: int, seed: int, calls: bool = True) -> Report:
    """About so many messages; with `calls` some of them in voice sessions."""
    document = json.loads(DOCUMENT.read_text())
    victim, report = make_victim(sandbox), Report()
    judge = Judge(document, victim.targets)
    attacker = Attacker(sandbox.new_user(), judge, report)
    batches = Arsenal(document, victim.targets).batches(voice_in=VOICE_IN if calls else None)

    @hypothesis.seed(seed)
    @settings(
        max_examples=max(1, round(cases / BATCH)),
        deadline=None,
        database=None,
        # What the server remembers of one batch is part of the next: a smaller one may prove nothing.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(batches)
    def attack(batch: list[Frame]) -> None:
        if len(report.failures) >= _ENOUGH_FAILURES:
            return
        listener.look_now_and_then()
        try:
            attacker.play(batch)
        except Wrong as wrong:
            report.failures.append(f"{wrong}\nAfter this batch: {_shown(batch)}")
            attacker.leave()

    with _listening(victim, report) as listener:
        attack()
        attacker.leave()
    if trouble := still_whole(victim):
        report.failures.append(trouble)
    return report


class _Listener:
    """The victim's connection, which must not hear of anything."""

    def __init__(self, connected: Connected, report: Report) -> None:
        self._connected = connected
        self._report = report
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Is a pong all that comes?"""
        self._looked_at = time.monotonic()
        self._connected.send("ping")
        heard = json.loads(self._connected.socket.recv(timeout=ANSWER_SECONDS))
        if heard != {"type": "pong"}:
            self._report.failures.append(f"The victim's connection got {heard}.")

    def look_now_and_then(self) -> None:
        """Look when it is time: API Gateway closes a connection over which nothing came for ten minutes."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self.look()


@contextmanager
def _listening(victim: Victim, report: Report) -> Iterator[_Listener]:
    """The victim is connected all the while."""
    with victim.person.connected(victim.person.ticket(session_id=victim.targets.sessions[0])["ticket"]) as connected:
        listener = _Listener(connected, report)
        yield listener
        listener.look()


def _shown(batch: list[Frame]) -> str:
    return "\n".join(f"  {frame.times} x {b''.join(map(_bytes, frame.fragments))[:300]!r}" for frame in batch)


def _bytes(fragment: str | bytes) -> bytes:
    return fragment if isinstance(fragment, bytes) else fragment.encode()
