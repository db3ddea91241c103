"""Voice sessions as the WebSocket routes handle them: started, found dead and started again, spoken to, ended.

Audio itself passes no function: API Gateway writes it into the audio-frames table.
"""

import secrets
import time
from collections.abc import Callable, Sequence

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from parley.aws.connection_posts import Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.invocations import BackgroundFunction
from parley.aws.session_routes import SessionRoutes, Standing, VoiceRequest
from parley.correlation import current
from parley.errors import (
    Conflict,
    LanguageUnsupported,
    PayloadTooLarge,
    SessionNotStarted,
    SessionUnavailable,
    Throttled,
    ValidationFailed,
)
from parley.functions.identity import Connected
from parley.functions.messages import Played, SessionStart, Text, WorkerOrder
from parley.functions.telemetry import logger, metrics
from parley.server_messages import SessionEnded
from parley.speech.lease import InboxMessage
from parley.speech.lease import Played as PlayedReport
from parley.speech.voices import ENGINES

START_SECONDS = 5.0
"""How long a session may take to become ready before its client is told to try again."""

POLL_SECONDS = 0.1

TAKE_ATTEMPTS = 3
"""Messages are handled side by side: a client that starts its session twice at once may find it changed."""

TEXT_LENGTH = 4_000
"""Characters of a message typed into a voice session, which waits on the session's item."""


class VoiceRoutes:
    """What connections ask of their voice sessions. Methods raise the errors that the client is told.

    `engines` and `languages` are the deployment's, the first ones unless a client asks for others; `connect` gives
    another connection by its id.
    """

    def __init__(
        self,
        sessions: SessionRoutes,
        worker: BackgroundFunction,
        *,
        engines: Sequence[str],
        languages: Sequence[str],
        connect: Callable[[str], Connection],
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._worker = worker
        self._engines = engines
        self._languages = languages
        self._connect = connect
        self._pause = pause
        self._now = now

    def start(self, caller: Connected, start: SessionStart) -> None:
        """Begin or go on with a voice session on this connection; returns when a worker has taken it up.

        The worker sends `session.ready`. Raises SessionUnavailable after START_SECONDS.
        """
        before, number = self._take(caller, start)
        if self._sessions.claim_start(caller.session_id, even_if_asked=True):
            self._start_worker(caller.session_id)
        if before.connection_id not in {None, caller.connection_id}:
            self._replace(self._connect(before.connection_id or ""))
        self._wait(caller, number)

    def revive(self, caller: Connected) -> None:
        """Start a worker for this connection's voice session when it has none that lives."""
        if self._own(caller) is not None and self._sessions.claim_start(caller.session_id):
            logger.warning("A session's worker has died; another is started", session_id=caller.session_id)
            metrics.add_metric(name="WorkerCrashes", unit=MetricUnit.Count, value=1)
            self._start_worker(caller.session_id)

    def played(self, caller: Connected, played: Played) -> None:
        """Note what the user has heard. Raises SessionNotStarted."""
        report = PlayedReport(turn_id=played.turn_id, ms=played.ms)
        if not self._sessions.report_played(caller.session_id, caller.connection_id, report):
            raise SessionNotStarted

    def say(self, caller: Connected, text: Text) -> bool:
        """Hand a typed message to this connection's voice session. False when it has none: a text turn answers.

        Raises PayloadTooLarge, and Throttled while too many messages wait.
        """
        session = self._own(caller)
        if session is None or text.conversation_id not in {None, session.conversation_id}:
            return False
        if len(text.message) > TEXT_LENGTH:
            raise PayloadTooLarge(
                f"`message` has at most {TEXT_LENGTH} characters in a voice session; this one has {len(text.message)}."
            )
        # Under the client's own id a worker knows a message that is sent again.
        message_id = text.request_id or secrets.token_hex(14)
        self._leave(caller, InboxMessage(message_id, "text", text.message, text.request_id))
        return True

    def end(self, caller: Connected) -> bool:
        """Ask the worker to end this connection's voice session. False when it has none."""
        if self._own(caller) is None:
            return False
        self._leave(caller, InboxMessage(secrets.token_hex(14), "end"))
        return True

    def _take(self, caller: Connected, start: SessionStart) -> tuple[Standing, int]:
        """The session as it was before it became this connection's, and the connection's number."""
        for _ in range(TAKE_ATTEMPTS):
            before = self._sessions.find(caller.session_id, caller.caller.subject)
            request = self._request(before, start)
            number = self._sessions.start_voice(caller.session_id, before, caller.connection_id, request)
            if number is not None:
                return before, number
        raise Conflict("Other connections start this session at this moment; try again.")

    def _request(self, before: Standing, start: SessionStart) -> VoiceRequest:
        fixed = before if before.is_voice else None
        request = VoiceRequest(
            engine=start.engine or (fixed and fixed.engine) or self._engines[0],
            language=start.language or (fixed and fixed.language) or self._languages[0],
            voice=start.voice,
            conversation_id=start.conversation_id,
            last_seq=start.last_seq,
        )
        if request.engine not in self._engines and fixed is None:
            raise ValidationFailed(f"`engine` can only be {' or '.join(self._engines)} here.")
        if request.language not in self._languages and fixed is None:
            raise LanguageUnsupported(f"The languages spoken here are {', '.join(self._languages)}.")
        if request.voice is not None and fixed is None:
            ENGINES[request.engine].voice(request.language, request.voice)
        for name in ("engine", "language", "voice", "conversation_id"):
            given = getattr(start, name)
            if fixed is not None and given not in {None, getattr(fixed, name)}:
                raise ValidationFailed(f"`{name}` cannot change before the session has ended.")
        return request

    def _own(self, caller: Connected) -> Standing | None:
        session = self._sessions.find(caller.session_id, caller.caller.subject)
        return session if session.is_voice and session.connection_id == caller.connection_id else None

    def _leave(self, caller: Connected, message: InboxMessage) -> None:
        if not self._sessions.add_to_inbox(caller.session_id, caller.connection_id, message):
            raise Throttled("The session has not dealt with the messages before this one; try again in a moment.")
        if self._sessions.claim_start(caller.session_id):
            self._start_worker(caller.session_id)

    def _start_worker(self, session_id: str) -> None:
        self._worker.start(msgspec.json.encode(WorkerOrder(session_id=session_id, correlation_id=current())))

    def _wait(self, caller: Connected, number: int) -> None:
        end = self._now() + START_SECONDS
        while self._now() < end:
            session = self._sessions.find(caller.session_id, caller.caller.subject)
            if session.connection_number > number:
                raise SessionNotStarted("Another connection has taken this session over.")
            if self._sessions.is_live(session, number):
                return
            self._pause(POLL_SECONDS)
        raise SessionUnavailable

    @staticmethod
    def _replace(older: Connection) -> None:
        """Two clients on one session would number their frames alike: the older one goes."""
        try:
            older.post(msgspec.json.encode(SessionEnded(reason="replaced")))
            older.close()
        except (ConnectionGone, ConnectionUnreachable):
            logger.info("The session's former connection has gone")
