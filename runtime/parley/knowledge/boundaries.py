# ruff: noqa: RUF001 (the punctuation of other scripts is what this module is about)
"""Where a text may be cut, in any script: between sentences, between words, and at worst between characters.

Characters are those that a reader sees: a letter with its marks, a flag, a family of emoji. Nothing here needs a
dictionary, so words of scripts that write no spaces are cut at their punctuation, or between characters.
"""

import re
import unicodedata
from collections.abc import Iterator

# Full stops of scripts that put a space after them, and of those that need none: CJK, Arabic, Devanagari, Armenian,
# Ethiopic, Burmese, Khmer, Thai, Tibetan and Mongolian. Thai's paiyannoi is none: it marks an abbreviation.
_SPACED = ".!?…‽"
_UNSPACED = "。．｡！？؟۔।॥։።፧፨။។៕๚๛༎᠃᠉"
_CLOSERS = r"""["'*_`)\]}’”»›）」』】〉》〕］｝〟＂＇]"""
_END = f"[{_SPACED}{_UNSPACED}]"

_SENTENCE = re.compile(
    # A run of marks counts once, from its first on. A wide full stop between digits is a decimal point.
    rf"{_END}(?<!{_END}{_END}){_END}*+"
    rf"(?:(?<=[{_UNSPACED}])(?!(?<=．)\d){_CLOSERS}*+\s*+|{_CLOSERS}*+\s++)"
)
# Thai, Lao and Khmer end clauses and sentences with a space; the sign that repeats a word stands apart from it.
_THAI = r"[\u0e01-\u0e30\u0e32\u0e40-\u0e44\u0e81-\u0eb0\u0ec0-\u0ec4\u1780-\u17b3]"
_CLAUSE = re.compile(rf"\s++(?={_THAI})")
_IS_THAI = re.compile(_THAI)
_CLAUSE_CHARACTERS = 85
"""The fewest of a clause, some 64 tokens: shorter ones go with the next, because there may be one every few words."""

_WORD_ENDS = r"\s\u200b、，；：・་"
_LAST_WORD_END = re.compile(rf".*[{_WORD_ENDS}]", re.DOTALL)
_WORD_START = re.compile(rf"[{_WORD_ENDS}]++")

_JOINED_TO_BEFORE = re.compile(
    # Joiners, Thai and Lao vowels and signs of repetition, voiced sound marks, skin tones, tags.
    "[\u200c\u200d\u0e33\u0e46\u0eb3\u0ec6\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
)
_JOINED_TO_NEXT = re.compile(
    # Zero width joiner, vowels written before their consonant, signs over the digits or letters after them.
    "[\u200d\u0e40-\u0e44\u0ec0-\u0ec4\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd"
    "\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011a84-\U00011a89\U00011d46\U00011f02]"
)
_JAMO_PAIR = re.compile(
    "[\u1100-\u115f\ua960-\ua97c][\u1100-\u11ff\ua960-\ua97c\uac00-\ud7a3]|[\u1160-\u11ff\uac00-\ud7fb][\u1160-\u11ff\ud7b0-\ud7fb]"
)
_REGIONAL = ("\U0001f1e6", "\U0001f1ff")
_VIRAMA = 9


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Where each sentence of `text[start:end]` ends, the space after it included; the last one ends at `end`."""
    if not text.isascii() and _IS_THAI.search(text, start, end):
        while clause := _CLAUSE.search(text, start + _CLAUSE_CHARACTERS, end):
            start = clause.end()
            yield start
    else:
        for sentence in _SENTENCE.finditer(text, start, end):
            at = sentence.end()
            # "e.g. this" goes on.
            if at < end and not text[at].islower() and is_between_characters(text, at, start):
                yield at
    yield end


def last_word_end(text: str, start: int, end: int) -> int | None:
    """The last place in `text[start:end]` after a space, a line break or a mark inside a sentence."""
    found = _LAST_WORD_END.match(text, start, end)
    return found.end() if found is not None and is_between_characters(text, found.end(), start) else None


def next_word_start(text: str, at: int, start: int, end: int) -> int:
    """Where the first word after `at` in `text[start:end]` begins; where none does, the first whole character."""
    found = _WORD_START.search(text, at, end)
    at = at if found is None else found.end()
    while at < end and not is_between_characters(text, at, start):
        at += 1
    return at


def is_between_characters(text: str, at: int, since: int) -> bool:
    """May `text` be cut before index `at`, which is inside it? `since` is an earlier place between characters.

    Unicode's grapheme clusters (UAX 29) are kept whole, and so are Thai vowels written before their consonant.
    """
    before, after = text[at - 1], text[at]
    if (before < "\u0300" and after < "\u0300") or before == "\n":
        return not (before == "\r" and after == "\n")
    if _extends(after) or _JOINED_TO_NEXT.match(before):
        return False
    if before <= " ":
        return True
    if _JAMO_PAIR.match(text, at - 1):
        return False
    if _REGIONAL[0] <= before <= _REGIONAL[1] and _REGIONAL[0] <= after <= _REGIONAL[1]:
        return _regional_before(text, at, since) % 2 == 0
    return not (after.isalpha() and _has_virama_before(text, at, since))


def _extends(character: str) -> bool:
    """Is it part of the character before it?"""
    return unicodedata.category(character)[0] == "M" or _JOINED_TO_BEFORE.match(character) is not None


def _regional_before(text: str, at: int, since: int) -> int:
    """How many regional indicators, of which two are a flag, stand before `at`."""
    start = at
    while start > since and _REGIONAL[0] <= text[start - 1] <= _REGIONAL[1]:
        start -= 1
    return at - start


def _has_virama_before(text: str, at: int, since: int) -> bool:
    """Do the marks before `at` join the consonant under them with the next one?"""
    while at > since and _extends(text[at - 1]):
        at -= 1
        if unicodedata.combining(text[at]) == _VIRAMA:
            return True
    return False
