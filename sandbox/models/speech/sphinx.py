"""pocketsphinx as the recogniser: English, with a language model made of the documents that the assistant knows."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pocketsphinx

from sandbox.models.speech.heard import Heard, HeardWord
from sandbox.models.speech.language_model import arpa
from sandbox.models.speech.pronunciation import Pronunciations
from sandbox.models.speech.vocabulary import Vocabulary, build, sentences_of

NAME = "pocketsphinx"
_MODEL = Path(pocketsphinx.__file__).parent / "model" / "en-us"
_FRAMES_A_SECOND = 100
# Words of the language at large beside those of the documents; more of them are heard in place of the documents' own.
_COMMON_WORDS = 3_000
_PLAIN_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
# Made questions are many: they weigh less than what is written. What a caller says will be asked weighs more.
_MADE_WEIGHT, _ASKED_WEIGHT = 0.3, 5.0
# The acoustic model was trained on microphones. Without their faint noise, which reaches every band, synthesized speech
# is heard at twice the word error rate (measured on 42 questions: 42 % without, 16 % with).
_NOISE, _PEAK = 60.0, 16_000.0


class Sphinx:
    """One decoder. Not for use by several threads at once."""

    name = NAME

    def __init__(self) -> None:
        self._vocabulary = build([])
        self._opened: pocketsphinx.Decoder | None = None

    def learn(self, texts: Sequence[str], questions: Sequence[str] = (), grammar: Sequence[str] = ()) -> int:
        """Listen for what the texts are about, and for `questions` before all; returns the number of words known.

        With `grammar`, exactly these sentences and nothing else are heard.
        """
        vocabulary = build([*texts, *questions, *grammar])
        self._opened = self._open(vocabulary, questions, grammar)
        self._vocabulary = vocabulary
        return len(vocabulary.written)

    def hear(self, pcm: bytes, language: str | None = None) -> Heard:
        """The words of an utterance at 16 kHz; the language is always English."""
        if self._opened is None:
            self._opened = self._open(self._vocabulary, (), ())
        decoder = self._opened
        decoder.start_utt()
        decoder.process_raw(_with_noise(pcm), full_utt=True)
        decoder.end_utt()
        words = tuple(self._words(decoder))
        return Heard(words, "en-US")

    def _words(self, decoder: pocketsphinx.Decoder) -> Iterator[HeardWord]:
        if decoder.hyp() is None:
            return
        logmath = decoder.logmath
        for segment in decoder.seg():
            word = segment.word.partition("(")[0]
            if word.startswith(("<", "[")):
                continue
            start, end = segment.start_frame / _FRAMES_A_SECOND, (segment.end_frame + 1) / _FRAMES_A_SECOND
            confidence = min(1.0, float(logmath.exp(segment.prob)))
            yield HeardWord(self._vocabulary.written.get(word, "I" if word == "i" else word), start, end, confidence)

    def _open(self, vocabulary: Vocabulary, questions: Sequence[str], grammar: Sequence[str]) -> pocketsphinx.Decoder:
        asked = [[word.lower() for word in words] for text in questions for words in sentences_of(text)]
        said = [[word.lower() for word in words] for text in grammar for words in sentences_of(text)]
        words = {*self._language.common, *vocabulary.written}
        words.update(*vocabulary.questions, *asked, *said)
        ways = self._language.pronunciations.of({word: vocabulary.spoken(word) for word in sorted(words)})
        at_large = {word: self._language.frequency(word) for word in ways}
        with tempfile.TemporaryDirectory() as folder:
            dictionary, model, rules = (Path(folder) / name for name in ("words.dict", "model.arpa", "rules.gram"))
            dictionary.write_text(_dictionary(ways))
            settings: dict[str, object] = {"dict": str(dictionary), "hmm": str(_MODEL / "en-us"), "loglevel": "FATAL"}
            if said:
                known = [line for line in said if all(word in ways for word in line)]
                rules.write_text(_grammar(known))
                return pocketsphinx.Decoder(jsgf=str(rules), lm=None, **settings)
            sentences = [*((s, 1.0) for s in vocabulary.sentences), *((q, _MADE_WEIGHT) for q in vocabulary.questions)]
            model.write_text(arpa([*sentences, *((q, _ASKED_WEIGHT) for q in asked)], at_large))
            return pocketsphinx.Decoder(lm=str(model), **settings)

    @cached_property
    def _language(self) -> "_Language":
        return _Language()


class _Language:
    """English at large: how its words are pronounced, and how often each is said."""

    def __init__(self) -> None:
        self.pronunciations = Pronunciations(_MODEL / "cmudict-en-us.dict")
        bare = pocketsphinx.Decoder(lm=None, dict=None, hmm=str(_MODEL / "en-us"), loglevel="FATAL")
        self._logmath = bare.logmath
        self._model = pocketsphinx.NGramModel(bare.config, self._logmath, str(_MODEL / "en-us.lm.bin"))
        plain = {word: self.frequency(word) for word in self.pronunciations.words() if _PLAIN_WORD.fullmatch(word)}
        self.common = frozenset(sorted(plain, key=lambda word: -plain[word])[:_COMMON_WORDS])

    def frequency(self, word: str) -> float:
        """The word's share of all words that are said."""
        return max(float(self._logmath.exp(self._model.prob([word]))), 1e-7)


def _dictionary(ways: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for word, pronunciations in ways.items():
        lines += [f"{word}{f'({n})' if n > 1 else ''} {phones}" for n, phones in enumerate(pronunciations, 1)]
    return "\n".join([*lines, ""])


def _grammar(sentences: Sequence[Sequence[str]]) -> str:
    return "#JSGF V1.0;\ngrammar said;\npublic <said> = " + " | ".join(" ".join(words) for words in sentences) + ";\n"


def _with_noise(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    peak = float(np.abs(samples).max(initial=1.0))
    noise = np.random.default_rng(0).normal(0, _NOISE, len(samples))
    return np.clip(samples * (_PEAK / peak) + noise, -32_768, 32_767).astype("<i2").tobytes()
