"""Stand-ins for Titan Text Embeddings V2: a lexical one, and one that has a sentence model beside it.

Texts that share words, word stems or parts of words get lexical vectors that point the same way. Such a vector is a
signed hashing of the features (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning"), so that no
vocabulary is needed, and it is the same on every machine. It knows no synonyms. A sentence model knows them, in the
languages that it has learnt; in others, and for names and numbers, the words beside it still count.
"""

import math
import os
import zlib
from collections import Counter
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sandbox.models.sentence import SentenceModel, load_sentence_model, normalized
from sandbox.models.text import STOP_WORDS, bears_vietnamese_marks, words

DIMENSIONS = (256, 512, 1024)

MODEL_SETTING = "PARLEY_EMBEDDING_MODEL"
"""The environment variable that names the folder of a sentence model."""

LEXICAL = "lexical (local)"

SENTENCE_WEIGHT = 0.5
"""What a sentence model counts beside the words, in [0, 1]: the similarity of two texts is the weighted mean of both.
Equal shares are a starting point that no model was measured with; `scripts/evaluate` measures the one that is named."""

_SENTENCE_SHARE = 0.75
"""The part of a vector's dimensions that a sentence model may take: 768 of 1,024."""

_STOP_WEIGHT = 0.08
_GRAM_WEIGHT = 0.22
_PAIR_WEIGHT = 0.35
_VIETNAMESE_PAIR_WEIGHT = 0.7


class Embedder(Protocol):
    """Turns a text into a vector as Titan does."""

    @property
    def name(self) -> str:
        """What the sandbox says of who embeds."""

    def embed(self, text: str, *, dimensions: int = 1024, normalize: bool = True) -> NDArray[np.float32]:
        """The vector of a text; of length one when `normalize` is set and the text has any word."""


class LexicalEmbedder:
    """Words alone."""

    name = LEXICAL

    def embed(self, text: str, *, dimensions: int = 1024, normalize: bool = True) -> NDArray[np.float32]:
        """See Embedder."""
        return embed(text, dimensions=dimensions, normalize=normalize)


class SentenceEmbedder:
    """A sentence model's vector, and in the remaining dimensions the words."""

    def __init__(self, model: SentenceModel) -> None:
        self.name = f"{model.name} and words (local)"
        self._model = model

    def embed(self, text: str, *, dimensions: int = 1024, normalize: bool = True) -> NDArray[np.float32]:
        """See Embedder; the length is one also without `normalize`, as a sentence model's own is."""
        meaning = normalized(self._model.embed(text)[: int(dimensions * _SENTENCE_SHARE)])
        lexical = embed(text, dimensions=dimensions - len(meaning))
        parts = (math.sqrt(SENTENCE_WEIGHT) * meaning, math.sqrt(1 - SENTENCE_WEIGHT) * lexical)
        return normalized(np.concatenate(parts).astype(np.float32))


@cache
def installed_embedder() -> Embedder:
    """The embedder of this machine: with the sentence model that PARLEY_EMBEDDING_MODEL names, else words alone.

    Raises ModelUnusable when that model cannot be used: an index must not mix embedders, so there is no silent change.
    """
    folder = os.environ.get(MODEL_SETTING)
    return SentenceEmbedder(load_sentence_model(Path(folder).expanduser())) if folder else LexicalEmbedder()


def embed(text: str, *, dimensions: int = 1024, normalize: bool = True) -> NDArray[np.float32]:
    """The vector of a text; of length one when `normalize` is set and the text has any word."""
    weights: dict[str, float] = {}
    tokens = words(text, keep_marks=True)
    for token, count in Counter(tokens).items():
        # Sublinear: the tenth occurrence of a word says less than the first.
        weight = (1 + math.log(count)) * (_STOP_WEIGHT if token in STOP_WORDS else 1.0)
        weights["w " + token] = weight
        for gram in _grams(token):
            weights[gram] = weights.get(gram, 0.0) + weight * _GRAM_WEIGHT
    content = [token for token in tokens if token not in STOP_WORDS]
    for pair, count in Counter(pairwise(content)).items():
        # Vietnamese writes a space inside most of its words: there a pair says as much as a word elsewhere.
        weight = _VIETNAMESE_PAIR_WEIGHT if any(map(bears_vietnamese_marks, pair)) else _PAIR_WEIGHT
        weights["p " + " ".join(pair)] = weight * (1 + math.log(count))
    vector = np.zeros(dimensions, dtype=np.float32)
    for feature, weight in weights.items():
        hashed = _hash(feature)
        vector[hashed % dimensions] += weight if hashed & 0x8000_0000 else -weight
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if normalize and length else vector


@lru_cache(maxsize=65_536)
def _grams(token: str) -> tuple[str, ...]:
    """Runs of four characters of a longer word, its ends marked."""
    if len(token) < 4 or token in STOP_WORDS:
        return ()
    marked = f"<{token}>"
    return tuple("g " + marked[i : i + 4] for i in range(len(marked) - 3))


@lru_cache(maxsize=262_144)
def _hash(feature: str) -> int:
    # crc32 alone is linear: features that differ in one character would share low bits.
    value = zlib.crc32(feature.encode())
    value = (value ^ (value >> 16)) * 0x45D9F3B & 0xFFFF_FFFF
    value = (value ^ (value >> 16)) * 0x45D9F3B & 0xFFFF_FFFF
    return value ^ (value >> 16)
