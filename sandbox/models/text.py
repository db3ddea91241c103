"""Words of a text in any script, for the embedder and the extractive model."""

import re
import unicodedata
from functools import lru_cache

# The vowel signs of Indic and South-East Asian scripts are marks, which \w leaves out.
_WORD = re.compile(r"(?:[^\W_]|[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])+(?:['\u2019][^\W_]+)?")
# Scripts written without spaces between words: their text is cut into overlapping pairs of characters.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]+"
)
_VIETNAMESE = re.compile(r"[\u1ea0-\u1ef9\u01a1\u01b0\u0111]")
_ENGLISH = (
    "a about after all also an and any are as at be because been but by can could did do does for from had has have "
    "he tell her here him his how i if in into is it its just let like many may me more most much must my no not of on "
    "one only or other our out over own please say says see she should so some such than that the their them then "
    "there these they this those through to too under up us use used uses using very was way we were what when where "
    "which while who whom whose why will with would you your"
)
_OTHERS = (
    # Vietnamese, with its marks removed as `words` removes them
    "la va cua cac nhung mot trong cho voi nay do duoc khong co thi nao gi the o tu khi ve "
    # German, French, Spanish
    "der die das und ist ein eine wie was wer wo mit von zu im den dem des auf nicht "
    "le la les et est un une de des du que qui dans en pour sur pas comment quel quelle "
    "el los las y es una del que en por para con como cual se al su lo fue son era mas no ha entre sobre desde hasta "
    "este esta estos estas cual cuales cuando donde cuanto cuantos cuanta cuantas quien quienes "
    # Vietnamese as it is written, for words whose marks are kept
    "và là của các những một với này được không có thì nào gì thế ở từ khi về đã người đâu bao nhiêu bởi cái tại "
    "như bị ra vào đến trên dưới theo sự cũng để"
)
STOP_WORDS = frozenset((_ENGLISH + " " + _OTHERS).split())

_SUFFIXES = (
    "ations",
    "ation",
    "ingly",
    "ments",
    "ment",
    "ness",
    "ings",
    "ing",
    "edly",
    "ied",
    "ies",
    "ed",
    "ly",
    "es",
    "s",
)


def words(text: str, *, keep_marks: bool = False) -> list[str]:
    """The words of a text, folded to lower case without marks, English endings removed; pairs for unspaced scripts.

    With `keep_marks` Vietnamese words stay as they are: there a mark makes another word.
    """
    found: list[str] = []
    for match in _WORD.finditer(unicodedata.normalize("NFC", text.casefold()) if keep_marks else fold(text)):
        token = match.group()
        if keep_marks:
            if bears_vietnamese_marks(token):
                found.append(token)
                continue
            token = fold(token)
        position = 0
        for run in _UNSPACED.finditer(token):
            if run.start() > position:
                found.append(stem(token[position : run.start()]))
            characters = run.group()
            found.extend(characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
            position = run.end()
        if position < len(token):
            found.append(stem(token[position:].removesuffix("'s").removesuffix("\u2019s")))
    return found


def bears_vietnamese_marks(word: str) -> bool:
    """Has a word (in NFC, lower case) a letter that among the common languages only Vietnamese has?"""
    return _VIETNAMESE.search(word) is not None


def fold(text: str) -> str:
    """Lower case, compatibility forms and combining marks removed where the script uses Latin letters."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    folded = "".join(c for c in decomposed if not ("\u0300" <= c <= "\u036f"))
    return unicodedata.normalize("NFC", folded).replace("đ", "d")


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without its common English ending, so that "deploys" meets "deployment"."""
    if not word.isascii() or word in STOP_WORDS:
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not (suffix == "s" and word.endswith("ss")):
            base = word[: -len(suffix)]
            if suffix in ("ied", "ies"):
                return base + "y"
            # "running" -> "run", but "calling" keeps its own doubled letter's meaning as "call" does.
            return base[:-1] if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz" else base
    return word.removesuffix("e") if len(word) > 4 else word
