"""The WebSocket routes: $connect, $disconnect, session.start, text, played, session.end, ping and $default.

API Gateway does not give a route's result to the client: answers and errors go over the connection. A route never
raises for what a client sent.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from parley import correlation
from parley.aws import clients
from parley.aws.connection_posts import Connection
from parley.aws.invocations import BackgroundFunction, RetrievalFunction
from parley.aws.session_routes import SessionRoutes
from parley.aws.sessions import ConnectionTable
from parley.errors import BadRequest, NotFound, ParleyError, SessionNotStarted, ValidationFailed
from parley.functions import admission
from parley.functions.answering import check_message
from parley.functions.http import decode_json
from parley.functions.identity import Connected, websocket_caller
from parley.functions.messages import FromClient, Outbox, Ping, Played, SessionEnd, SessionStart, Text, TurnOrder
from parley.functions.service_levels import failed, served
from parley.functions.telemetry import correlate, instrument, logger
from parley.functions.voice_routes import VoiceRoutes
from parley.server_messages import ErrorMessage, Pong, SessionEnded, SessionReady
from parley.settings import Settings

DONE: Mapping[str, int] = {"statusCode": 200}

INVOKE_SECONDS = 3
"""How long starting a turn may take: Lambda queues the invocation and answers at once."""


class WebSocketSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    sessions_table: str
    connections_table: str
    turn_function: str
    websocket_callback_url: str
    retention_days: int
    retrieval_function: str | None = None
    """Is told when a session starts; without documents there is none."""
    voice_worker_function: str | None = None
    """Without it there are no voice sessions."""
    voice_engines: list[str] = msgspec.field(default_factory=lambda: ["nova-sonic"])
    """The first one serves calls that name none."""
    languages: list[str] = msgspec.field(default_factory=list)
    """Those that the engine is to speak, the first one unless a client asks for another."""


@cache
def settings() -> WebSocketSettings:
    """This process's settings."""
    return WebSocketSettings.load()


@cache
def connections() -> ConnectionTable:
    """The open connections."""
    return ConnectionTable(settings().connections_table, clients.dynamodb())


@cache
def turns() -> BackgroundFunction:
    """The function that answers."""
    return BackgroundFunction(settings().turn_function, clients.lambda_(INVOKE_SECONDS))


@cache
def voice() -> VoiceRoutes | None:
    """The voice sessions; None in an environment without voice."""
    own = settings()
    if own.voice_worker_function is None:
        return None
    return VoiceRoutes(
        SessionRoutes(own.sessions_table, clients.dynamodb()),
        BackgroundFunction(own.voice_worker_function, clients.lambda_(INVOKE_SECONDS)),
        engines=own.voice_engines,
        languages=own.languages,
        connect=_connection,
    )


def _connection(connection_id: str) -> Connection:
    return Connection(connection_id, clients.connections_api(settings().websocket_callback_url))


def route(event: Mapping[str, Any], context: Any) -> Mapping[str, int]:
    """One event of a connection."""
    kind = event["requestContext"].get("eventType", "MESSAGE")
    connection_id = event["requestContext"]["connectionId"]
    if kind == "DISCONNECT":
        return _disconnect(connection_id)
    try:
        caller = websocket_caller(event)
    except ParleyError:
        return {"statusCode": 401}
    if kind == "CONNECT":
        return _connect(caller)
    outbox = Outbox(_connection(connection_id))
    body = event.get("body") or ""
    if chosen := correlation.chosen_by_client(_request_id(body)):
        correlate(chosen)
    asked_at = event["requestContext"].get("requestTimeEpoch")
    try:
        _answer(caller, body, outbox, asked_at)
    except ParleyError as error:
        logger.info("Refused", error_code=error.code)
        failed(error.code)
        outbox.send(ErrorMessage.of(error, _request_id(body)))
    except Exception:
        logger.exception("Unexpected error")
        failed()
        outbox.send(ErrorMessage.of(ParleyError(), _request_id(body)))
    return DONE


def _connect(caller: Connected) -> Mapping[str, int]:
    try:
        connections().record(
            caller.connection_id,
            subject=caller.caller.subject,
            session_id=caller.session_id,
            groups=caller.caller.groups,
        )
    except ParleyError as error:
        logger.warning("A connection could not be recorded", error_code=error.code)
        return {"statusCode": 503}
    return DONE


def _disconnect(connection_id: str) -> Mapping[str, int]:
    try:
        connections().forget(connection_id)
    except ParleyError as error:
        # The record expires by itself.
        logger.warning("A connection could not be forgotten", error_code=error.code)
    return DONE


def _answer(caller: Connected, body: str, outbox: Outbox, asked_at: int | None) -> None:
    sessions = voice()
    match _decode(body):
        case SessionStart() as start:
            _start(caller, start, outbox)
        case Text() as text:
            check_message(text.message)
            admission.admit(caller.caller.subject, caller.address)
            if sessions is None or not sessions.say(caller, text):
                _start_turn(caller, text, asked_at)
        case Played() as played:
            if sessions is None:
                raise SessionNotStarted
            sessions.played(caller, played)
        case Ping():
            outbox.send(Pong())
            if sessions is not None:
                sessions.revive(caller)
        case SessionEnd():
            # A voice session is ended by its worker, once what was said is stored.
            if sessions is None or not sessions.end(caller):
                outbox.send(SessionEnded())


def _start(caller: Connected, start: SessionStart, outbox: Outbox) -> None:
    if start.session_id not in {None, caller.session_id}:
        raise NotFound("This connection belongs to another session.")
    admission.admit(caller.caller.subject, caller.address)
    sessions = voice()
    if start.medium == "text":
        outbox.send(SessionReady(session_id=caller.session_id))
        _warm_up_retrieval()
    elif sessions is None:
        raise ValidationFailed('`medium` can only be "text" here: this environment has no voice.')
    else:
        if (allowances := admission.allowances()) is not None:
            allowances.check_voice(caller.caller.subject)
        _warm_up_retrieval()
        sessions.start(caller, start)
        served()


def _start_turn(caller: Connected, text: Text, asked_at: int | None) -> None:
    order = TurnOrder(
        connection_id=caller.connection_id,
        subject=caller.caller.subject,
        message=text.message,
        conversation_id=text.conversation_id,
        request_id=text.request_id,
        model_role=text.model_role,
        correlation_id=correlation.current(),
        asked_at=asked_at,
    )
    turns().start(msgspec.json.encode(order))


def _warm_up_retrieval() -> None:
    """A store that sleeps or must be loaded does so while the user still thinks about the first question."""
    name = settings().retrieval_function
    if name is not None and not RetrievalFunction(name, clients.lambda_).warm_up(timeout_seconds=INVOKE_SECONDS):
        logger.warning("Retrieval could not be warmed up")


def _decode(body: str) -> FromClient:
    action = _field(body, "action")
    if action is not None and action not in ACTIONS:
        raise BadRequest("There is no such action; the document of this interface lists them.")
    message: FromClient = decode_json(body, FromClient.__value__)
    return message


def _request_id(body: str) -> str | None:
    request_id = _field(body, "request_id")
    return request_id if request_id is None or len(request_id) <= 128 else None


def _field(body: str, name: str) -> str | None:
    """A text field of a message that may be anything."""
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    value = message.get(name) if isinstance(message, dict) else None
    return value if isinstance(value, str) else None


ACTIONS = frozenset(kind.__struct_config__.tag for kind in (SessionStart, Text, Played, Ping, SessionEnd))

handler = instrument(route)
