"""What a recogniser heard."""

from dataclasses import dataclass

_QUESTIONS = (
    "what which who whom whose when where why how is are was were do does did can could may might will would shall "
    "should has have"
)
_QUESTION_WORDS = frozenset(_QUESTIONS.split())


@dataclass(frozen=True)
class HeardWord:
    """A word as it is written; times in seconds of the utterance, confidence from 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Heard:
    """The words of one utterance and the language they were taken for, for example `en-US`."""

    words: tuple[HeardWord, ...]
    language: str

    @property
    def mark(self) -> str:
        """The punctuation mark that ends it."""
        return "?" if self.words and self.words[0].text.lower() in _QUESTION_WORDS else "."

    @property
    def text(self) -> str:
        """The words as a sentence; empty when nothing was heard."""
        if not self.words:
            return ""
        joined = " ".join(word.text for word in self.words)
        return joined[0].upper() + joined[1:] + self.mark
