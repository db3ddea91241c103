"""Conversations in DynamoDB, their content encrypted before it is stored.

One partition per user holds the conversations' metadata and the markers of answered requests; one partition per
conversation holds its turns:

    <subject>                    conversation#<id>     title, created_at, updated_at, turn_count, expires_at
    <subject>                    request#<digest>      conversation_id, seq of the question, fingerprint, expires_at
    <subject>#<conversation_id>  turn#<seq, 8 digits>  turn_id, role, medium, content, created_at, model, usage, ...

An exchange is one transaction: the metadata's turn count is its guard, so two turns never take one place.
"""

import base64
import binascii
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from botocore.exceptions import ClientError

from parley.aws.content_encryption import ContentCipher
from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.conversation.errors import AlreadyAnswered, ConversationBusy, ConversationNotFound
from parley.conversation.store import Exchange, History, Page, StoredAnswer
from parley.conversation.turns import Conversation, Knowledge, RequestKey, Turn, Usage, is_id
from parley.errors import StoreUnavailable, ValidationFailed
from parley.knowledge.passages import Citation
from parley.speech.lease import LeaseLost

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

APPEND_ATTEMPTS = 8
"""Tries to find a place among turns that are stored at the same time."""

SECONDS_PER_DAY = 86_400
DELETE_BATCH = 25
"""Items of one BatchWriteItem: DynamoDB's limit."""


class _Content(msgspec.Struct, omit_defaults=True):
    """What of a turn is encrypted."""

    text: str
    citations: tuple[Citation, ...] = ()


