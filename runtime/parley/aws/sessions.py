"""Live sessions and their WebSocket connections in DynamoDB."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from parley.aws.failures import store_errors
from parley.aws.items import from_item, to_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

CONNECTION_SECONDS = 2 * 3600 + 15 * 60
"""API Gateway ends a connection after two hours; its record outlives it a little."""

SECONDS_PER_DAY = 86_400


class SessionTable:
    """Which session is whose."""

    def __init__(
        self, table: str, client: "DynamoDBClient", *, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._client = client
        self._retention_seconds = retention_days * SECONDS_PER_DAY
        self._clock = clock

    def create(self, session_id: str, subject: str) -> None:
        """Record a new session of `subject`. Raises StoreUnavailable."""
        now = int(self._clock())
        item = {
            "session_id": session_id,
            "subject": subject,
            "created_at": now,
            "expires_at": now + self._retention_seconds,
        }
        with store_errors():
            self._client.put_item(
                TableName=self._table, Item=to_item(item), ConditionExpression="attribute_not_exists(session_id)"
            )

    def is_owned_by(self, session_id: str, subject: str) -> bool:
        """Does this session exist, and belong to `subject`? Raises StoreUnavailable."""
        with store_errors():
            found = self._client.get_item(
                TableName=self._table, Key=to_item({"session_id": session_id}), ConsistentRead=True
            )
        if "Item" not in found:
            return False
        session = from_item(found["Item"])
        return bool(session["subject"] == subject and session["expires_at"] > self._clock())


class ConnectionTable:
    """Which connections are open, and whose they are."""

    def __init__(self, table: str, client: "DynamoDBClient", *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def record(self, connection_id: str, *, subject: str, session_id: str, groups: frozenset[str]) -> None:
        """Record an opened connection. Raises StoreUnavailable."""
        now = int(self._clock())
        item = {
            "connection_id": connection_id,
            "subject": subject,
            "session_id": session_id,
            "groups": " ".join(sorted(groups)),
            "connected_at": now,
            "expires_at": now + CONNECTION_SECONDS,
        }
        with store_errors():
            self._client.put_item(TableName=self._table, Item=to_item(item))

    def forget(self, connection_id: str) -> None:
        """Remove a closed connection; one that is not there is no error. Raises StoreUnavailable."""
        with store_errors():
            self._client.delete_item(TableName=self._table, Key=to_item({"connection_id": connection_id}))
