"""Tickets and API keys. Only hashes are stored: a copy of the table opens nothing."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from parley.aws.failures import store_errors
from parley.aws.items import from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

TICKET_SECONDS = 60
"""A ticket is for the connection that is opened next."""

KEY_PREFIX = "parley"

_NO_SECRET = "0" * 64


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket as its user gets it, and when it expires (epoch seconds)."""

    ticket: str
    expires_at: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential stands for; a ticket's grant also names the session."""

    subject: str
    groups: str
    """Group names, separated by spaces: the form in which an authorizer's context holds them."""
    session_id: str = ""


class CredentialTable:
    """Issues and redeems tickets, and checks API keys, over one table."""

    def __init__(self, table: str, client: "DynamoDBClient", *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def issue_ticket(self, subject: str, session_id: str, groups: frozenset[str]) -> Ticket:
        """A new ticket for one connection of `subject` to one session. Raises StoreUnavailable."""
        ticket = secrets.token_urlsafe(32)
        expires_at = int(self._clock()) + TICKET_SECONDS
        item = {
            "credential_id": _ticket_id(ticket),
            "subject": subject,
            "session_id": session_id,
            "groups": " ".join(sorted(groups)),
            "expires_at": expires_at,
        }
        with store_errors():
            self._client.put_item(TableName=self._table, Item=to_item(item))
        return Ticket(ticket=ticket, expires_at=expires_at)

    def redeem_ticket(self, ticket: str) -> Grant | None:
        """What the ticket grants: once, and None when it is unknown, used or expired. Raises StoreUnavailable."""
        with store_errors():
            # Reading and removing are one operation, so of two connections with one ticket only one gets it.
            removed = self._client.delete_item(
                TableName=self._table, Key=to_item({"credential_id": _ticket_id(ticket)}), ReturnValues="ALL_OLD"
            ).get("Attributes")
        if not removed:
            return None
        item = from_item(removed)
        if item["expires_at"] <= self._clock():
            return None
        return Grant(subject=item["subject"], session_id=item["session_id"], groups=item.get("groups", ""))

    def check_api_key(self, api_key: str) -> Grant | None:
        """Whom `parley_<key_id>_<secret>` names; None when it is unknown or revoked. Raises StoreUnavailable."""
        prefix, _, rest = api_key.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != KEY_PREFIX or not key_id or not secret:
            return None
        with store_errors():
            found = self._client.get_item(
                TableName=self._table, Key=to_item({"credential_id": f"api-key#{key_id}"}), ConsistentRead=True
            ).get("Item")
        item = from_item(found) if found else {}
        # Compared for an unknown key too, so that time does not tell which keys exist.
        matches = hmac.compare_digest(
            hashlib.sha256(secret.encode()).hexdigest(), item.get("secret_sha256", _NO_SECRET)
        )
        if not matches or item.get("revoked_at") is not None:
            return None
        groups = item.get("groups") or ""
        return Grant(subject=item["owner"], groups=groups if isinstance(groups, str) else " ".join(sorted(groups)))


def _ticket_id(ticket: str) -> str:
    return f"ticket#{hashlib.sha256(ticket.encode()).hexdigest()}"
