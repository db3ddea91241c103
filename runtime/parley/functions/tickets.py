"""POST /tickets: a ticket for one WebSocket connection, so that no token stands in a URL."""

import secrets
from datetime import UTC, datetime
from functools import cache
from urllib.parse import urlsplit

import msgspec

from parley.aws import clients
from parley.aws.credentials import CredentialTable
from parley.aws.sessions import SessionTable
from parley.conversation.turns import timestamp
from parley.errors import NotFound
from parley.functions.admission import public_host
from parley.functions.http import HttpApi, Request
from parley.settings import Settings

api = HttpApi()


class TicketSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    credentials_table: str
    sessions_table: str
    websocket_url: str
    retention_days: int


class TicketRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session to go on with; without one a new session begins."""

    session_id: str | None = None


class TicketResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Connect to `websocket_url?ticket=<ticket>` before `expires_at` (ISO 8601, UTC); a ticket opens one connection."""

    ticket: str
    session_id: str
    expires_at: str
    websocket_url: str


class Tickets:
    """Issues tickets for the caller's own sessions."""

    def __init__(self, settings: TicketSettings) -> None:
        self._credentials = CredentialTable(settings.credentials_table, clients.dynamodb())
        self._sessions = SessionTable(
            settings.sessions_table, clients.dynamodb(), retention_days=settings.retention_days
        )
        self._websocket_url = settings.websocket_url

    def issue(
        self, subject: str, groups: frozenset[str], session_id: str | None, *, host: str | None = None
    ) -> TicketResponse:
        """A ticket, for a connection through `host` (CloudFront's public name) or to the API itself.

        Raises NotFound for a session that is not the caller's, and StoreUnavailable.
        """
        if session_id is None:
            session_id = secrets.token_hex(16)
            self._sessions.create(session_id, subject)
        elif not session_id or not self._sessions.is_owned_by(session_id, subject):
            raise NotFound("You have no session of this id.")
        issued = self._credentials.issue_ticket(subject, session_id, groups)
        return TicketResponse(
            ticket=issued.ticket,
            session_id=session_id,
            expires_at=timestamp(datetime.fromtimestamp(issued.expires_at, UTC)),
            websocket_url=self._websocket_url if host is None else f"wss://{host}{urlsplit(self._websocket_url).path}",
        )


@cache
def tickets() -> Tickets:
    """This process's issuer."""
    return Tickets(TicketSettings.load())


@api.route(
    "POST",
    "/tickets",
    summary="Get a ticket for one WebSocket connection",
    request=TicketRequest,
    optional_body=True,
    response=TicketResponse,
    status=201,
    errors=("not_found", "store_unavailable"),
)
def issue_ticket(request: Request[TicketRequest]) -> TicketResponse:
    """Issue a ticket bound to the caller and one session."""
    caller = request.caller
    host = public_host(request.headers)
    return tickets().issue(caller.subject, caller.groups, request.body.session_id, host=host)


handler = api.handler()
