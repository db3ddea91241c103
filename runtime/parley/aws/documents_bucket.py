"""Documents' files on S3."""

from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.errors import StoreUnavailable
from parley.knowledge.ports import StoredFile, Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

UPLOAD_SECONDS = 15 * 60
"""How long an upload form is valid."""

_DELETE_BATCH = 1_000
_MISSING = frozenset({"404", "NoSuchKey"})


class DocumentsBucket:
    """The DocumentsStore protocol over one bucket, which should be versioned."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    def describe(self, key: str) -> StoredFile | None:
        """See DocumentsStore."""
        with store_errors():
            try:
                return _stored(self._client.head_object(Bucket=self._bucket, Key=key))
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise

    def read(self, key: str, *, max_bytes: int) -> tuple[StoredFile, bytes] | None:
        """See DocumentsStore."""
        with store_errors():
            try:
                response = self._client.get_object(Bucket=self._bucket, Key=key)
                file = _stored(response)
                with response["Body"] as body:
                    return file, body.read() if file.size <= max_bytes else b""
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise

    def write(self, key: str, content: bytes, media_type: str) -> None:
        """See DocumentsStore."""
        with store_errors():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType=media_type)

    def upload_form(self, key: str, *, max_bytes: int, media_type: str) -> Upload:
        """See DocumentsStore. Made without a call to S3."""
        form = self._client.generate_presigned_post(
            self._bucket,
            key,
            Fields={"Content-Type": media_type},
            Conditions=[{"Content-Type": media_type}, ["content-length-range", 1, max_bytes]],
            ExpiresIn=UPLOAD_SECONDS,
        )
        return Upload(form["url"], form["fields"], UPLOAD_SECONDS)

    def link(self, key: str, *, media_type: str, disposition: str, expires_in: int) -> str:
        """See FileLinks. Made without a call to S3; it ends with the signer's credentials, if these end sooner."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentType": media_type,
                "ResponseContentDisposition": disposition,
            },
            ExpiresIn=expires_in,
        )

    def delete_folder(self, prefix: str, *, keep: str | None = None) -> None:
        """See DocumentsStore."""
        with store_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"] != keep]
            for batch in batched(keys, _DELETE_BATCH):
                response = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
                if response.get("Errors"):
                    raise StoreUnavailable


def _stored(response: Any) -> StoredFile:
    """A file's description. Without bucket versioning, equal content written again counts as a new version."""
    version = response.get("VersionId")
    if version is None or version == "null":
        version = f"{response['ETag'].strip('"')}-{int(response['LastModified'].timestamp())}"
    return StoredFile(version, response["ContentLength"])
