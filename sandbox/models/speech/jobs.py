"""Amazon Transcribe's batch operations: jobs that read a recording from a bucket and write its transcript there.

On AWS, EventBridge announces the end of a job. MiniStack takes no event that says it is from AWS, so here a job only
changes its state, and whoever started it has to look: as on AWS, where the announcement is best effort.
"""

import asyncio
import io
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import av
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.models.speech.duplex import ServiceError
from sandbox.models.speech.heard import Heard, HeardWord
from sandbox.models.speech.hearing import RATE, Ear, Utterance
from sandbox.models.speech.sonic import Behind

TARGET = "Transcribe."
START, GET, DELETE = "StartTranscriptionJob", "GetTranscriptionJob", "DeleteTranscriptionJob"
MISMATCH = "The media format provided does not match the detected media format."
NO_LANGUAGE = (
    "Your audio file must have a speech segment long enough in duration to perform automatic language identification. "
    "Provide an audio file with someone speaking for a longer period of time and try your request again."
)
NOT_FOUND = "The requested job couldn't be found. Check the job name and try your request again."
NO_ACCESS = (
    "The S3 URI that you provided can't be accessed. Make sure that you have read permission and try your request "
    "again."
)
_PAUSE = 0.8
# What libav calls the containers. The service takes more.
_FORMATS = {"wav": "wav", "mp3": "mp3", "webm": "matroska,webm"}
# What the local recognisers cannot do is refused rather than left out silently.
_KNOWN = {
    "TranscriptionJobName",
    "Media",
    "MediaFormat",
    "LanguageCode",
    "IdentifyLanguage",
    "OutputBucketName",
    "OutputKey",
    "OutputEncryptionKMSKeyId",
}


class Buckets(Protocol):
    """The part of a boto3 S3 client that jobs use."""

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        """A file."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> Any:
        """Keep a file."""


@dataclass
class Job:
    """One job as it stands now."""

    asked: dict[str, Any]
    state: str = "QUEUED"
    language: str | None = None
    reason: str | None = None
    created: float = field(default_factory=time.time)
    ended: float | None = None

    def document(self) -> dict[str, Any]:
        """The job as the service describes it."""
        asked = self.asked
        document = {
            "TranscriptionJobName": asked["TranscriptionJobName"],
            "TranscriptionJobStatus": self.state,
            "LanguageCode": self.language or asked.get("LanguageCode"),
            "IdentifyLanguage": asked.get("IdentifyLanguage"),
            "MediaFormat": asked["MediaFormat"],
            "Media": asked["Media"],
            "CreationTime": self.created,
            "CompletionTime": self.ended,
            "FailureReason": self.reason,
        }
        if self.state == "COMPLETED":
            place = f"{asked['OutputBucketName']}/{asked['OutputKey']}"
            document["Transcript"] = {"TranscriptFileUri": f"https://s3.amazonaws.com/{place}"}
        return {name: value for name, value in document.items() if value is not None}


class _Failed(Exception):
    """The job ends without a transcript; the message is the service's."""


