"""Calls of the deployed assistant on each of its speech engines: a person's recording is spoken to it, and archived."""

import io
import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations import talk
from tests.sandbox.people import Sandbox

RECORDING = Path(__file__).parents[1] / "web" / "recordings" / "go-forward.wav"
SENTENCE = "Go forward ten meters."
PATIENCE_SECONDS = 120

# What the recogniser listens for is the whole sandbox's.
pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def listening(sandbox: Sandbox) -> Iterator[None]:
    """The recogniser hears these sentences and nothing else."""
    control = f"{sandbox.outputs['models_url']}/_speech"

    def listen(grammar: list[str], pause: float | None) -> None:
        body = {"listen": {"grammar": grammar}, "pause": pause}
        httpx.post(control, json=body, timeout=60, trust_env=False).raise_for_status()

    listen([SENTENCE, "Ten of clubs."], 0.5)
    yield
    listen([], None)


@pytest.mark.parametrize("engine", ["nova-sonic", "cascade"])
def test_an_engine_hears_a_person_answers_and_what_both_said_is_archived(
    sandbox: Sandbox, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    # On a busy machine a worker may need more than the seconds that a client waits for it.
    while (status := talk.main([str(RECORDING), "--engine", engine, "--json", "--patience", "90"])) == talk.NOT_DONE:
        assert time.monotonic() < end, capsys.readouterr().err

    printed = capsys.readouterr()
    assert status == 0, printed.err
    said: dict[str, Any] = json.loads(printed.out)
    assert SENTENCE in [each["text"] for each in said["said"] if each["role"] == "user" and each["final"]]
    assert said["answers"][0]["text"]
    assert said["answer_seconds"] > 1
    heard, spoken = _archived(sandbox, said["session_id"])
    with wave.open(str(RECORDING)) as recording:
        pcm = recording.readframes(recording.getnframes())
    assert heard.getframerate() == 16_000
    assert pcm[: len(pcm) // 2] in heard.readframes(heard.getnframes()), "the person is not in the archive"
    assert spoken.getframerate() == 24_000
    assert spoken.getnframes() / 24_000 == pytest.approx(said["answer_seconds"], abs=0.5)


def _archived(sandbox: Sandbox, session_id: str) -> tuple[wave.Wave_read, wave.Wave_read]:
    """The first segments of a session's input and output; they are written within half a minute, or at its end."""
    s3, bucket = sandbox.aws("s3"), sandbox.function("voice_worker")["Environment"]["Variables"]["AUDIO_BUCKET"]
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{session_id}/").get("Contents", [])
        keys = sorted(each["Key"] for each in listed)
        found = [[key for key in keys if key.endswith(f"_{direction}.wav")] for direction in ("input", "output")]
        if all(found):
            break
        assert time.monotonic() < end, keys
        time.sleep(0.5)
    first = [s3.get_object(Bucket=bucket, Key=direction[0])["Body"].read() for direction in found]
    return wave.open(io.BytesIO(first[0])), wave.open(io.BytesIO(first[1]))


def test_the_page_is_told_of_the_languages(sandbox: Sandbox) -> None:
    config = httpx.get(f"{sandbox.outputs['web_url']}config.json", trust_env=False).json()

    assert config["voice"] is True
    assert config["languages"] == ["en-US", "en-GB"]
