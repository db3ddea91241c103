"""Uploaded recordings: their records in the conversations table, their files in the audio bucket.

A user's recordings lie in the user's own partition, beside the conversations:

    <subject>    recording#<id>    name, state, reason, size, language, seconds, created_at, updated_at, expires_at
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.conversation.turns import timestamp
from parley.errors import StoreUnavailable
from parley.speech.recording_formats import HEAD_BYTES
from parley.speech.recordings import FORM_SECONDS, LINK_SECONDS, UNSETTLED, Form, Recording, RecordingState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

SECONDS_PER_DAY = 86_400

PENDING_SECONDS = SECONDS_PER_DAY
"""How long a record waits for its file; the form to upload it with is valid for far less."""

_MISSING = frozenset({"404", "NoSuchKey"})
_OUT_OF_RANGE = "InvalidRange"


class RecordingTable:
    """The RecordingRecords protocol. `retention_days` counts from the upload."""

    def __init__(
        self, table: str, client: "DynamoDBClient", *, retention_days: int, now: Callable[[], datetime]
    ) -> None:
        self._table = table
        self._client = client
        self._retention_seconds = retention_days * SECONDS_PER_DAY
        self._now = now

    def add(self, recording: Recording) -> None:
        """See RecordingRecords."""
        item = {
            **_key(recording.subject, recording.recording_id),
            "name": recording.name,
            "state": recording.state.value,
            "size": recording.size,
            "language": recording.language,
            "created_at": recording.created_at,
            "updated_at": recording.updated_at,
            "expires_at": int(self._now().timestamp()) + min(PENDING_SECONDS, self._retention_seconds),
        }
        with store_errors():
            self._client.put_item(
                TableName=self._table, Item=to_item(item), ConditionExpression="attribute_not_exists(pk)"
            )

    def get(self, subject: str, recording_id: str) -> Recording | None:
        """See RecordingRecords."""
        with store_errors():
            found = self._client.get_item(
                TableName=self._table, Key=to_item(_key(subject, recording_id)), ConsistentRead=True
            )
        item = from_item(found["Item"]) if "Item" in found else None
        return _recording(item) if item is not None and self._is_alive(item) else None

    def page(self, subject: str, *, limit: int, before: str | None) -> list[Recording]:
        """See RecordingRecords."""
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :recording)",
            "ExpressionAttributeValues": to_item({":pk": subject, ":recording": "recording#"}),
            "ScanIndexForward": False,
        }
        if before is not None:
            query["ExclusiveStartKey"] = to_item(_key(subject, before))
        found: list[Recording] = []
        while True:
            with store_errors():
                page = self._client.query(**query, Limit=limit)
            found += [_recording(item) for item in map(from_item, page["Items"]) if self._is_alive(item)]
            # Expired records make a page shorter, never the list.
            if len(found) >= limit or not page.get("LastEvaluatedKey"):
                return found[:limit]
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def begin(self, subject: str, recording_id: str, *, size: int, seconds: float | None) -> bool:
        """See RecordingRecords."""
        return self._change(
            subject,
            recording_id,
            state=RecordingState.TRANSCRIBING.value,
            size=size,
            seconds=seconds and round(seconds, 3),
        )

    def finish(
        self, subject: str, recording_id: str, *, reason: str | None = None, language: str | None = None
    ) -> bool:
        """See RecordingRecords."""
        state = RecordingState.READY if reason is None else RecordingState.FAILED
        return self._change(subject, recording_id, state=state.value, reason=reason, language=language)

    def remove(self, subject: str, recording_id: str) -> None:
        """See RecordingRecords."""
        with store_errors():
            self._client.delete_item(TableName=self._table, Key=to_item(_key(subject, recording_id)))

    def _change(self, subject: str, recording_id: str, **values: Any) -> bool:
        """Set attributes of a record that is not settled; None leaves one as it is."""
        now = self._now()
        given = {name: value for name, value in values.items() if value is not None}
        given |= {"updated_at": timestamp(now), "expires_at": int(now.timestamp()) + self._retention_seconds}
        conditions = {f":unsettled{number}": state.value for number, state in enumerate(UNSETTLED)}
        try:
            with store_errors():
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item(_key(subject, recording_id)),
                    UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in given),
                    ConditionExpression=f"#state IN ({', '.join(conditions)})",
                    ExpressionAttributeNames={f"#{name}": name for name in given},
                    ExpressionAttributeValues=to_item(
                        {f":{name}": value for name, value in given.items()} | conditions
                    ),
                )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _is_alive(self, item: Mapping[str, Any]) -> bool:
        # DynamoDB removes expired items within days, not at once: until then they are hidden here.
        return bool(item["expires_at"] > self._now().timestamp())


class RecordingBucket:
    """The RecordingFiles protocol over the audio bucket."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    def upload_form(self, key: str, *, max_bytes: int, media_type: str) -> Form:
        """See RecordingFiles. Made without a call to S3."""
        form = self._client.generate_presigned_post(
            self._bucket,
            key,
            Fields={"Content-Type": media_type},
            # An empty file is taken: its record then says so, where S3 would answer in XML.
            Conditions=[{"Content-Type": media_type}, ["content-length-range", 0, max_bytes]],
            ExpiresIn=FORM_SECONDS,
        )
        return Form(form["url"], form["fields"])

    def link(self, key: str, *, media_type: str, filename: str) -> str:
        """See RecordingFiles. Made without a call to S3; it ends with the signer's credentials, if these end sooner."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentType": media_type,
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
            },
            ExpiresIn=LINK_SECONDS,
        )

    def head(self, key: str) -> tuple[int, bytes] | None:
        """See RecordingFiles."""
        with store_errors():
            try:
                response = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes=0-{HEAD_BYTES - 1}")
                with response["Body"] as body:
                    content = body.read()
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                # No byte of an empty file can be asked for.
                if error_code(error) == _OUT_OF_RANGE:
                    return 0, b""
                raise
        # "bytes 0-65535/1234567"
        _, _, size = response.get("ContentRange", "").rpartition("/")
        return int(size or len(content)), content

    def read(self, key: str) -> bytes | None:
        """See RecordingFiles."""
        with store_errors():
            try:
                with self._client.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
                    return body.read()
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise

    def write(self, key: str, content: bytes) -> None:
        """See RecordingFiles."""
        with store_errors():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType="application/json")

    def remove(self, keys: Sequence[str]) -> None:
        """See RecordingFiles."""
        with store_errors():
            response = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        if response.get("Errors"):
            raise StoreUnavailable


def _key(subject: str, recording_id: str) -> dict[str, str]:
    return {"pk": subject, "sk": f"recording#{recording_id}"}


def _recording(item: Mapping[str, Any]) -> Recording:
    return Recording(
        subject=item["pk"],
        recording_id=item["sk"].removeprefix("recording#"),
        name=item["name"],
        state=RecordingState(item["state"]),
        reason=item.get("reason"),
        size=item["size"],
        language=item.get("language"),
        seconds=item.get("seconds"),
        created_at=item["created_at"],
        updated_at=item["updated_at"],
    )
