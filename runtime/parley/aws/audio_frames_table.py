"""The audio relay in DynamoDB: API Gateway writes the frames, the session worker reads them by their numbers."""

from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from parley.aws.failures import store_errors
from parley.errors import StoreUnavailable
from parley.speech.relay import AudioFrame

UNPROCESSED_ATTEMPTS = 4
"""How often DynamoDB may answer a batch in part."""


class Calls(Protocol):
    """Calls of DynamoDB; see `parley.aws.signed_http`."""

    async def call(self, operation: str, request: Mapping[str, Any]) -> Any:
        """The answer of an operation, as JSON."""


class AudioFramesTable:
    """The AudioRelay protocol over one session's partition of the table."""

    def __init__(self, table: str, calls: Calls, session_id: str) -> None:
        self._table = table
        self._calls = calls
        self._session = {"S": session_id}

    async def read(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        """See AudioRelay. Reads are consistent: a frame is there as soon as API Gateway has written it."""
        if len(seqs) != 1:
            return await self._read_many(seqs)
        request = {"TableName": self._table, "Key": self._key(seqs[0]), "ConsistentRead": True}
        with store_errors():
            found = await self._calls.call("GetItem", request)
        return _frames([found["Item"]]) if "Item" in found else {}

    async def _read_many(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        wanted: Any = {self._table: {"Keys": [self._key(seq) for seq in seqs], "ConsistentRead": True}}
        frames: dict[int, AudioFrame] = {}
        for _ in range(UNPROCESSED_ATTEMPTS):
            with store_errors():
                found = await self._calls.call("BatchGetItem", {"RequestItems": wanted})
            frames |= _frames(found["Responses"].get(self._table, []))
            wanted = found.get("UnprocessedKeys")
            if not wanted:
                return frames
        raise StoreUnavailable

    def _key(self, seq: int) -> dict[str, Any]:
        return {"session_id": self._session, "seq": {"N": str(seq)}}


def _frames(items: Sequence[Any]) -> dict[int, AudioFrame]:
    # By hand rather than by the general deserializer, which takes longer than the rest of a frame's way.
    frames = {}
    for item in items:
        seq = int(item["seq"]["N"])
        data = a2b_base64(item["data"].get("B", ""))
        frames[seq] = AudioFrame(seq, data, item["connection_id"]["S"], int(item["received_at"]["N"]) / 1000)
    return frames
