"""Who is calling, as the authorizers verified it. Nothing here trusts a body, a path or a header."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from parley.errors import Unauthorized

CURATORS = "curators"


class Caller(msgspec.Struct, frozen=True):
    """A verified caller. `subject` keys every read and write."""

    subject: str
    groups: frozenset[str] = frozenset()

    @property
    def is_curator(self) -> bool:
        """May this caller write documents that everyone reads?"""
        return CURATORS in self.groups


class Connected(msgspec.Struct, frozen=True):
    """The verified end of one WebSocket connection, bound to one session by its ticket."""

    caller: Caller
    session_id: str
    connection_id: str
    address: str = ""
    """The client's IP address."""


def http_caller(event: Mapping[str, Any]) -> Caller:
    """The caller of an HTTP API event: the JWT authorizer's claims, or the API key authorizer's context.

    Raises Unauthorized when neither names a subject.
    """
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    context = authorizer.get("lambda") or {}
    subject = claims.get("sub") or context.get("subject")
    if not is_subject(subject):
        raise Unauthorized
    return Caller(subject, parse_groups(claims.get("cognito:groups") or context.get("groups")))


def websocket_caller(event: Mapping[str, Any]) -> Connected:
    """The caller of a WebSocket event. Raises Unauthorized when the ticket's context is missing."""
    request = event.get("requestContext", {})
    authorizer = request.get("authorizer") or {}
    subject, session_id = authorizer.get("subject"), authorizer.get("session_id")
    if not is_subject(subject) or not session_id:
        raise Unauthorized
    address = authorizer.get("address") or request.get("identity", {}).get("sourceIp", "")
    return Connected(
        Caller(subject, parse_groups(authorizer.get("groups"))), session_id, request["connectionId"], address
    )


def is_subject(subject: object) -> TypeGuard[str]:
    """May `subject` be part of a key? `#` separates the parts of keys, so no subject holds one."""
    return isinstance(subject, str) and bool(subject) and "#" not in subject


def parse_groups(value: object) -> frozenset[str]:
    """Group names from a claim. API Gateway writes a list claim as `[curators editors]`; contexts hold `a b`."""
    if isinstance(value, str):
        return frozenset(value.strip("[]").replace(",", " ").split())
    if isinstance(value, list | tuple):
        return frozenset(str(group) for group in value)
    return frozenset()