class ConversationTable:
    """The ConversationStore protocol over one table. `retention_days` counts from a conversation's last turn.

    With a `fence`, an item of TransactWriteItems, `append` raises LeaseLost unless its condition holds.
    """

    def __init__(
        self,
        table: str,
        client: "DynamoDBClient",
        cipher: Callable[[], ContentCipher],
        *,
        retention_days: int = 30,
        fence: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._client = client
        self._cipher = cipher
        self._retention_seconds = retention_days * SECONDS_PER_DAY
        self._fence = fence
        self._clock = clock
        self._pause = pause

    def history(self, subject: str, conversation_id: str, limit: int) -> History:
        """See ConversationStore."""
        with store_errors():
            found = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :turn)",
                ExpressionAttributeValues=to_item({":pk": f"{subject}#{conversation_id}", ":turn": "turn#"}),
                ScanIndexForward=False,
                Limit=limit,
                ConsistentRead=True,
            )
        items = [item for item in map(from_item, found["Items"]) if self._is_alive(item)]
        if not items:
            raise ConversationNotFound
        turns = [self._turn(subject, conversation_id, item) for item in reversed(items)]
        return History(turns=turns, turn_count=_sequence(items[0]))

    def append(self, subject: str, conversation_id: str, exchange: Exchange, *, turn_count: int) -> None:
        """See ConversationStore."""
        context = _context(subject, conversation_id)
        encrypt = self._cipher().encrypt
        title = encrypt(exchange.title.encode(), context) if turn_count == 0 else None
        contents = [
            encrypt(msgspec.json.encode(_Content(text=turn.text, citations=turn.citations)), context)
            for turn in (exchange.question, exchange.answer)
        ]
        count = turn_count
        throttled = False
        for attempt in range(APPEND_ATTEMPTS):
            if attempt:
                self._pause(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - spreads writers out, guards nothing
            writes = self._writes(subject, conversation_id, exchange, contents, title, count)
            try:
                with store_errors():
                    self._client.transact_write_items(TransactItems=writes)
            except ClientError as error:
                if error_code(error) != "TransactionCanceledException":
                    raise
                metadata, *others = [reason.get("Code", "None") for reason in _reasons(error)]
                if self._fence and others and others.pop() == "ConditionalCheckFailed":
                    raise LeaseLost from error
                marker = others[-1] if others else metadata
                if exchange.request and marker == "ConditionalCheckFailed":
                    raise AlreadyAnswered from error
                if metadata == "ConditionalCheckFailed":
                    count = self.conversation(subject, conversation_id).turn_count
                elif not _is_worth_retrying(error):
                    raise
                throttled = _codes(error).isdisjoint({"ConditionalCheckFailed", "TransactionConflict"})
            else:
                return
        raise StoreUnavailable if throttled else ConversationBusy

    def answer_to(self, subject: str, request: RequestKey) -> StoredAnswer | None:
        """See ConversationStore."""
        marker = self._get(subject, f"request#{request.digest}")
        if marker is None:
            return None
        conversation_id = marker["conversation_id"]
        answer = self._get(f"{subject}#{conversation_id}", _turn_key(marker["seq"] + 1))
        if answer is None:
            raise ConversationNotFound("The conversation of this request was deleted.")
        turn = self._turn(subject, conversation_id, answer)
        return StoredAnswer(conversation_id=conversation_id, turn=turn, fingerprint=marker["fingerprint"])

    def page(self, subject: str, limit: int, cursor: str | None) -> Page:
        """See ConversationStore."""
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :conversation)",
            "ExpressionAttributeValues": to_item({":pk": subject, ":conversation": "conversation#"}),
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if cursor is not None:
            query["ExclusiveStartKey"] = to_item({"pk": subject, "sk": f"conversation#{_from_cursor(cursor)}"})
        with store_errors():
            found = self._client.query(**query)
        conversations = [
            self._conversation(subject, item) for item in map(from_item, found["Items"]) if self._is_alive(item)
        ]
        last = found.get("LastEvaluatedKey")
        return Page(conversations=conversations, cursor=_to_cursor(from_item(last)["sk"]) if last else None)

    def conversation(self, subject: str, conversation_id: str) -> Conversation:
        """See ConversationStore."""
        item = self._get(subject, f"conversation#{conversation_id}")
        if item is None:
            raise ConversationNotFound
        return self._conversation(subject, item)

    def turns(self, subject: str, conversation_id: str) -> Iterator[Turn]:
        """See ConversationStore."""
        for item in self._items(f"{subject}#{conversation_id}", "turn#"):
            if self._is_alive(item):
                yield self._turn(subject, conversation_id, item)

    def delete(self, subject: str, conversation_id: str) -> None:
        """See ConversationStore."""
        # The metadata goes last, and only when no turn was added meanwhile: a deletion that breaks off can be asked for
        # again, and then finds the rest.
        for _ in range(APPEND_ATTEMPTS):
            seen = self.conversation(subject, conversation_id).turn_count
            self._delete_turns(subject, conversation_id)
            try:
                with store_errors():
                    self._client.delete_item(
                        TableName=self._table,
                        Key=to_item({"pk": subject, "sk": f"conversation#{conversation_id}"}),
                        ConditionExpression="attribute_not_exists(pk) OR turn_count = :seen",
                        ExpressionAttributeValues=to_item({":seen": seen}),
                    )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
            else:
                return
        raise ConversationBusy

    def _delete_turns(self, subject: str, conversation_id: str) -> None:
        partition = f"{subject}#{conversation_id}"
        keys: list[dict[str, str]] = []
        for item in self._items(partition, "turn#", attributes="sk, request_key"):
            keys.append({"pk": partition, "sk": item["sk"]})
            if "request_key" in item:
                keys.append({"pk": subject, "sk": item["request_key"]})
        for start in range(0, len(keys), DELETE_BATCH):
            self._delete(keys[start : start + DELETE_BATCH])

    def _delete(self, keys: list[dict[str, str]]) -> None:
        waiting: Any = {self._table: [{"DeleteRequest": {"Key": to_item(key)}} for key in keys]}
        for attempt in range(APPEND_ATTEMPTS):
            if attempt:
                self._pause(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - spreads writers out, guards nothing
            with store_errors():
                waiting = self._client.batch_write_item(RequestItems=waiting).get("UnprocessedItems")
            if not waiting:
                return
        raise StoreUnavailable

    def _writes(
        self,
        subject: str,
        conversation_id: str,
        exchange: Exchange,
        contents: list[bytes],
        title: bytes | None,
        count: int,
    ) -> Any:
        expires_at = int(self._clock()) + self._retention_seconds
        partition = f"{subject}#{conversation_id}"
        marker = f"request#{exchange.request.digest}" if exchange.request else None
        metadata: dict[str, Any] = {
            ":count": count + 2,
            ":now": exchange.answer.created_at,
            ":expires": expires_at,
            ":seen": count or None,
            ":title": title if count == 0 else None,
            ":begun": exchange.question.created_at if count == 0 else None,
        }
        begins = ", title = :title, created_at = :begun" if count == 0 else ""
        writes: list[dict[str, Any]] = [
            {
                "Update": {
                    "TableName": self._table,
                    "Key": to_item({"pk": subject, "sk": f"conversation#{conversation_id}"}),
                    "UpdateExpression": f"SET turn_count = :count, updated_at = :now, expires_at = :expires{begins}",
                    "ConditionExpression": "turn_count = :seen" if count else "attribute_not_exists(pk)",
                    "ExpressionAttributeValues": to_item(metadata),
                }
            }
        ]
        turns = (exchange.question, exchange.answer)
        for sequence, (turn, content) in enumerate(zip(turns, contents, strict=True), start=count + 1):
            item = {
                "pk": partition,
                "sk": _turn_key(sequence),
                "turn_id": turn.turn_id,
                "role": turn.role,
                "medium": turn.medium,
                "content": content,
                "created_at": turn.created_at,
                "knowledge": turn.knowledge,
                "model": turn.model,
                "usage": _usage_item(turn.usage),
                # On the question alone: deleting the conversation finds the marker by it.
                "request_key": marker if turn.role == "user" else None,
                "expires_at": expires_at,
            }
            writes.append(self._put(item))
        if exchange.request:
            request = {
                "pk": subject,
                "sk": marker,
                "conversation_id": conversation_id,
                "seq": count + 1,
                "fingerprint": exchange.request.fingerprint,
                "expires_at": expires_at,
            }
            writes.append(self._put(request))
        return [*writes, self._fence] if self._fence else writes

    def _put(self, item: Mapping[str, Any]) -> dict[str, Any]:
        condition = "attribute_not_exists(pk)"
        return {"Put": {"TableName": self._table, "Item": to_item(item), "ConditionExpression": condition}}

    def _get(self, partition: str, sort: str) -> dict[str, Any] | None:
        with store_errors():
            found = self._client.get_item(
                TableName=self._table, Key=to_item({"pk": partition, "sk": sort}), ConsistentRead=True
            )
        item = from_item(found["Item"]) if "Item" in found else None
        return item if item is not None and self._is_alive(item) else None

    def _items(self, partition: str, prefix: str, attributes: str | None = None) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": to_item({":pk": partition, ":prefix": prefix}),
            "ConsistentRead": True,
        }
        if attributes:
            query["ProjectionExpression"] = attributes
        while True:
            with store_errors():
                found = self._client.query(**query)
            yield from map(from_item, found["Items"])
            if not found.get("LastEvaluatedKey"):
                return
            query["ExclusiveStartKey"] = found["LastEvaluatedKey"]

    def _is_alive(self, item: Mapping[str, Any]) -> bool:
        # DynamoDB removes expired items within days, not at once: until then they are hidden here.
        return bool(item.get("expires_at", 0) > self._clock())

    def _conversation(self, subject: str, item: Mapping[str, Any]) -> Conversation:
        conversation_id = item["sk"].removeprefix("conversation#")
        title = self._cipher().decrypt(item["title"], _context(subject, conversation_id)).decode()
        return Conversation(
            conversation_id=conversation_id,
            title=title,
            created_at=item["created_at"],
            updated_at=item["updated_at"],
            turn_count=item["turn_count"],
        )

    def _turn(self, subject: str, conversation_id: str, item: Mapping[str, Any]) -> Turn:
        plain = self._cipher().decrypt(item["content"], _context(subject, conversation_id))
        content = msgspec.json.decode(plain, type=_Content)
        role: Literal["user", "assistant"] = item["role"]
        knowledge: Knowledge | None = item.get("knowledge")
        return Turn(
            turn_id=item["turn_id"],
            role=role,
            text=content.text,
            created_at=item["created_at"],
            medium=item["medium"],
            citations=content.citations,
            knowledge=knowledge,
            model=item.get("model"),
            usage=_usage(item.get("usage")),
        )


