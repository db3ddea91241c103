"""How English words sound, in the phones of the CMU dictionary (ARPAbet): the recogniser's acoustic model has them."""

# ruff: noqa: RUF001 - the International Phonetic Alphabet looks like other letters

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from sandbox.models.speech.espeak import espeak

_VOICE = "en-us"
# espeak-ng's symbols for American English; the longest match wins.
_ARPABET: Mapping[str, str] = {
    "aɪɚ": "AY ER", "aɪə": "AY AH", "iːɹ": "IY R", "ɪɹ": "IH R", "ʊɹ": "UH R", "ɛɹ": "EH R",
    "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "oː": "AO",
    "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY",
    "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "ɜː": "ER", "iə": "IY AH", "əl": "AH L",
    "a": "AE", "æ": "AE", "ɐ": "AH", "ʌ": "AH", "ə": "AH", "ɚ": "ER", "ɝ": "ER", "ɜ": "ER",
    "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "e": "EY", "ɛ": "EH", "i": "IY", "ɪ": "IH", "ᵻ": "IH", "o": "OW",
    "ʊ": "UH", "u": "UW", "n̩": "AH N", "l̩": "AH L", "m̩": "AH M",
    "tʃ": "CH", "dʒ": "JH", "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH",
    "j": "Y", "k": "K", "l": "L", "ɫ": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R",
    "s": "S", "ʃ": "SH", "t": "T", "ɾ": "T", "ʔ": "T", "θ": "TH", "v": "V", "w": "W", "x": "K", "z": "Z",
    "ʒ": "ZH", "ç": "HH",
}  # fmt: skip
_SYMBOL = re.compile("|".join(sorted(map(re.escape, _ARPABET), key=len, reverse=True)))
# Stress and joining marks say nothing to the acoustic model.
_SILENT = re.compile(r"[ˈˌ\s_\u200d\u0361]")


class Pronunciations:
    """The CMU dictionary for the words that it has, espeak-ng's rules for the rest."""

    def __init__(self, dictionary: Path) -> None:
        self._known: dict[str, list[str]] = {}
        for line in dictionary.read_text().splitlines():
            word, _, phones = line.partition(" ")
            self._known.setdefault(word.partition("(")[0], []).append(phones.strip())

    def words(self) -> Iterable[str]:
        """The words of the dictionary."""
        return self._known.keys()

    def of(self, words: Mapping[str, str]) -> dict[str, list[str]]:
        """The pronunciations of each word; the values say how to write it for a speaker (`kb` is written `KB`).

        espeak-ng's own pronunciation is one of them, also of a known word: its voice is heard as often as people's.
        """
        spoken = dict(zip(words, arpabet(words.values()), strict=True))
        found = {}
        for word, own in spoken.items():
            ways = list(dict.fromkeys([*self._known.get(word, ()), *([own] if own else [])]))
            if ways:
                found[word] = ways
        return found


def arpabet(texts: Iterable[str]) -> list[str]:
    """Each text's phones, for example `W EH B S AA K IH T`; empty when nothing of it is spoken."""
    return [_arpabet(spoken) for spoken in espeak().phonemes(list(texts), _VOICE)]


@lru_cache(maxsize=65_536)
def _arpabet(spoken: str) -> str:
    # A language switch is marked "(en)".
    plain = _SILENT.sub("", re.sub(r"\([a-z-]+\)", "", spoken))
    return " ".join(_ARPABET[symbol] for symbol in _SYMBOL.findall(plain))
