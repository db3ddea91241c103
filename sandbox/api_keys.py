"""API keys for `auth=api-key`: issue, list and revoke, in the sandbox or on AWS.

A key reads `parley_<key id>_<secret>`. The table holds the secret's SHA-256 and never the secret; 256 random bits need
no slower hash.
"""

import hashlib
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3

from operations.environment import OperationError, resolve
from sandbox.state import SandboxError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_PREFIX = "api-key#"


def credentials_table(environment: str) -> "Table":
    """The table of an environment's credentials. Raises `SandboxError` when the environment cannot be found."""
    try:
        found = resolve(environment)
    except OperationError as error:
        raise SandboxError(str(error)) from error
    return boto3.resource("dynamodb", **found.client_options).Table(found.tables["Credentials"])


def issue(table: "Table", *, owner: str, label: str, groups: list[str]) -> str:
    """A new key for `owner`; this is the only time that its secret is seen."""
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    table.put_item(
        Item={
            "credential_id": _PREFIX + key_id,
            "owner": owner,
            "label": label,
            # The form in which an authorizer's context holds them.
            "groups": " ".join(groups),
            "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "created_at": _now(),
        },
        ConditionExpression="attribute_not_exists(credential_id)",
    )
    return f"parley_{key_id}_{secret}"


def keys(table: "Table") -> list[dict[str, str]]:
    """Every key: id, owner, label, groups, when it was made and revoked."""
    found = []
    arguments: dict[str, object] = {}
    while True:
        page = table.scan(**arguments)  # type: ignore[arg-type]  # the keywords are the paginator's own
        for item in page["Items"]:
            if str(item["credential_id"]).startswith(_PREFIX):
                found.append(
                    {
                        "key_id": str(item["credential_id"]).removeprefix(_PREFIX),
                        "owner": str(item.get("owner", "")),
                        "label": str(item.get("label", "")),
                        "groups": str(item.get("groups", "")),
                        "created_at": str(item.get("created_at", "")),
                        "revoked_at": str(item.get("revoked_at", "")),
                    }
                )
        if "LastEvaluatedKey" not in page:
            return sorted(found, key=lambda key: key["created_at"])
        arguments = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def revoke(table: "Table", key_id: str) -> None:
    """End a key's validity; its record stays, so that a log that names it can still be read."""
    try:
        table.update_item(
            Key={"credential_id": _PREFIX + key_id},
            UpdateExpression="SET revoked_at = if_not_exists(revoked_at, :now)",
            ConditionExpression="attribute_exists(credential_id)",
            ExpressionAttributeValues={":now": _now()},
        )
    except table.meta.client.exceptions.ConditionalCheckFailedException:
        raise SandboxError(f"There is no key with the id {key_id}: ./scripts/api-key list shows them.") from None


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
