"""The audio relay in DynamoDB: API Gateway writes the frames, the session worker reads them by their numbers."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parley.aws.failures import store_errors
from parley.errors import StoreUnavailable
from parley.speech.relay import AudioFrame

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


UNPROCESSED_ATTEMPTS = 4


class AudioFramesTable:
    """The AudioRelay protocol over one session's partition of the table."""

    def __init__(self, table: str, client: "DynamoDBClient", session_id: str) -> None:
        self._table = table
        self._client = client
        self._session = {"S": session_id}

    async def read(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        """See AudioRelay. Reads are consistent: a frame is there as soon as API Gateway has written it."""
        return await asyncio.to_thread(self._read_one if len(seqs) == 1 else self._read_many, seqs)

    def _read_one(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        with store_errors():
            found = self._client.get_item(TableName=self._table, Key=self._key(seqs[0]), ConsistentRead=True)
        return _frames([found["Item"]]) if "Item" in found else {}

    def _read_many(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        wanted: Any = {
            self._table: {"Keys": [self._key(seq) for seq in seqs], "ConsistentRead": True},
        }
        frames: dict[int, AudioFrame] = {}
        for _ in range(UNPROCESSED_ATTEMPTS):
            with store_errors():
                found = self._client.batch_get_item(RequestItems=wanted)
            frames |= _frames(found["Responses"].get(self._table, []))
            wanted = found.get("UnprocessedKeys")
            if not wanted:
                return frames
        raise StoreUnavailable

    def _key(self, seq: int) -> Any:
        return {"session_id": self._session, "seq": {"N": str(seq)}}


def _frames(items: Sequence[Any]) -> dict[int, AudioFrame]:
    # By hand rather than by the general deserializer, which takes longer than the rest of a frame's way.
    frames = {}
    for item in items:
        seq = int(item["seq"]["N"])
        data = item["data"].get("B", b"")
        frames[seq] = AudioFrame(seq, data, item["connection_id"]["S"], int(item["received_at"]["N"]) / 1000)
    return frames
