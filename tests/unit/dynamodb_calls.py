"""Stands in for the session worker's own calls of DynamoDB: moto answers botocore alone."""

from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any


class Calls:
    """Calls of DynamoDB as its JSON, from moto."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, operation: str, request: Mapping[str, Any]) -> Any:
        name = {"GetItem": "get_item", "BatchGetItem": "batch_get_item", "UpdateItem": "update_item"}[operation]
        return _as_json(getattr(self._client, name)(**request))


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return b2a_base64(value, newline=False).decode()
        case dict():
            return {key: _as_json(inner) for key, inner in value.items()}
        case list():
            return [_as_json(inner) for inner in value]
        case _:
            return value
