"""Batch transcription by Amazon Transcribe."""

from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.speech.recording_formats import Format
from parley.speech.recordings import Job, JobRefused

if TYPE_CHECKING:
    from mypy_boto3_transcribe.client import TranscribeServiceClient
    from mypy_boto3_transcribe.type_defs import TranscriptionJobTypeDef

_STATES: dict[str, Literal["completed", "failed"]] = {"COMPLETED": "completed", "FAILED": "failed"}
_NOT_THERE = frozenset({"NotFoundException", "BadRequestException"})
"""What the service answers about a job that it does not know: the one by its reference, the other in fact."""


class TranscribeJobs:
    """The TranscriptionJobs protocol.

    Jobs are named `<prefix><recording id>`: starting one twice is refused, so a repeated event starts no second one.
    The service reads and writes with the caller's own permissions on the bucket, and encrypts what it writes under
    `encryption_key` (an ARN); without one it would use S3's own key.
    """

    def __init__(self, client: "TranscribeServiceClient", *, bucket: str, prefix: str, encryption_key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._encryption_key = encryption_key

    def start(self, recording_id: str, *, key: str, result: str, format: Format, language: str | None) -> None:
        """See TranscriptionJobs."""
        # The client's types list the languages that the release of the SDK knew.
        spoken: Any = {"LanguageCode": language} if language else {"IdentifyLanguage": True}
        try:
            with store_errors():
                self._client.start_transcription_job(
                    TranscriptionJobName=self._name(recording_id),
                    Media={"MediaFileUri": f"s3://{self._bucket}/{key}"},
                    MediaFormat=format,
                    OutputBucketName=self._bucket,
                    OutputKey=result,
                    OutputEncryptionKMSKeyId=self._encryption_key,
                    **spoken,
                )
        except ClientError as error:
            if error_code(error) == "BadRequestException":
                raise JobRefused from error
            if error_code(error) != "ConflictException":
                raise

    def find(self, recording_id: str) -> Job | None:
        """See TranscriptionJobs."""
        job = self._find(self._name(recording_id))
        if job is None:
            return None
        return Job(
            state=_STATES.get(job.get("TranscriptionJobStatus", ""), "running"),
            reason=job.get("FailureReason"),
            language=job.get("LanguageCode"),
        )

    def file_of(self, name: str) -> str | None:
        """The file that a job of this name reads, by its key; None when there is no such job, or it is not ours.

        Raises StoreUnavailable.
        """
        found = self._find(name)
        uri = found.get("Media", {}).get("MediaFileUri", "") if found else ""
        ours = f"s3://{self._bucket}/"
        return uri.removeprefix(ours) if uri.startswith(ours) else None

    def remove(self, recording_id: str) -> None:
        """See TranscriptionJobs."""
        try:
            with store_errors():
                self._client.delete_transcription_job(TranscriptionJobName=self._name(recording_id))
        except ClientError as error:
            if error_code(error) not in _NOT_THERE:
                raise

    def _find(self, name: str) -> "TranscriptionJobTypeDef | None":
        try:
            with store_errors():
                return self._client.get_transcription_job(TranscriptionJobName=name)["TranscriptionJob"]
        except ClientError as error:
            if error_code(error) in _NOT_THERE:
                return None
            raise

    def _name(self, recording_id: str) -> str:
        return f"{self._prefix}{recording_id}"
