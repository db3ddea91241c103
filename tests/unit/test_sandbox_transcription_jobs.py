"""The AI endpoints' batch transcription, asked by AWS's own SDK: WAV, MP3 and WebM, errors and failures."""

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
import boto3
import httpx
import numpy as np
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError
from parley.speech.recording_formats import inspect
from parley.speech.transcripts import transcript_of

from sandbox.models.app import create_models
from sandbox.models.speech.espeak import espeak
from sandbox.server import bind
from tests.unit.test_recording_formats import wav

SAID = "the quick brown fox"
SECONDS = 60


class Buckets:
    """S3 in memory."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        return {"Body": io.BytesIO(self.files[Bucket, Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> Any:
        self.files[Bucket, Key] = Body


class Service:
    """The endpoints on a port of their own."""

    def __init__(self) -> None:
        self.buckets = Buckets()
        listener = bind(0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.server = uvicorn.Server(
            uvicorn.Config(create_models("127.0.0.1:1", buckets=self.buckets), log_level="warning")
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()
        self.client = boto3.client(
            "transcribe",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="s",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def start(self, content: bytes, format: str, **asked: Any) -> str:
        name = f"job-{len(self.buckets.files)}"
        self.buckets.files["audio", name] = content
        spoken = {"LanguageCode": "en-US"} if "IdentifyLanguage" not in asked else {}
        self.client.start_transcription_job(
            **{
                "TranscriptionJobName": name,
                "Media": {"MediaFileUri": f"s3://audio/{name}"},
                "MediaFormat": format,
                "OutputBucketName": "audio",
                "OutputKey": f"{name}.json",
                **spoken,
                **asked,
            }
        )
        return name

    def ended(self, name: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            job: Any = self.client.get_transcription_job(TranscriptionJobName=name)["TranscriptionJob"]
            if job["TranscriptionJobStatus"] in ("COMPLETED", "FAILED"):
                return job
            time.sleep(0.05)
        raise AssertionError("The job did not end.")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.should_exit = True
    service.thread.join()


def spoken(container: str, codec: str, rate: int) -> bytes:
    """Somebody speaking, with silence around it, in a file of this container."""
    speech = espeak().speak(SAID, "en-us")
    samples = np.frombuffer(speech.pcm, dtype="<i2")
    quiet = np.zeros(speech.rate, dtype=np.int16)
    samples = np.concatenate([quiet, samples, quiet])
    file = io.BytesIO()
    with av.open(file, "w", format=container) as writer:
        stream: Any = writer.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = speech.rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            writer.mux(stream.encode(piece))
        writer.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 16_000),
        ("wav", "pcm_s16le", 44_100),
        ("mp3", "libmp3lame", 24_000),
        ("webm", "libopus", 48_000),
    ],
)
def test_recordings_of_every_format_are_heard(service: Service, container: Any, codec: str, rate: int) -> None:
    content = spoken(container, codec, rate)
    # What the assistant takes for this format is what the service decodes as it.
    assert inspect(content[:65_536], len(content), named=container).format == container
    job = service.ended(service.start(content, container))
    assert job["TranscriptionJobStatus"] == "COMPLETED", job
    result = service.buckets.files["audio", job["TranscriptionJobName"] + ".json"]
    transcript = transcript_of(result, language="en-US")
    assert transcript.language == "en-US"
    assert transcript.text
    [first, *_] = transcript.segments
    # A second of silence comes before the words.
    assert 0.5 < first.start < first.end < 4


def test_a_language_is_found(service: Service) -> None:
    job = service.ended(service.start(spoken("wav", "pcm_s16le", 16_000), "wav", IdentifyLanguage=True))
    assert (job["TranscriptionJobStatus"], job["LanguageCode"]) == ("COMPLETED", "en-US")


def test_silence_has_no_language(service: Service) -> None:
    silence = wav(2)
    job = service.ended(service.start(silence, "wav", IdentifyLanguage=True))
    assert job["TranscriptionJobStatus"] == "FAILED"
    assert "automatic language identification" in job["FailureReason"]
    assert service.ended(service.start(silence, "wav"))["TranscriptionJobStatus"] == "COMPLETED"


@pytest.mark.parametrize(("content", "format"), [(b"no sound at all", "mp3"), (b"", "wav")])
def test_what_is_no_recording_fails(service: Service, content: bytes, format: str) -> None:
    job = service.ended(service.start(content, format))
    assert job["TranscriptionJobStatus"] == "FAILED"
    assert "does not match the detected media format" in job["FailureReason"]


def test_another_container_than_was_said_fails(service: Service) -> None:
    job = service.ended(service.start(spoken("wav", "pcm_s16le", 16_000), "mp3"))
    assert "does not match the detected media format" in job["FailureReason"]


def refusal(call: Any, **asked: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        call(**asked)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_jobs_are_deleted_and_unknown_ones_are_refused(service: Service) -> None:
    name = service.start(spoken("wav", "pcm_s16le", 16_000), "wav")
    service.ended(name)
    service.client.delete_transcription_job(TranscriptionJobName=name)
    for call in (service.client.get_transcription_job, service.client.delete_transcription_job):
        code, message = refusal(call, TranscriptionJobName=name)
        assert code == "BadRequestException"
        assert "couldn't be found" in message


def test_a_name_is_used_once(service: Service) -> None:
    content = spoken("wav", "pcm_s16le", 16_000)
    name = service.start(content, "wav")
    assert refusal(service.start, content=content, format="wav", TranscriptionJobName=name)[0] == "ConflictException"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"MediaFormat": "flac"}, "MediaFormat"),
        ({"IdentifyLanguage": True, "LanguageCode": "en-US"}, "either"),
        ({"Settings": {"ShowSpeakerLabels": True, "MaxSpeakerLabels": 2}}, "Settings"),
        ({"Media": {"MediaFileUri": "s3://audio/nothing"}}, "can't be accessed"),
        ({"OutputBucketName": ""}, "needs"),
    ],
)
def test_what_the_sandbox_cannot_do_is_refused(service: Service, asked: dict[str, Any], part: str) -> None:
    code, message = refusal(service.start, content=b"RIFF", **{"format": "wav"} | asked)
    assert code == "BadRequestException"
    assert part in message


def test_faults_are_met(service: Service) -> None:
    fault = {"operation": "GetTranscriptionJob", "error": "LimitExceededException"}
    httpx.post(f"{service.url}/_faults", json=fault).raise_for_status()
    assert refusal(service.client.get_transcription_job, TranscriptionJobName="x")[0] == "LimitExceededException"


def test_other_operations_are_unknown(service: Service) -> None:
    assert refusal(service.client.list_transcription_jobs)[0] == "UnknownOperationException"