def _context(subject: str, conversation_id: str) -> dict[str, str]:
    return {"subject": subject, "conversation_id": conversation_id}


def _turn_key(sequence: int) -> str:
    return f"turn#{sequence:08d}"


def _sequence(item: Mapping[str, Any]) -> int:
    return int(item["sk"].removeprefix("turn#"))


def _usage_item(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost_usd": usage.cost_usd}


def _usage(item: Mapping[str, Any] | None) -> Usage | None:
    if item is None:
        return None
    cost = item.get("cost_usd")
    return Usage(
        input_tokens=item["input_tokens"],
        output_tokens=item["output_tokens"],
        cost_usd=None if cost is None else float(cost),
    )


def _reasons(error: ClientError) -> list[dict[str, Any]]:
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]  # a TypedDict
    return reasons or [{}]


def _is_worth_retrying(error: ClientError) -> bool:
    return not _codes(error).isdisjoint({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def _codes(error: ClientError) -> set[str]:
    return {reason.get("Code", "None") for reason in _reasons(error)}


def _to_cursor(sort_key: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(sort_key.removeprefix("conversation#"))).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        conversation_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).hex()
    except (binascii.Error, ValueError) as error:
        raise ValidationFailed("`cursor` is not one that this list gave.") from error
    if not is_id(conversation_id):
        raise ValidationFailed("`cursor` is not one that this list gave.")
    return conversation_id
