"""faster-whisper as the recogniser, when it is installed and its model lies on this machine: it hears any language."""

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from sandbox.models.speech.heard import Heard, HeardWord

_SIZES = ("small", "base", "tiny")
_HINT_CHARACTERS = 800
# Whisper names languages without their country.
_COUNTRIES = {"en": "en-US", "fr": "fr-FR", "de": "de-DE", "it": "it-IT", "es": "es-US", "pt": "pt-BR", "hi": "hi-IN"}


class Whisper:
    """A model that was found on this machine."""

    def __init__(self, model: Any, size: str) -> None:
        self.name = f"faster-whisper ({size})"
        self._model = model
        self._hint = ""

    def learn(self, texts: Sequence[str], questions: Sequence[str] = (), grammar: Sequence[str] = ()) -> int:
        """Take the questions as a hint of what will be said; it knows the texts' words already."""
        self._hint = " ".join([*grammar, *questions])[:_HINT_CHARACTERS]
        return sum(len(text.split()) for text in texts)

    def hear(self, pcm: bytes, language: str | None = None) -> Heard:
        """The words of an utterance at 16 kHz, in `language` (such as `vi-VN`) or in the one that it sounds like."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32_768
        short = language.partition("-")[0] if language else None
        segments, about = self._model.transcribe(
            samples, language=short, word_timestamps=True, initial_prompt=self._hint or None
        )
        words = tuple(
            HeardWord(text, float(word.start), float(word.end), float(word.probability))
            for segment in segments
            for word in segment.words or ()
            if (text := word.word.strip().strip(".,?!"))
        )
        return Heard(words, language or _COUNTRIES.get(about.language, about.language))


def find_whisper() -> Whisper | None:
    """The model that `PARLEY_WHISPER_MODEL` names (a size or a folder), else the largest small one that is here."""
    try:
        package = importlib.import_module("faster_whisper")
    except ImportError:
        return None
    named = os.environ.get("PARLEY_WHISPER_MODEL")
    for size in (named,) if named else _SIZES:
        try:
            model = package.WhisperModel(size, device="cpu", compute_type="int8", local_files_only=True)
        except (OSError, ValueError, RuntimeError):
            continue
        return Whisper(model, size)
    return None
