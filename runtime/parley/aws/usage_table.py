"""What users and addresses have used, in DynamoDB: the UsageStore protocol over one table.

    <subject>#requests   <minute>   used                                           expires two minutes later
    <network>#address    <minute>   used                                           expires two minutes later
    <subject>#day        <date>     tokens, voice_seconds, documents               expires two days later
    <subject>#limits     own        tokens_per_day, voice_minutes_per_day, documents_per_day; set by operators

An addition is atomic in the store, so no count is lost between functions that run side by side.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.failures import error_code
from parley.conversation.quotas import DAY_SECONDS, MINUTE_SECONDS, DayUsage, OwnLimits, Quota
from parley.errors import StoreUnavailable


class Client(Protocol):
    """What of DynamoDB's client is used here."""

    def update_item(self, **request: Any) -> Any:
        """See botocore."""

    def batch_get_item(self, **request: Any) -> Any:
        """See botocore."""


class UsageTable:
    """Counters in one table. `client` should give up soon, and not try again: its callers let everybody in then."""

    def __init__(self, table: str, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def count_request(self, who: str, minute: str) -> int:
        """See UsageStore."""
        values = self._update(_key(who, minute), "used", 1, expires_in=2 * MINUTE_SECONDS)
        return int(values["used"]["N"])

    def day(self, subject: str, date: str) -> DayUsage:
        """See UsageStore."""
        keys = [_key(f"{subject}#day", date), _key(f"{subject}#limits", "own")]
        with _failures():
            found = self._client.batch_get_item(RequestItems={self._table: {"Keys": keys}})
        if found.get("UnprocessedKeys"):
            raise StoreUnavailable
        values: dict[str, int] = {}
        own: dict[str, int] = {}
        for item in found["Responses"][self._table]:
            numbers = {name: int(value["N"]) for name, value in item.items() if "N" in value}
            (own if item["sk"]["S"] == "own" else values).update(numbers)
        # Attributes of other versions, and when the item expires, are nothing to a struct.
        limits = msgspec.convert(own, OwnLimits) if own else None
        return msgspec.structs.replace(msgspec.convert(values, DayUsage), own_limits=limits)

    def add(self, subject: str, date: str, quota: Quota, amount: int, *, below: int | None = None) -> int | None:
        """See UsageStore."""
        values = self._update(_key(f"{subject}#day", date), quota, amount, expires_in=2 * DAY_SECONDS, below=below)
        return int(values[quota]["N"]) if values else None

    def _update(
        self, key: Mapping[str, Any], counter: str, amount: int, *, expires_in: int, below: int | None = None
    ) -> Mapping[str, Any]:
        """The changed attributes; none when the condition does not hold."""
        values = {":amount": _number(amount), ":expires": _number(int(self._clock()) + expires_in)}
        condition: dict[str, Any] = {}
        if below is not None:
            values[":below"] = _number(below)
            condition["ConditionExpression"] = "attribute_not_exists(#counter) OR #counter < :below"
        with _failures():
            try:
                changed = self._client.update_item(
                    TableName=self._table,
                    Key=key,
                    UpdateExpression="ADD #counter :amount SET expires_at = :expires",
                    ExpressionAttributeNames={"#counter": counter},
                    ExpressionAttributeValues=values,
                    ReturnValues="UPDATED_NEW",
                    **condition,
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                return {}
        attributes: Mapping[str, Any] = changed["Attributes"]
        return attributes


@contextmanager
def _failures() -> Iterator[None]:
    # Whatever is wrong with the counters, also a mistake of ours: no request fails for it.
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable from error


def _key(partition: str, sort: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
