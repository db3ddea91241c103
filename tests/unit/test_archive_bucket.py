"""The archive of live sessions on S3: what is written there, once, and which failures pass."""

import io
import wave
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from parley.aws.audio_archive import BucketArchive
from parley.errors import StoreUnavailable
from parley.speech.archive import (
    ArchivedInput,
    Segment,
    segment_key,
    wav,
)

from tests.unit.virtual_time import run_virtual

SESSION = "session-1"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", "us-east-1")
        client.create_bucket(Bucket="audio")
        yield client


def test_segments_on_s3_are_wav_files_that_are_written_once(s3: Any) -> None:
    async def check() -> None:
        archive = BucketArchive("audio", s3)
        assert await archive.newest_input(SESSION) is None
        first = Segment(direction="input", started_at=1_800_000_000_000, pcm=b"\1\0" * 16_000, last_seq=11)
        assert await archive.write(SESSION, first) == 11
        longer = Segment(direction="input", started_at=first.started_at, pcm=b"\1\0" * 32_000, last_seq=22)
        assert await archive.write(SESSION, longer) == 11
        second = Segment(direction="input", started_at=first.started_at + 1_000, pcm=b"\2\0", last_seq=12)
        await archive.write(SESSION, second)
        await archive.write(SESSION, Segment(direction="output", started_at=first.started_at + 2_000, pcm=b"\3\0"))
        await archive.write("session-12", longer)
        assert await archive.newest_input(SESSION) == ArchivedInput(second.started_at, 12)
        stored = s3.get_object(Bucket="audio", Key=segment_key(SESSION, first))["Body"].read()
        with wave.open(io.BytesIO(stored)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 16_000)

    run_virtual(check())


def test_output_has_its_own_rate() -> None:
    with wave.open(io.BytesIO(wav(Segment(direction="output", started_at=0, pcm=bytes(48_000))))) as file:
        assert file.getnframes() / file.getframerate() == 1


class Failing:
    """An S3 client that fails."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def put_object(self, **_: Any) -> None:
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (EndpointConnectionError(endpoint_url="https://s3"), StoreUnavailable),
        (ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject"), StoreUnavailable),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), ClientError),
    ],
)
def test_failures_of_s3_are_told_apart(failure: Exception, raised: type[Exception]) -> None:
    client: Any = Failing(failure)
    with pytest.raises(raised):
        run_virtual(BucketArchive("audio", client).write(SESSION, Segment(direction="output", started_at=0, pcm=b"")))
