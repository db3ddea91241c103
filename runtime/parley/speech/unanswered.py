"""What a user said that no answer covers yet: kept, so that another connection or another worker hears it again."""

from collections import deque
from dataclasses import dataclass

from parley.speech.audio import input_seconds

QUIET_PEAK = 330
"""Samples up to this are silence: 1 % of full scale, -40 dB, under any voice near a microphone."""

LEAD_SECONDS = 0.5
"""Silence kept before the first sound, so that no soft beginning is cut."""

KEPT_SECONDS = 120.0
"""Sound that nothing answered for so long was no utterance: noise, or a voice in the background."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of audio, or a typed message in its place."""

    position: float
    """Where it ends, in seconds of all audio."""
    mark: int
    """The frame it came in, or the last one before it."""
    pcm: bytes = b""
    text: str = ""
    loud: bool = True


class Unanswered:
    """The pieces after the last answered one; silence before the first sound is forgotten."""

    def __init__(self, *, mark: int = 0) -> None:
        self.position = 0.0
        """Seconds of audio in all, answered or not."""
        self.mark = mark
        """The last frame that is answered, or was nothing to answer."""
        self.first = 0
        """The index of the first piece: pieces are counted from the beginning of the call."""
        self._pieces: deque[Piece] = deque()
        self._sounds = 0
        self._quiet_seconds = 0.0

    @property
    def end(self) -> int:
        """The index that the next piece will have."""
        return self.first + len(self._pieces)

    @property
    def has_sound(self) -> bool:
        """Is there anything but silence?"""
        return self._sounds > 0

    @property
    def quiet_seconds(self) -> float:
        """How long it has been silent, up to now."""
        return self._quiet_seconds

    def piece(self, index: int) -> Piece:
        """One piece."""
        return self._pieces[index - self.first]

    def hear(self, pcm: bytes, mark: int) -> None:
        """The next of the user's voice."""
        seconds = input_seconds(len(pcm))
        self.position += seconds
        loud = peak(pcm) > QUIET_PEAK
        self._quiet_seconds = 0.0 if loud else self._quiet_seconds + seconds
        self._add(Piece(self.position, mark, pcm, loud=loud))
        horizon = self.position - KEPT_SECONDS
        while self._pieces[0].position < horizon:
            self._drop()
        self._drop_lead()

    def read(self, text: str, mark: int) -> None:
        """A message that the user typed."""
        self._add(Piece(self.position, mark, text=text))

    def answered(self, position: float, index: int) -> None:
        """An answer covers everything before piece `index` that ended by `position`."""
        while self._pieces and self.first < index and self._pieces[0].position <= position + 1e-6:
            self._drop()
        self._drop_lead()

    def _add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._sounds += piece.loud

    def _drop_lead(self) -> None:
        lead = self.position if not self._sounds else None
        while self._pieces and not self._pieces[0].loud:
            if lead is None:
                lead = next(piece.position for piece in self._pieces if piece.loud)
            if self._pieces[0].position >= lead - LEAD_SECONDS:
                return
            self._drop()

    def _drop(self) -> None:
        piece = self._pieces.popleft()
        self.first += 1
        self.mark = piece.mark
        self._sounds -= piece.loud


def peak(pcm: bytes) -> int:
    """The loudest of every third sample: enough to tell a voice from silence, at a third of the cost."""
    samples = memoryview(pcm).cast("h")[::3]
    return max(max(samples), -min(samples)) if pcm else 0
