"""The archive of live sessions on S3.

Objects are written once: a key that is there already is refused, and a segment of input carries the number of its last
frame as metadata, by which a worker that takes over knows where to go on.
"""

import asyncio
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.errors import StoreUnavailable
from parley.speech.archive import ArchivedInput, Segment, segment_key, started_at, wav

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LAST_SEQ = "last-seq"
_THERE_ALREADY = frozenset({"PreconditionFailed", "412"})
_BEING_WRITTEN = "ConditionalRequestConflict"
"""Another worker writes the same object just now."""


class BucketArchive:
    """The AudioArchive protocol over one bucket."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    async def newest_input(self, session_id: str) -> ArchivedInput | None:
        """See AudioArchive."""
        return await asyncio.to_thread(self._newest_input, session_id)

    async def write(self, session_id: str, segment: Segment) -> int:
        """See AudioArchive."""
        return await asyncio.to_thread(self._write, session_id, segment)

    def _newest_input(self, session_id: str) -> ArchivedInput | None:
        with store_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{session_id}/")
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        newest = max((key for key in keys if key.endswith("_input.wav")), default=None)
        return None if newest is None else ArchivedInput(started_at(newest), self._last_seq(newest))

    def _write(self, session_id: str, segment: Segment) -> int:
        key = segment_key(session_id, segment)
        try:
            with store_errors():
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=wav(segment),
                    ContentType="audio/wav",
                    Metadata={_LAST_SEQ: str(segment.last_seq)},
                    IfNoneMatch="*",
                )
        except ClientError as error:
            if error_code(error) == _BEING_WRITTEN:
                raise StoreUnavailable from error
            if error_code(error) not in _THERE_ALREADY:
                raise
            return self._last_seq(key)
        return segment.last_seq

    def _last_seq(self, key: str) -> int:
        with store_errors():
            return int(self._client.head_object(Bucket=self._bucket, Key=key)["Metadata"].get(_LAST_SEQ, "0"))
