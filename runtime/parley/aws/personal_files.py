"""What is a user's in the buckets, every version of it, and the archives that an export gives."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.recordings import RecordingTable
from parley.errors import StoreUnavailable
from parley.knowledge.documents import owner_of
from parley.privacy.export import Sink
from parley.privacy.holdings import Part
from parley.speech.recordings import source_key, transcript_key

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

EXPORTS = "exports"
"""The folder of exports in the documents bucket."""

LINK_SECONDS = 15 * 60
"""How long a link to an archive opens it."""

PART_BYTES = 16 * 1024 * 1024
"""Of a multipart upload: 10,000 of them at most make 160 GB."""

_BLOCK = 1024 * 1024
_DELETE_BATCH = 1_000
_RECORDINGS_PAGE = 100


class Files:
    """The files of one versioned bucket."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    def keys(self, prefix: str) -> list[str]:
        """The keys of the current files under a prefix, in order. Raises StoreUnavailable."""
        with store_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> Iterator[bytes]:
        """The content of a file, block by block; nothing of one that has gone meanwhile. Raises StoreUnavailable."""
        with store_errors():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if error_code(error) in ("404", "NoSuchKey"):
                    return
                raise
            with body:
                yield from body.iter_chunks(_BLOCK)

    def erase(self, prefix: str, *, current: bool = True) -> Iterator[int]:
        """Delete every version of every file under a prefix; each step says how many. Raises StoreUnavailable.

        With `current` false, current files stay, and what was replaced or deleted goes.
        """
        with store_errors():
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
            # Listed first: deleting changes what a listing goes on with.
            versions: list[Any] = []
            for page in pages:
                versions += [each for each in page.get("Versions", []) if current or not each["IsLatest"]]
                versions += page.get("DeleteMarkers", [])
            for batch in batched(versions, _DELETE_BATCH):
                objects: Any = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in batch]
                response = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": objects, "Quiet": True},
                )
                if response.get("Errors"):
                    raise StoreUnavailable
                yield len(batch)


class UserFolders:
    """Folders of a bucket that are one user's; their names follow from the subject."""

    def __init__(self, name: str, files: Files, *folders: str) -> None:
        """`folders` hold `{owner}` where the owner stands."""
        self.name = name
        self._files = files
        self._folders = folders

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding."""
        for folder in self._folders:
            yield from self._files.erase(folder.format(owner=owner_of(subject), subject=subject))


class Recordings:
    """Uploaded recordings and their transcripts."""

    name = "recordings"

    def __init__(self, files: Files, records: RecordingTable) -> None:
        self._files = files
        self._records = records

    def erase(self, subject: str) -> Iterator[int]:
        """See Holding: the files; the records are found with what else is in the user's partition."""
        for key in (source_key(subject, ""), transcript_key(subject, "")):
            yield from self._files.erase(key.rsplit("/", 1)[0] + "/")

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """See Exportable: the transcript and the file of each, the newest first."""
        before = after or None
        while page := self._records.page(subject, limit=_RECORDINGS_PAGE, before=before):
            for recording in page:
                id_ = recording.recording_id
                transcript = b"".join(self._files.read(transcript_key(subject, id_)))
                if transcript:
                    yield Part(before or "", f"{id_}/transcript.json", [transcript])
                yield Part(id_, f"{id_}/{recording.name}", self._files.read(source_key(subject, id_)))
                before = id_


class BucketArchives:
    """The Archives protocol: `exports/<owner>/<export id>/<number>.zip`."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    def key(self, subject: str, export_id: str, number: int) -> str:
        """See Archives."""
        return f"{EXPORTS}/{owner_of(subject)}/{export_id}/{number:04d}.zip"

    def link(self, key: str, *, filename: str) -> str:
        """A link that downloads an archive. Made without a call to S3; it ends with the signer's credentials, if these
        end sooner."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentType": "application/zip",
                "ResponseContentDisposition": f'attachment; filename="{filename}"',
            },
            ExpiresIn=LINK_SECONDS,
        )

    @contextmanager
    def create(self, key: str) -> Iterator[Sink]:
        """See Archives: a multipart upload, which is nothing until it is completed."""
        with store_errors():
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType="application/zip")
            sink = _Upload(self._client, self._bucket, key, begun["UploadId"])
            try:
                yield sink
                sink.complete()
            except BaseException:
                # What is left behind when this fails too, the bucket's lifecycle rule removes.
                with suppress(BotoCoreError, ClientError):
                    sink.abort()
                raise


class _Upload:
    """The Sink protocol over a multipart upload."""

    def __init__(self, client: "S3Client", bucket: str, key: str, upload_id: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._waiting = bytearray()
        self._parts: list[Any] = []

    def write(self, data: bytes, /) -> int:
        """See Sink."""
        self._waiting += data
        while len(self._waiting) >= PART_BYTES:
            self._send(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
        return len(data)

    def flush(self) -> None:
        """See Sink."""

    def complete(self) -> None:
        """Send the rest, and make a file of it all."""
        self._send(bytes(self._waiting))
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        """Give up what was sent."""
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def _send(self, content: bytes) -> None:
        number = len(self._parts) + 1
        sent = self._client.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=content
        )
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
