"""The record of the vector indexes in the knowledge table.

    indexes    current    active, other, phase, runner, position, copied, revision

Owners of documents are `shared` or begin with `user-`, so no document has this partition key.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.knowledge.index_slots import IndexAddress, Indexes, Phase

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

_KEY = {"pk": "indexes", "sk": "current"}


class IndexRecordItem:
    """The IndexRecord protocol over one item of the knowledge table."""

    def __init__(self, table: str, client: "DynamoDBClient", *, initial: IndexAddress) -> None:
        """`initial` is the index that is active as long as nothing is recorded."""
        self._table = table
        self._client = client
        self._initial = initial

    def read(self) -> Indexes:
        """See IndexRecord: a strongly consistent read."""
        with store_errors():
            found = self._client.get_item(TableName=self._table, Key=to_item(_KEY), ConsistentRead=True)
        return _indexes(from_item(found["Item"])) if "Item" in found else Indexes(active=self._initial)

    def swap(self, expected: Indexes, new: Indexes) -> Indexes | None:
        """See IndexRecord."""
        new = replace(new, revision=expected.revision + 1)
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if expected.revision:
            condition = {
                "ConditionExpression": "revision = :expected",
                "ExpressionAttributeValues": to_item({":expected": expected.revision}),
            }
        with store_errors():
            try:
                self._client.put_item(TableName=self._table, Item=to_item({**_KEY, **_values(new)}), **condition)
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return None
                raise
        return new


def _values(indexes: Indexes) -> dict[str, Any]:
    return {
        "active": str(indexes.active),
        "other": str(indexes.other) if indexes.other else None,
        "phase": indexes.phase.value if indexes.phase else None,
        "runner": indexes.runner,
        "position": dict(indexes.position) if indexes.position else None,
        "copied": indexes.copied,
        "revision": indexes.revision,
    }


def _indexes(values: Mapping[str, Any]) -> Indexes:
    return Indexes(
        active=IndexAddress.parse(values["active"]),
        other=IndexAddress.parse(values["other"]) if "other" in values else None,
        phase=Phase(values["phase"]) if "phase" in values else None,
        runner=values.get("runner"),
        position=values.get("position"),
        copied=values["copied"],
        revision=values["revision"],
    )
