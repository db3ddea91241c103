"""Sentences of a text that is still being written, so that each can be spoken as soon as it is complete."""

# ruff: noqa: RUF001 - the marks of other scripts are what this is about
import re

LONGEST = 400
"""Characters of a sentence that are spoken at once; a longer one is cut where a speaker would breathe."""

# Full stops, question and exclamation marks of scripts that leave no space after them, or have marks of their own:
# Chinese and Japanese, Devanagari, Arabic and Urdu, Armenian, Ethiopic, Burmese, Khmer.
_ALWAYS = frozenset("。！？｡．।॥؟۔։።፧။៕")
_MAYBE = frozenset(".!?…")
_CLOSING = frozenset("\"'”’»)]}」』】）〉》")
# A breath within a sentence that is too long, best first.
_BREATHS = ("; ", ": ", ", ", "；", "、", "，", "، ", " – ", " — ", " ")

# What ends in a full stop without ending a sentence, in the languages that the engines speak; in lower case.
# Words that often stand at an end themselves ("no", "max") are not among them.
_ABBREVIATED = (
    "mr mrs ms dr prof sr sra dra jr st vs etc approx dept fig inc ltd vol pp eds capt lt "
    "e.g i.e a.m p.m u.s u.k cf ca resp jan feb apr jun jul aug sep sept oct nov dec "
    "z.b d.h u.a o.ä bzw usw evtl ggf nr str tel vgl hr fr dipl inkl exkl "
    "p.ex m mme mlle av bd env "
    "sig sig.ra dott avv ecc pag "
    "ud uds ej pág núm apdo "
    "bijv d.w.z o.a mevr dhr enz blz t.a.v "
    "np tzn itp itd m.in ul godz "
    "např tj atd apod č "
    "t.ex bl.a d.v.s osv f.eks bl kl mfl "
    "esim ym jne ks"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
# Languages that write ordinal numbers with a full stop: "am 3. Mai".
_ORDINALS = frozenset({"cs", "da", "de", "fi", "nb", "no", "pl"})

_MARKUP = (
    (re.compile(r"```.*?(?:```|$)", re.DOTALL), " "),
    (re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)"), r"\1"),
    (re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]"), ""),
    (re.compile(r"^\s{0,3}(?:#{1,6}|[-*+>])\s+", re.MULTILINE), ""),
    (re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)"), ""),
)


class Sentences:
    """Takes a text piece by piece and gives its sentences; the pieces may be cut anywhere.

    A mark that may or may not end a sentence is decided by what follows it, so the last sentence is out when the next
    one begins, or with `finish`. Line breaks end a sentence too: lists and headings have no marks.
    """

    def __init__(self, language: str = "en-US") -> None:
        self._ordinals = language.partition("-")[0] in _ORDINALS
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """The sentences that are complete now."""
        self._text += text
        found = []
        while (end := self._end()) is not None:
            sentence, self._text = self._text[:end].strip(), self._text[end:]
            if sentence:
                found.append(sentence)
        return found

    def finish(self) -> list[str]:
        """What is left at the end of the text."""
        rest, self._text = self._text.strip(), ""
        return [rest] if rest else []

    def _end(self) -> int | None:
        """Where the first sentence ends; None while it may go on."""
        text = self._text
        for position, character in enumerate(text):
            if position >= LONGEST:
                return _breath(text)
            if character == "\n" and text[:position].strip():
                return position + 1
            if character not in _MAYBE and character not in _ALWAYS:
                continue
            after = position + 1
            while after < len(text) and (text[after] in _MAYBE or text[after] in _ALWAYS or text[after] in _CLOSING):
                after += 1
            if character in _ALWAYS and after < len(text):
                return after
            if after >= len(text):
                return None
            if not text[after].isspace():
                continue
            following = text[after:].lstrip()
            if following.startswith("»"):
                # French sets its quotation marks apart from what they hold.
                after = len(text) - len(following) + 1
                following = text[after:].lstrip()
            if not following:
                return after if "\n" in text[after:] else None
            if "\n" in text[after : len(text) - len(following)] or self._ends(text[:position], character, following):
                return after
        return None

    def _ends(self, before: str, mark: str, following: str) -> bool:
        if following[0].islower():
            return False
        if mark != ".":
            return True
        # An ellipsis ends a sentence where an upper-case letter follows, whatever stands before it.
        if before.endswith("."):
            return True
        words = before.split()
        word = words[-1].lstrip("([{\"'“„«¿¡") if words else ""
        if word.isdigit():
            # "1. Open the door" is an item of a list, "on 3. May" a date, "it costs 32. Then" an end.
            return len(words) > 1 and not (self._ordinals and len(word) <= 2)
        if word.lower() in _ABBREVIATIONS:
            return False
        # The initial of a name.
        return not (len(word) == 1 and word.isupper() and len(words) > 0 and word != "I")


def speakable(text: str) -> str:
    """A text without what cannot be spoken: Markdown's marks, code, addresses of links, the numbers of passages."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _breath(text: str) -> int:
    for mark in _BREATHS:
        position = text.rfind(mark, LONGEST // 3, LONGEST)
        if position > 0:
            return position + len(mark)
    return LONGEST
