"""Live sessions in DynamoDB, as their workers see them: the lease, and writes that only its holder can make.

The routes' side of the same items is `parley.aws.session_routes`.
"""

import time
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from parley.aws.audio_frames_table import Calls
from parley.aws.content_encryption import ContentCipher
from parley.aws.failures import error_code, store_errors
from parley.aws.items import to_item
from parley.errors import StoreUnavailable
from parley.speech.lease import LEASE_SECONDS, InboxMessage, LeaseLost, LiveSession, Played, SessionState

PLACES_ATTEMPTS = 3
"""Tries to find messages in an inbox to which others are added meanwhile."""

_OWNED = "epoch = :epoch AND #state <> :ended"


class LiveSessions:
    """The Sessions protocol over the sessions table."""

    def __init__(self, table: str, calls: Calls, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._calls = calls
        self._clock = clock

    async def acquire(self, session_id: str, owner: str) -> "SessionLease | None":
        """See Sessions."""
        now = self._clock()
        request = {
            "TableName": self._table,
            "Key": to_item({"session_id": session_id}),
            "UpdateExpression": "SET #owner = :owner, #state = :live, lease_until = :until ADD epoch :one",
            "ConditionExpression": "attribute_exists(subject) AND medium = :voice AND #state <> :ended"
            # A retry of this very request finds itself the owner.
            " AND (attribute_not_exists(lease_until) OR lease_until < :now OR #owner = :owner)",
            "ExpressionAttributeNames": {"#owner": "owner", "#state": "state"},
            "ExpressionAttributeValues": to_item(
                {
                    ":owner": owner,
                    ":until": _milliseconds(now + LEASE_SECONDS),
                    ":now": _milliseconds(now),
                    ":one": 1,
                    ":voice": "voice",
                    ":live": "live",
                    ":ended": "ended",
                }
            ),
            "ReturnValues": "UPDATED_NEW",
        }
        try:
            with store_errors():
                written = await self._calls.call("UpdateItem", request)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            return None
        epoch = _plain(written["Attributes"])["epoch"]
        return SessionLease(self._table, self._calls, session_id, epoch, self._clock)


class SessionLease:
    """The Lease protocol."""

    def __init__(self, table: str, calls: Calls, session_id: str, epoch: int, clock: Callable[[], float]) -> None:
        self._table = table
        self._calls = calls
        self._session_id = session_id
        self._epoch = epoch
        self._clock = clock

    @property
    def epoch(self) -> int:
        """See Lease."""
        return self._epoch

    def condition_check(self) -> dict[str, Any]:
        """What a transaction carries so that it fails once the lease is lost: an item of TransactWriteItems."""
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": to_item({"session_id": self._session_id}),
                "ConditionExpression": _OWNED,
                "ExpressionAttributeNames": {"#state": "state"},
                "ExpressionAttributeValues": to_item({":epoch": self._epoch, ":ended": "ended"}),
            }
        }

    async def renew(self) -> None:
        """See Lease."""
        await self._write({"lease_until": _milliseconds(self._clock() + LEASE_SECONDS)})

    async def session(self) -> LiveSession:
        """See Lease."""
        request = {
            "TableName": self._table,
            "Key": {"session_id": {"S": self._session_id}},
            "ConsistentRead": True,
        }
        with store_errors():
            found = await self._calls.call("GetItem", request)
        return self._owned(_plain(found["Item"]) if "Item" in found else {})

    async def announce(self, connection_number: int) -> None:
        """See Lease."""
        await self._write({"announced_number": connection_number})

    async def save_progress(
        self, *, answered_seq: int, pending: bytes | None, conversation_id: str | None, taken: Sequence[str] = ()
    ) -> None:
        """See Lease."""
        values = {"answered_seq": answered_seq, "pending": pending, "conversation_id": conversation_id}
        removed = () if pending is not None else ("pending",)
        await self._write(values, removed=removed, taken=taken)

    async def release(self, *, state: SessionState) -> None:
        """See Lease."""
        await self._write({"lease_until": 0, "state": state}, removed=("inbox",) if state == "ended" else ())

    async def _write(
        self, values: Mapping[str, Any], *, removed: Sequence[str] = (), taken: Sequence[str] = ()
    ) -> None:
        """Write under the epoch. A list's items are removed by their places: those are the first ones, unless the write
        finds otherwise.
        """
        places = dict(enumerate(taken))
        for _ in range(PLACES_ATTEMPTS):
            if await self._try_update(values, removed, places):
                return
            inbox = (await self.session()).inbox
            places = {place: message.id for place, message in enumerate(inbox) if message.id in taken}
        raise StoreUnavailable

    async def _try_update(self, values: Mapping[str, Any], removed: Sequence[str], places: Mapping[int, str]) -> bool:
        known = {name: value for name, value in values.items() if value is not None}
        removals = [f"#{name}" for name in removed] + [f"inbox[{place}]" for place in places]
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in known)
        if removals:
            expression += " REMOVE " + ", ".join(removals)
        condition = _OWNED + "".join(f" AND inbox[{place}].id = :taken_{place}" for place in places)
        operands = {f":{name}": value for name, value in known.items()}
        operands |= {f":taken_{place}": message_id for place, message_id in places.items()}
        request = {
            "TableName": self._table,
            "Key": to_item({"session_id": self._session_id}),
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {f"#{name}": name for name in {*known, *removed, "state"}},
            "ExpressionAttributeValues": to_item({":epoch": self._epoch, ":ended": "ended", **operands}),
        }
        try:
            with store_errors():
                await self._calls.call("UpdateItem", request)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            if not places:
                raise LeaseLost from error
            return False
        return True

    def _owned(self, item: Mapping[str, Any]) -> LiveSession:
        if item.get("epoch") != self._epoch or item["state"] == "ended":
            raise LeaseLost
        played = item.get("played")
        return LiveSession(
            session_id=self._session_id,
            subject=item["subject"],
            epoch=self._epoch,
            state=item["state"],
            connection_id=item.get("connection_id"),
            connection_number=item.get("connection_number", 0),
            announced_number=item.get("announced_number", 0),
            conversation_id=item.get("conversation_id"),
            engine=item["engine"],
            language=item["language"],
            voice=item.get("voice"),
            answered_seq=item.get("answered_seq", 0),
            last_seq=item.get("last_seq", 0),
            pending=item.get("pending"),
            played=Played(played["turn_id"], played["ms"]) if played else None,
            inbox=tuple(
                InboxMessage(message["id"], message["kind"], message.get("text", ""), message.get("request_id"))
                for message in item.get("inbox", ())
            ),
        )


class SessionSeal:
    """The Seal protocol: what is kept on a session is encrypted for its subject and itself alone."""

    def __init__(self, cipher: Callable[[], ContentCipher], subject: str, session_id: str) -> None:
        self._cipher = cipher
        self._context = {"subject": subject, "session_id": session_id}

    def seal(self, content: bytes) -> bytes:
        """See Seal."""
        return self._cipher().encrypt(content, self._context)

    def open(self, sealed: bytes) -> bytes:
        """See Seal."""
        return self._cipher().decrypt(sealed, self._context)


def _milliseconds(moment: float) -> int:
    return round(moment * 1000)


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of DynamoDB's JSON, with the types that a session's has."""
    return {name: _value(*next(iter(typed.items()))) for name, typed in item.items()}


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "N":
            return int(value)
        case "B":
            return a2b_base64(value)
        case "M":
            return _plain(value)
        case "L":
            return [_value(*next(iter(typed.items()))) for typed in value]
        case _:
            return value