class TranscriptionJobs:
    """The account's jobs. They live as long as the process."""

    def __init__(self, behind: Behind, buckets: Buckets | None) -> None:
        self._behind = behind
        self._buckets = buckets
        self._jobs: dict[str, Job] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, request: Request) -> Response:
        """The operations, by AWS's JSON 1.1 protocol: the operation's name stands in a header."""
        operation = request.headers.get("x-amz-target", "").removeprefix(TARGET)
        operations: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            START: self._start,
            GET: self._get,
            DELETE: self._delete,
        }
        headers = {"x-amzn-requestid": str(uuid.uuid4())}
        try:
            if operation not in operations:
                raise ServiceError(
                    "UnknownOperationException", f"The sandbox has no operation {operation or '?'}.", 400
                )
            if (fault := await self._behind.faults.meet("*", operation, "")) and fault.error:
                raise ServiceError(fault.error, "This fault was asked for by a test.", fault.status)
            answer = await operations[operation](await _json(request))
        except ServiceError as error:
            body = {"__type": error.kind, "Message": error.message}
            return JSONResponse(body, error.status, headers, media_type="application/x-amz-json-1.1")
        return JSONResponse(answer, headers=headers, media_type="application/x-amz-json-1.1")

    def close(self) -> None:
        """Stop what runs."""
        for task in self._running:
            task.cancel()

    async def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        if unknown := asked.keys() - _KNOWN:
            raise _bad(f"The sandbox's Transcribe has no {min(unknown)}.")
        if bool(asked.get("LanguageCode")) == bool(asked.get("IdentifyLanguage")):
            raise _bad("Give either LanguageCode or IdentifyLanguage.")
        if asked.get("MediaFormat") not in _FORMATS:
            raise _bad(f"The sandbox's Transcribe takes MediaFormat {', '.join(_FORMATS)}.")
        name = asked.get("TranscriptionJobName", "")
        if not (name and asked.get("OutputBucketName") and asked.get("OutputKey")):
            raise _bad("The sandbox's Transcribe needs TranscriptionJobName, OutputBucketName and OutputKey.")
        if name in self._jobs:
            raise ServiceError("ConflictException", "The requested job name already exists.", 400)
        job = Job(asked)
        content = await self._read(asked)
        self._jobs[name] = job
        task = asyncio.create_task(self._run(job, content))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return {"TranscriptionJob": job.document()}

    async def _get(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"TranscriptionJob": self._job(asked).document()}

    async def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._job(asked)
        del self._jobs[asked["TranscriptionJobName"]]
        return {}

    def _job(self, asked: dict[str, Any]) -> Job:
        job = self._jobs.get(asked.get("TranscriptionJobName", ""))
        if job is None:
            raise _bad(NOT_FOUND)
        return job

    async def _read(self, asked: dict[str, Any]) -> bytes:
        uri = asked.get("Media", {}).get("MediaFileUri", "")
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            if self._buckets is None:
                raise LookupError("this process knows no bucket")
            found = await run_in_threadpool(self._buckets.get_object, Bucket=bucket, Key=key)
            return bytes(await run_in_threadpool(found["Body"].read))
        except Exception as error:
            # Whatever S3 says, the service says this.
            raise _bad(NO_ACCESS) from error

    async def _run(self, job: Job, content: bytes) -> None:
        job.state = "IN_PROGRESS"
        try:
            result = await self._transcribe(job, content)
            await run_in_threadpool(
                self._buckets.put_object,  # type: ignore[union-attr]  # without buckets no job starts
                Bucket=job.asked["OutputBucketName"],
                Key=job.asked["OutputKey"],
                Body=json.dumps(result).encode(),
            )
            job.state = "COMPLETED"
        except _Failed as failure:
            job.state, job.reason = "FAILED", str(failure)
        except Exception as error:
            job.state, job.reason = "FAILED", f"Internal failure: {error}"
        finally:
            job.ended = time.time()

    async def _transcribe(self, job: Job, content: bytes) -> dict[str, Any]:
        pause = self._behind.settings.pause or _PAUSE
        utterances = await run_in_threadpool(_utterances, content, _FORMATS[job.asked["MediaFormat"]], pause)
        items: list[dict[str, Any]] = []
        sentences: list[str] = []
        for utterance in utterances:
            heard = await self._hear(utterance, job.asked.get("LanguageCode"))
            if not heard.words:
                continue
            job.language = job.language or heard.language
            sentences.append(heard.text)
            items += _items(heard, utterance.start)
        if job.language is None and not job.asked.get("LanguageCode"):
            raise _Failed(NO_LANGUAGE)
        language = job.asked.get("LanguageCode") or job.language
        results = {"language_code": language, "transcripts": [{"transcript": " ".join(sentences)}], "items": items}
        return {"jobName": job.asked["TranscriptionJobName"], "status": "COMPLETED", "results": results}

    async def _hear(self, utterance: Utterance, language: str | None) -> Heard:
        transcript = self._behind.settings.transcript
        if transcript is None:
            return await self._behind.recogniser.hear(utterance.pcm, language)
        words = transcript.rstrip(".?!").split()
        step = (utterance.end - utterance.start) / max(1, len(words))
        spread = [HeardWord(word, number * step, (number + 1) * step, 1.0) for number, word in enumerate(words)]
        return Heard(tuple(spread), language or "en-US")


def decode(content: bytes, container: str) -> Iterator[bytes]:
    """The sound of a file as PCM at RATE, piece by piece. Raises `ValueError` when it is no file of that container."""
    try:
        with av.open(io.BytesIO(content), "r") as file:
            if file.format.name != container or not file.streams.audio:
                raise ValueError(MISMATCH)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for frame in file.decode(audio=0):
                yield from (piece.to_ndarray().tobytes() for piece in resampler.resample(frame))
            yield from (piece.to_ndarray().tobytes() for piece in resampler.resample(None))
    except av.FFmpegError as error:
        raise ValueError(MISMATCH) from error


def _utterances(content: bytes, container: str, pause: float) -> list[Utterance]:
    ear = Ear(pause)
    try:
        found = [each for pcm in decode(content, container) for each in ear.feed(pcm)]
    except ValueError as error:
        raise _Failed(str(error)) from error
    return [each for each in [*found, *ear.finish()] if isinstance(each, Utterance)]


def _items(heard: Heard, start: float) -> Iterator[dict[str, Any]]:
    capital = True
    for word in heard.words:
        text = word.text[0].upper() + word.text[1:] if capital else word.text
        capital = False
        yield {
            "type": "pronunciation",
            "start_time": f"{start + word.start:.3f}",
            "end_time": f"{start + word.end:.3f}",
            "alternatives": [{"confidence": f"{word.confidence:.4f}", "content": text}],
        }
    yield {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": heard.mark}]}


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ServiceError("SerializationException", "The request is no JSON object.", 400)
    return body


def _bad(message: str) -> ServiceError:
    return ServiceError("BadRequestException", message, 400)
