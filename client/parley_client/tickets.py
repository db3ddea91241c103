"""Tickets: what the HTTP API gives for a token, and what opens one WebSocket connection."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from parley_client.errors import Refused

type Token = str | Callable[[str | None], str | Awaitable[str]]
"""A bearer token or an API key; or what gives one, called with the token that has just been refused (None at first)."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WISH = 120.0
"""Seconds that an answer's `Retry-After` may ask for."""


class Passing(Exception):
    """Trouble that may be over at the next attempt, `after` so many seconds at least."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        self.reason = reason
        self.after = after
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Opens one connection."""

    ticket: str
    session_id: str
    websocket_url: str

    @property
    def url(self) -> str:
        """Where to connect."""
        return str(httpx.URL(self.websocket_url, params={"ticket": self.ticket}))


class Tickets:
    """Asks the HTTP API at `api_url` for tickets, which open connections at `websocket_url` or where they say."""

    def __init__(
        self, api_url: str, token: Token, http: httpx.AsyncClient, *, websocket_url: str | None = None
    ) -> None:
        self.url = f"{api_url.rstrip('/')}/tickets"
        self._source = token
        self._http = http
        self._websocket_url = websocket_url

    async def issue(self, session_id: str | None) -> Ticket:
        """A ticket for a session, or for a new one. Raises Refused, and Passing when it is worth another attempt."""
        token = await self._token(None)
        response = await self._ask(token, session_id)
        if response.status_code == 401 and not isinstance(self._source, str):
            token = await self._token(token)
            response = await self._ask(token, session_id)
        if response.status_code in _PASSING:
            wish = response.headers.get("Retry-After", "")
            after = min(float(wish), LONGEST_WISH) if wish.isdecimal() else 0.0
            raise Passing(f"the API answers {response.status_code} {response.reason_phrase}", after=after)
        body = _body(response)
        try:
            if response.is_success:
                return Ticket(body["ticket"], body["session_id"], self._websocket_url or body["websocket_url"])
        except KeyError:
            raise Refused("no_ticket", f"{self.url} gives no tickets: is it the API's address?") from None
        raise _refusal(response.status_code, body)

    async def _token(self, refused: str | None) -> str:
        if isinstance(self._source, str):
            return self._source
        token = self._source(refused)
        return await token if inspect.isawaitable(token) else token

    async def _ask(self, token: str, session_id: str | None) -> httpx.Response:
        body = {"session_id": session_id} if session_id else {}
        try:
            return await self._http.post(self.url, json=body, headers={"Authorization": f"Bearer {token}"})
        except httpx.TransportError as error:
            raise Passing(str(error) or type(error).__name__) from error


def _body(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _refusal(status: int, body: Mapping[str, Any]) -> Refused:
    match body:
        case {"error": {"code": str(code), "message": str(message)}}:
            return Refused(code, message)
    if status in (401, 403):
        return Refused("unauthorized", "The API takes neither this token nor this key.")
    return Refused("refused", f"The API refused to give a ticket ({status}).")
