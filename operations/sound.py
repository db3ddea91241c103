"""Recordings as files: read as what Parley's sessions take, written as what comes back."""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from parley_client import INPUT_RATE, OUTPUT_RATE

from operations.environment import OperationError

PIECE_SECONDS = 0.09
"""What is read at a time: the length of an audio frame."""


def duration(path: Path) -> float:
    """Seconds of a recording. Raises OperationError when it is none."""
    with _open(path) as recording:
        return float(recording.frames / recording.samplerate)


def read(path: Path) -> Iterator[bytes]:
    """A recording of any rate, width and number of channels, in pieces of PIECE_SECONDS: PCM, 16-bit mono, INPUT_RATE.

    Raises OperationError when it cannot be read.
    """
    with _open(path) as recording:
        resampler = soxr.ResampleStream(recording.samplerate, INPUT_RATE, 1, dtype="float32")
        rest = b""
        size = round(PIECE_SECONDS * INPUT_RATE) * 2
        for block in recording.blocks(recording.samplerate, dtype="float32", always_2d=True):
            rest += _pcm(resampler.resample_chunk(block.mean(axis=1)))
            while len(rest) >= size:
                yield rest[:size]
                rest = rest[size:]
        rest += _pcm(resampler.resample_chunk(np.empty(0, np.float32), last=True))
        for start in range(0, len(rest), size):
            yield rest[start : start + size]


def write(path: Path, pcm: bytes) -> None:
    """A WAV file of what the assistant said. Raises OperationError when it cannot be written."""
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(OUTPUT_RATE)
            file.writeframes(pcm)
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from error


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise OperationError(f"{path} is no file.")
    try:
        recording = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise OperationError(f"{path} holds no sound that can be read ({reason}): give a WAV file.") from error
    if not recording.frames:
        recording.close()
        raise OperationError(f"{path} holds no sound: it is empty.")
    return recording


def _pcm(samples: np.ndarray) -> bytes:
    # What is no number, as a broken float file has it, is silence.
    whole = np.nan_to_num(samples.astype(np.float32) * 32_768, nan=0.0)
    return np.clip(np.rint(whole), -32_768, 32_767).astype("<i2").tobytes()
