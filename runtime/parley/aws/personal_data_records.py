"""How far deletions and exports have come, in the conversations table; and the accounts of the user pool.

    deletion#<SHA-256 of the subject>   deletion   state, requested_at, look_again_at, finished_at, deleted, expires_at
    deletion#<SHA-256 of the subject>   session#<id>   until; while a worker may still write under this session's id
    <subject>                           export     export_id, state, requested_at, finished_at, holding, position, ...

No subject holds a `#`, and what follows one in a partition key is a conversation's id, of 28 digits: so no user's
partition has a deletion's key.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.privacy.deletion import DeletionRecord, DeletionState
from parley.privacy.export import KEPT, Archive, ExportRecord, ExportState

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp.client import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb.client import DynamoDBClient

DELETION_RECORD_SECONDS = 90 * 24 * 3600
"""How long it can be shown that somebody was deleted, and when."""


class DeletionTable:
    """The DeletionRecords protocol."""

    def __init__(self, table: str, client: "DynamoDBClient") -> None:
        self._table = table
        self._client = client

    def get(self, pseudonym: str) -> DeletionRecord | None:
        """See DeletionRecords."""
        item = _get(self._client, self._table, _deletion_key(pseudonym))
        if item is None:
            return None
        return DeletionRecord(
            state=DeletionState(item["state"]),
            requested_at=_moment(item["requested_at"]),
            look_again_at=_moment(item["look_again_at"]) if "look_again_at" in item else None,
            finished_at=_moment(item["finished_at"]) if "finished_at" in item else None,
            deleted=item["deleted"],
        )

    def put(self, pseudonym: str, record: DeletionRecord) -> None:
        """See DeletionRecords."""
        item = {
            **_deletion_key(pseudonym),
            "state": record.state.value,
            "requested_at": _seconds(record.requested_at),
            "look_again_at": _seconds(record.look_again_at),
            "finished_at": _seconds(record.finished_at),
            "deleted": dict(record.deleted),
            "expires_at": int(record.requested_at.timestamp()) + DELETION_RECORD_SECONDS,
        }
        with store_errors():
            self._client.put_item(TableName=self._table, Item=to_item(item))


class ExportTable:
    """The ExportRecords protocol."""

    def __init__(self, table: str, client: "DynamoDBClient") -> None:
        self._table = table
        self._client = client

    def get(self, subject: str) -> ExportRecord | None:
        """See ExportRecords."""
        item = _get(self._client, self._table, _export_key(subject))
        if item is None:
            return None
        return ExportRecord(
            export_id=item["export_id"],
            state=ExportState(item["state"]),
            requested_at=_moment(item["requested_at"]),
            finished_at=_moment(item["finished_at"]) if "finished_at" in item else None,
            holding=item["holding"],
            position=item["position"],
            archives=tuple(Archive(**archive) for archive in item["archives"]),
        )

    def put(self, subject: str, record: ExportRecord) -> None:
        """See ExportRecords."""
        item = {
            **_export_key(subject),
            "export_id": record.export_id,
            "state": record.state.value,
            "requested_at": _seconds(record.requested_at),
            "finished_at": _seconds(record.finished_at),
            "holding": record.holding,
            "position": record.position,
            "archives": [{"key": archive.key, "size": archive.size} for archive in record.archives],
            "expires_at": int((record.requested_at + KEPT).timestamp()),
        }
        with store_errors():
            self._client.put_item(TableName=self._table, Item=to_item(item))


class Account:
    """A user's account in the user pool, whose username may be given as the subject."""

    name = "account"

    def __init__(self, user_pool_id: str, client: "CognitoIdentityProviderClient") -> None:
        self._user_pool_id = user_pool_id
        self._client = client

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding."""
        with store_errors():
            try:
                self._client.admin_delete_user(UserPoolId=self._user_pool_id, Username=subject)
            except ClientError as error:
                if error_code(error) != "UserNotFoundException":
                    raise
                return
        yield 1


def _get(client: "DynamoDBClient", table: str, key: Mapping[str, str]) -> dict[str, Any] | None:
    with store_errors():
        found = client.get_item(TableName=table, Key=to_item(key), ConsistentRead=True)
    return from_item(found["Item"]) if "Item" in found else None


def _deletion_key(pseudonym: str) -> dict[str, str]:
    return {"pk": f"deletion#{pseudonym}", "sk": "deletion"}


def _export_key(subject: str) -> dict[str, str]:
    return {"pk": subject, "sk": "export"}


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else round(moment.timestamp(), 3)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
