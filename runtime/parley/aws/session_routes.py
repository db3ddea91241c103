"""What the WebSocket routes write on a session's item while its worker lives, and what they read there.

The worker's writes are fenced by its epoch. Those here are conditional on the connection that they come from: a session
belongs to the connection that started it last.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.errors import NotFound
from parley.speech.lease import InboxMessage, Played, SessionState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

INBOX_MESSAGES = 8
"""How many messages wait for a worker: with the longest text in each, the item stays under DynamoDB's 400 KB."""

START_AGAIN_SECONDS = 4.0
"""A worker that was asked for needs this long to take its lease; pings that come meanwhile ask for no other."""

_READ = (
    "#subject, #medium, #engine, #language, #voice, #conversation_id, #connection_id, #connection_number, "
    "#announced_number, #state, #lease_until, #start_requested, #expires_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceRequest:
    """What a client asks a voice session to be. What is None is not asked for."""

    engine: str
    language: str
    voice: str | None = None
    conversation_id: str | None = None
    last_seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A session as the routes see it."""

    subject: str
    medium: Literal["text", "voice"] = "text"
    engine: str | None = None
    language: str | None = None
    voice: str | None = None
    conversation_id: str | None = None
    connection_id: str | None = None
    connection_number: int = 0
    announced_number: int = 0
    """The connection that a worker has taken up."""
    state: SessionState = "ended"
    lease_until: int = 0
    """Milliseconds since the epoch."""
    start_requested: int = 0
    """When a worker was asked for last, in milliseconds since the epoch."""

    @property
    def is_voice(self) -> bool:
        """Has a voice session begun, and not ended?"""
        return self.medium == "voice" and self.state != "ended"


class SessionRoutes:
    """The routes' side of the sessions table. Every method raises StoreUnavailable."""

    def __init__(self, table: str, client: "DynamoDBClient", *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def find(self, session_id: str, subject: str) -> Standing:
        """The session as it stands now. Raises NotFound when `subject` has no such session."""
        with store_errors():
            found = self._client.get_item(
                TableName=self._table,
                Key=to_item({"session_id": session_id}),
                ConsistentRead=True,
                ProjectionExpression=_READ,
                ExpressionAttributeNames=_names(_READ),
            )
        item = from_item(found["Item"]) if "Item" in found else {}
        if item.get("subject") != subject or item.pop("expires_at") <= self._clock():
            raise NotFound("You have no session of this id any more; begin another one.")
        return Standing(**item)

    def start_voice(self, session_id: str, before: Standing, connection_id: str, request: VoiceRequest) -> int | None:
        """Make the session a voice session of `connection_id`, as `before` found it or a new one after its end.

        Returns the connection's number; None when another connection came first since `before` was read.
        """
        number = before.connection_number + 1
        values = {
            "medium": "voice",
            "connection_id": connection_id,
            "connection_number": number,
            "engine": request.engine,
            "language": request.language,
            "voice": request.voice,
            "conversation_id": request.conversation_id,
            "last_seq": request.last_seq,
        }
        # What was left for a session that has ended is no business of the next.
        removed = () if before.is_voice else ("inbox", "played", "voice", "conversation_id")
        written = self._update(
            session_id,
            values if before.is_voice else values | {"state": "starting"},
            removed=removed,
            condition="#subject = :owner"
            " AND (attribute_not_exists(#connection_number) OR #connection_number = :before)",
            operands={"owner": before.subject, "before": before.connection_number},
        )
        return number if written else None

    def claim_start(self, session_id: str, *, even_if_asked: bool = False) -> bool:
        """May the caller ask for a worker now? Not while a worker's lease runs, nor soon after another caller asked."""
        now = self._milliseconds()
        condition = "attribute_exists(#subject) AND (attribute_not_exists(#lease_until) OR #lease_until < :now)"
        operands = {"now": now}
        if not even_if_asked:
            condition += " AND (attribute_not_exists(#start_requested) OR #start_requested < :recently)"
            operands["recently"] = now - round(START_AGAIN_SECONDS * 1000)
        return self._update(session_id, {"start_requested": now}, condition=condition, operands=operands)

    def is_live(self, standing: Standing, connection_number: int) -> bool:
        """Has a worker that is alive taken up this connection?"""
        return standing.announced_number >= connection_number and standing.lease_until > self._milliseconds()

    def add_to_inbox(self, session_id: str, connection_id: str, message: InboxMessage) -> bool:
        """Leave a message for the worker. False when the session is not this connection's, or its inbox is full."""
        return self._update(
            session_id,
            {},
            appended={
                "id": message.id,
                "kind": message.kind,
                "text": message.text or None,
                "request_id": message.request_id,
            },
            condition=f"{_OWN} AND (attribute_not_exists(#inbox) OR size(#inbox) < :places)",
            operands={"own": connection_id, "voice": "voice", "places": INBOX_MESSAGES},
        )

    def report_played(self, session_id: str, connection_id: str, played: Played) -> bool:
        """Note what the client has played. False when the session is not this connection's."""
        return self._update(
            session_id,
            {"played": {"turn_id": played.turn_id, "ms": played.ms}},
            condition=_OWN,
            operands={"own": connection_id, "voice": "voice"},
        )

    def _milliseconds(self) -> int:
        return round(self._clock() * 1000)

    def _update(
        self,
        session_id: str,
        values: Mapping[str, Any],
        *,
        condition: str,
        operands: Mapping[str, Any],
        removed: Sequence[str] = (),
        appended: Mapping[str, Any] | None = None,
    ) -> bool:
        """Set `values` that are not None, where `condition` holds; its operand `:name` is `operands["name"]`."""
        known = {name: value for name, value in values.items() if value is not None}
        assignments = [f"#{name} = :new_{name}" for name in known]
        operands = {f":{name}": value for name, value in operands.items()}
        operands |= {f":new_{name}": value for name, value in known.items()}
        if appended is not None:
            assignments.append("#inbox = list_append(if_not_exists(#inbox, :none), :messages)")
            message = {key: value for key, value in appended.items() if value is not None}
            operands |= {":none": [], ":messages": [message]}
        expression = f"SET {', '.join(assignments)}"
        if gone := [f"#{name}" for name in removed if name not in known]:
            expression += f" REMOVE {', '.join(gone)}"
        try:
            with store_errors():
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item({"session_id": session_id}),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=_names(expression, condition),
                    ExpressionAttributeValues=to_item(operands),
                )
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            return False
        return True


_OWN = "#connection_id = :own AND #medium = :voice"


def _names(*expressions: str) -> dict[str, str]:
    # Several of the attributes' names are words of DynamoDB's own.
    return {f"#{name}": name for expression in expressions for name in re.findall(r"#(\w+)", expression)}
