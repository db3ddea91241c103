"""Voice activity: when somebody begins to speak, and when they have finished."""

from collections import deque
from dataclasses import dataclass

from parley.speech.audio import INPUT_RATE, SAMPLE_BYTES

FRAME_SECONDS = 0.03
"""WebRTC's detector takes frames of 10, 20 or 30 ms."""

PAUSE_SECONDS = 0.6
"""Silence that ends an utterance: longer than a breath, and not so long that the answer seems late."""

STRICTNESS = 3
"""Of WebRTC's modes 0 to 3 the one that takes least noise for speech."""

WINDOW, ENOUGH = 8, 6
"""Speech has begun when so many of the last frames hold it: 180 ms. A click or a cough is shorter."""

_FRAME_BYTES = round(FRAME_SECONDS * INPUT_RATE) * SAMPLE_BYTES


@dataclass(frozen=True, slots=True)
class Began:
    """Somebody speaks, since `at`: seconds of the audio that was heard."""

    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Nobody speaks any more, since `at`: seconds of the audio that was heard."""

    at: float


class VoiceActivity:
    """Hears one stream of input audio; `pause` seconds without speech end an utterance.

    It counts in seconds of audio, not of the clock: audio that comes late or all at once is heard as it was spoken.
    """

    def __init__(self, *, pause: float = PAUSE_SECONDS) -> None:
        # A native module that only the session worker's package has.
        import webrtcvad

        self._detector = webrtcvad.Vad(STRICTNESS)
        self._pause = max(1, round(pause / FRAME_SECONDS))
        self._rest = b""
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._frames = 0
        self._quiet = 0
        self.speaking = False
        """Is somebody in the middle of an utterance?"""

    @property
    def position(self) -> float:
        """Seconds of audio that were heard."""
        return self._frames * FRAME_SECONDS

    def feed(self, pcm: bytes) -> list[Began | Ended]:
        """What the next samples brought."""
        data = self._rest + pcm
        whole = len(data) - len(data) % _FRAME_BYTES
        self._rest = data[whole:]
        found: list[Began | Ended] = []
        for start in range(0, whole, _FRAME_BYTES):
            speech = self._detector.is_speech(data[start : start + _FRAME_BYTES], INPUT_RATE)
            if change := self._take(speech=speech):
                found.append(change)
        return found

    def _take(self, *, speech: bool) -> Began | Ended | None:
        self._frames += 1
        self._recent.append(speech)
        if not self.speaking:
            if sum(self._recent) < ENOUGH:
                return None
            self.speaking, self._quiet = True, 0
            return Began(max(0, self._frames - len(self._recent)) * FRAME_SECONDS)
        self._quiet = 0 if speech else self._quiet + 1
        if self._quiet < self._pause:
            return None
        self.speaking = False
        self._recent.clear()
        return Ended((self._frames - self._quiet) * FRAME_SECONDS)
