"""The terms by which texts are searched beside their vectors, in any script, without a dictionary or a vocabulary.

A word is a term, and so is the beginning of a longer one, which inflected forms share. Scripts that write no spaces
give pairs of characters. Vietnamese writes most words as two syllables with a space between, so neighbours that bear
its marks are a term together. Marks are kept: in Vietnamese they are the word.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator

PREFIX_LENGTH = 5
"""Characters of a longer word that are a term of their own."""

# The vowel signs of Indic and South-East Asian scripts are marks, which \w leaves out.
_WORD = re.compile(r"(?:[^\W_]|[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])+")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]+"
)
_VIETNAMESE = re.compile(r"[\u1ea0-\u1ef9\u01a1\u01b0\u0111]")


def terms(text: str) -> list[int]:
    """The terms of a text, each as the CRC-32 of its UTF-8: two of a million terms share a number by accident."""
    return [zlib.crc32(term.encode()) for term in _terms(text)]


def _terms(text: str) -> Iterator[str]:
    previous = ""
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = match.group()
        position = 0
        for run in _UNSPACED.finditer(word):
            yield from _word(word[position : run.start()])
            characters = run.group()
            yield from (characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
            position = run.end()
        yield from _word(word[position:])
        if previous and (_VIETNAMESE.search(previous) or _VIETNAMESE.search(word)):
            yield f"{previous} {word}"
        previous = word


def _word(word: str) -> Iterator[str]:
    if word:
        yield word
    if len(word) > PREFIX_LENGTH:
        yield f"{word[:PREFIX_LENGTH]}-"
