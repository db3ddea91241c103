"""Measuring: marks in the audio that say what it is, so that no detector has to find out.

With the setting `cues`, each frame begins with a mark (`mark`) that names its call, its number, and whether speech
begins or ends in it. Nova Sonic then takes its turns from the marks, and notes when each one arrived:
`GET /_speech/arrivals`.
"""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sandbox.models.speech.audio import BYTES_A_SAMPLE, seconds
from sandbox.models.speech.hearing import RATE, Began, Utterance

type Cue = Literal["", "begins", "ends"]

_MAGIC = b"\x81\x7e\x3c\xc3\x99\x66"
_FORMAT = struct.Struct("<6sHHI")
_CUES: tuple[Cue, ...] = ("", "begins", "ends")
MARK_BYTES = _FORMAT.size


def mark(call: int, number: int, cue: Cue = "") -> bytes:
    """The first samples of a frame: the call's id (to 65,535), the frame's number in it, and what happens in it."""
    return _FORMAT.pack(_MAGIC, call, _CUES.index(cue), number)


@dataclass
class Arrivals:
    """When marked frames arrived, as seconds since the epoch, in their order: by call, numbers and times."""

    by_call: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    def note(self, call: int, number: int) -> None:
        """A frame arrived now."""
        self.by_call.setdefault(call, []).append((number, self.now()))

    def clear(self) -> None:
        """Forget them."""
        self.by_call.clear()


class MarkedEar:
    """Hears marks where `hearing.Ear` hears speech."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._began = 0.0
        self.position = 0.0

    def feed(self, pcm: bytes) -> list[Began | Utterance]:
        """What the next samples brought."""
        self.position += seconds(pcm, RATE)
        data = self._rest + pcm
        found: list[Began | Utterance] = []
        at = data.find(_MAGIC)
        while 0 <= at <= len(data) - MARK_BYTES:
            _, call, cue, number = _FORMAT.unpack_from(data, at)
            self._arrivals.note(call, number)
            found += self._meaning(cue)
            at = data.find(_MAGIC, at + MARK_BYTES)
        # A mark may come in two pieces; one that was read must not be found again.
        self._rest = data[max(at, 0) :] if at >= 0 else data[-(len(_MAGIC) - 1) :]
        return found

    def finish(self) -> list[Began | Utterance]:
        """A stream's end cuts nothing off."""
        return []

    def _meaning(self, cue: int) -> list[Began | Utterance]:
        if cue == _CUES.index("begins"):
            self._began = self.position
            return [Began(self.position)]
        if cue == _CUES.index("ends"):
            length = round((self.position - self._began) * RATE) * BYTES_A_SAMPLE
            return [Utterance(bytes(length), self._began, self.position)]
        return []
