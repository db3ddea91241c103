"""A lexical stand-in for Titan Text Embeddings V2.

Texts that share words, word stems or parts of words get vectors that point the same way. The vector is a signed
hashing of the features (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning"), so that no vocabulary
is needed, and it is the same on every machine. It knows no synonyms.
"""

import math
import zlib
from collections import Counter
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sandbox.models.text import STOP_WORDS, bears_vietnamese_marks, words

DIMENSIONS = (256, 512, 1024)

_STOP_WEIGHT = 0.08
_GRAM_WEIGHT = 0.22
_PAIR_WEIGHT = 0.35
_VIETNAMESE_PAIR_WEIGHT = 0.7


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
