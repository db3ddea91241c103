"""Speech at 16 kHz made speech at 24 kHz: some voices of Polly have no more."""

import math
from array import array
from collections.abc import Sequence

_REACH = 4
"""Samples on each side that an output sample is made of: enough for speech, and cheap in plain Python."""


def _weights(fraction: float) -> tuple[float, ...]:
    """What the samples around a point between two of them count there: a sinc under a Hann window, summing to one."""
    found = []
    for tap in range(1 - _REACH, _REACH + 1):
        distance = fraction - tap
        window = math.cos(math.pi * distance / (2 * _REACH)) ** 2
        found.append(window * math.sin(math.pi * distance) / (math.pi * distance))
    total = sum(found)
    return tuple(weight / total for weight in found)


_EARLY, _LATE = _weights(2 / 3), _weights(1 / 3)


class Upsampler:
    """Takes 16-bit mono PCM at 16 kHz piece by piece, and gives it at 24 kHz.

    Two samples become three: the first stays, the others lie at two thirds and at four thirds of the way from it.
    """

    def __init__(self) -> None:
        self._samples = array("h", [0] * (_REACH - 1))
        self._half = b""
        self._left = 0.0

    def feed(self, pcm: bytes) -> bytes:
        """What can be told of the sound by now."""
        data = self._half + pcm
        whole = len(data) - len(data) % 2
        self._half = data[whole:]
        self._samples.frombytes(data[:whole])
        self._left += whole / 2 * 1.5
        found = self._between()
        self._left -= len(found) / 2
        return found

    def finish(self) -> bytes:
        """The rest of the sound, with which it ends."""
        self._samples.extend([0] * (2 * _REACH + 2))
        return self._between()[: 2 * math.ceil(self._left)]

    def _between(self) -> bytes:
        pairs = max(0, (len(self._samples) - 2 * _REACH + 1) // 2)
        columns = [self._samples[start : start + 2 * pairs : 2] for start in range(2 * _REACH + 1)]
        output = array("h", bytes(6 * pairs))
        output[0::3] = columns[_REACH - 1]
        output[1::3] = _weighted(_EARLY, columns[:-1])
        output[2::3] = _weighted(_LATE, columns[1:])
        self._samples = self._samples[2 * pairs :]
        return output.tobytes()


def _weighted(weights: tuple[float, ...], columns: "Sequence[array[int]]") -> "array[int]":
    a, b, c, d, e, f, g, h = weights
    # Written out: this runs for every sample that is spoken.
    sums = [
        a * q + b * r + c * s + d * t + e * u + f * v + g * w + h * x
        for q, r, s, t, u, v, w, x in zip(*columns, strict=True)
    ]
    return array("h", [max(-32_768, min(32_767, round(value))) for value in sums])
