"""How much of a document is read: bounds for memory, and for the work that comes after."""

from collections.abc import Iterable, Iterator

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.sections import Section

MAX_TEXT_CHARACTERS = 25_000_000
"""Of one document, some 8,000 pages of text."""

MAX_PARTS = 20_000
"""Sections, and chunks, of one document. As many are embedded in some four minutes."""


def bounded(sections: Iterable[Section]) -> Iterator[Section]:
    """The sections that hold text. Raises UnreadableDocument as soon as there are too many, or too much text."""
    characters = parts = 0
    for section in sections:
        # Empty ones count too: a document can be made of nothing else.
        parts += 1
        check_parts(parts)
        if not section.text.strip():
            continue
        characters += len(section.text)
        if characters > MAX_TEXT_CHARACTERS:
            raise UnreadableDocument(
                f"The document holds more than {MAX_TEXT_CHARACTERS // 1_000_000} million characters; split it."
            )
        yield section


def check_parts(count: int) -> None:
    """Raises UnreadableDocument for more parts than a document may have."""
    if count > MAX_PARTS:
        raise UnreadableDocument(f"The document has more than {MAX_PARTS:,} parts (sections or records); split it.")
