"""16-bit mono PCM: its rate, its length, its container formats."""

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

BYTES_A_SAMPLE = 2


def seconds(pcm: bytes, rate: int) -> float:
    """How long the samples last."""
    return len(pcm) / (BYTES_A_SAMPLE * rate)


def resample(pcm: bytes, rate: int, wanted: int) -> bytes:
    """The same sound at another rate."""
    if rate == wanted or not pcm:
        return pcm
    return _pcm(soxr.resample(_samples(pcm), rate, wanted))


class Resampler:
    """Takes a stream to another rate, piece by piece; the last few milliseconds stay inside."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32")

    def feed(self, pcm: bytes) -> bytes:
        """The next samples at the wanted rate."""
        return pcm if self._stream is None else _pcm(self._stream.resample_chunk(_samples(pcm)))


def encode(pcm: bytes, rate: int, *, container: str, subtype: str) -> bytes:
    """The samples in a container that libsndfile writes, for example `MP3` with `MPEG_LAYER_III`."""
    file = io.BytesIO()
    soundfile.write(file, _samples(pcm), rate, format=container, subtype=subtype)
    return file.getvalue()


def _samples(pcm: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32_768)


def _pcm(samples: NDArray[np.float32]) -> bytes:
    return np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()
