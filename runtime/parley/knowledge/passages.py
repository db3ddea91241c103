"""What retrieval returns, and what an answer cites."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)

EXCERPT_LENGTH = 240
"""Characters of a passage that a citation carries: two or three sentences, enough to recognise the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A retrieved chunk: what a model is given to answer from."""

    document_id: str
    document: str
    """The document's display name, as its owner gave it. Untrusted text."""
    text: str
    """The chunk's text. Untrusted: data for a model, never an instruction."""
    score: float
    """Cosine similarity of the question and the chunk, at most 1; higher is closer."""
    owner: str
    """`shared`, or `user-<subject>`."""
    coverage: float = 0.0
    """How much of the question's words it has; see Hit."""
    heading: str = ""
    """The heading path to the chunk ("The sandbox > Gateway"); empty where the document has no headings."""
    page: int | None = None
    """The page it begins on, counted from 1, in formats that have pages."""
    source_url: str | None = None
    """Opens its document there for a few minutes. A citation has none: it is stored, and a link must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A passage that an answer refers to."""

    id: int
    """The number it stands under in the answer's text: 1 for `[1]`."""
    document_id: str
    document: str
    score: float
    text: str
    """A short excerpt of the passage."""
    heading: str = ""
    page: int | None = None

    @classmethod
    def of(cls, passage: Passage, number: int) -> "Citation":
        """The citation of `passage` under `number`."""
        return cls(
            id=number,
            document_id=passage.document_id,
            document=passage.document,
            score=passage.score,
            text=excerpt(passage.text),
            heading=passage.heading,
            page=passage.page,
        )


def visible(text: str) -> str:
    """A text without what people do not see and models read: tags, variation selectors, and marks of direction or of no
    width. Joiners stay, without which some scripts cannot be spelt."""
    return _INVISIBLE.sub("", text)


class Retriever(Protocol):
    """Finds the passages that answer a question."""

    def retrieve(
        self, subject: str, query: str, *, top_k: int = 5, timeout_seconds: float | None = None
    ) -> Sequence[Passage]:
        """The passages nearest to `query` among the subject's own documents and the shared ones, best first.

        At most `top_k`, and none at all when nothing is near enough. Raises an error whose code is
        `knowledge_unavailable` when it cannot tell, at the latest after `timeout_seconds`.
        """


def excerpt(text: str, length: int = EXCERPT_LENGTH) -> str:
    """The beginning of `text` on one line, cut between words where it has to be, and at most `length` characters."""
    line = " ".join(text[: length * 4].split())
    if len(line) <= length:
        return line
    cut = line[: length - 1]
    # Scripts without spaces have no word boundary near the end: they are cut at the character.
    space = cut.rfind(" ", length // 2)
    return f"{cut[:space] if space > 0 else cut}…"
