"""Finds utterances in a stream of 16 kHz samples: when somebody begins to speak, and when they have finished."""

from dataclasses import dataclass

from pocketsphinx import Vad

from sandbox.models.speech.audio import BYTES_A_SAMPLE

RATE = 16_000
_FRAME = 0.03
# Of the last 8 frames so many must hold speech for it to have begun: clicks are shorter.
_WINDOW, _ENOUGH = 8, 5
# Speech is only noticed after its beginning: so much before is kept with it.
_LEAD = 0.45
# WebRTC's detector has modes 0 to 3; 3 takes least noise for speech.
_STRICTNESS = 3
# A recogniser's memory: nobody speaks longer than this without a pause, so an utterance is cut there.
LONGEST = 30.0


@dataclass(frozen=True)
class Began:
    """Somebody began to speak, `at` seconds after the start of the stream."""

    at: float


@dataclass(frozen=True)
class Utterance:
    """What was said, with a little silence around it; `start` and `end` in seconds of the stream."""

    pcm: bytes
    start: float
    end: float


class Ear:
    """Hears one stream; `pause` seconds without speech end an utterance."""

    def __init__(self, pause: float) -> None:
        self._vad = Vad(mode=_STRICTNESS, sample_rate=RATE, frame_length=_FRAME)
        self._bytes: int = self._vad.frame_bytes
        self._length = self._bytes / BYTES_A_SAMPLE / RATE
        self._pause = max(1, round(pause / self._length))
        self._lead = round(_LEAD / self._length)
        self._rest = b""
        self._recent: list[bool] = []
        self._frames: list[bytes] = []
        self._speaking = False
        self._quiet = 0
        self.position = 0.0

    @property
    def speaking(self) -> bool:
        """Is somebody in the middle of an utterance?"""
        return self._speaking

    @property
    def so_far(self) -> Utterance:
        """The utterance that is going on."""
        return self._utterance()

    def feed(self, pcm: bytes) -> list[Began | Utterance]:
        """What the next samples brought."""
        found: list[Began | Utterance] = []
        data = self._rest + pcm
        whole = len(data) - len(data) % self._bytes
        self._rest = data[whole:]
        for start in range(0, whole, self._bytes):
            found.extend(self._frame(data[start : start + self._bytes]))
        return found

    def finish(self) -> list[Began | Utterance]:
        """The utterance that the stream's end cuts off, if any."""
        if not self._speaking:
            return []
        utterance = self._utterance()
        self._reset()
        return [utterance]

    def _frame(self, frame: bytes) -> list[Began | Utterance]:
        speech = bool(self._vad.is_speech(frame))
        self.position += self._length
        self._frames.append(frame)
        self._recent = [*self._recent, speech][-_WINDOW:]
        if not self._speaking:
            if sum(self._recent) < _ENOUGH:
                self._frames = self._frames[-self._lead :]
                return []
            self._speaking, self._quiet = True, 0
            return [Began(self.position)]
        self._quiet = 0 if speech else self._quiet + 1
        if self._quiet < self._pause and len(self._frames) * self._length < LONGEST:
            return []
        utterance = self._utterance()
        self._reset()
        return [utterance]

    def _utterance(self) -> Utterance:
        # Of the pause only its first part is kept.
        spare = max(0, self._quiet - self._lead)
        frames = self._frames[: len(self._frames) - spare]
        end = self.position - spare * self._length
        return Utterance(b"".join(frames), end - len(frames) * self._length, end)

    def _reset(self) -> None:
        self._speaking, self._quiet, self._recent = False, 0, []
        self._frames = self._frames[-self._lead :]
