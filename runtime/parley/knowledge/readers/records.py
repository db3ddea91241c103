"""JSON records: an array of items, such as words, products or questions. Each item is a section of its own."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from parley.knowledge.chunks import Metadata
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.readers.text import decode
from parley.knowledge.sections import Section

MAX_METADATA_FIELDS = 30
"""Fields of an item that are kept as metadata, the first ones; all of them stand in its text."""

MAX_METADATA_LENGTH = 200
"""Characters of a text field that is kept as metadata: longer ones are prose, which nobody filters by."""

MAX_DEPTH = 20
"""Objects and arrays inside each other, beyond which a record is no record."""

TITLE_FIELDS = ("title", "name", "question")
"""The first of these that an item has is the heading under which it is cited."""

_LARGEST_NUMBER = 10**18


def read(content: bytes) -> Iterator[Section]:
    """A section per item of the array: `field: value` lines, with the fields as metadata."""
    text = decode(content)
    try:
        items = msgspec.json.decode(text)
    except RecursionError as error:
        raise UnreadableDocument("The document's objects are nested too deeply.") from error
    except msgspec.DecodeError as error:
        raise UnreadableDocument(f"The document is not valid JSON: {error}.") from error
    if not isinstance(items, list):
        raise UnreadableDocument("The document is not a JSON array of items, such as `[{...}, {...}]`.")
    for item in items:
        fields = list(_flatten("", item, MAX_DEPTH)) if isinstance(item, dict | list) else [("", item)]
        yield record_section(fields)


def record_section(fields: list[tuple[str, Any]]) -> Section:
    """The section of one record from its fields' names and plain values; an unnamed value is text alone."""
    filled = [(name, value) for name, value in fields if value is not None and value != ""]
    return Section(
        text="\n".join(f"{name}: {_words(value)}" if name else _words(value) for name, value in filled),
        heading=_heading(filled),
        metadata=_metadata(filled),
    )


def _flatten(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Fields of nested objects by their dotted names; arrays of plain values as one text."""
    if depth == 0:
        raise UnreadableDocument("The document's objects are nested too deeply.")
    match value:
        case dict():
            for key, inner in value.items():
                yield from _flatten(f"{name}.{key}" if name else key, inner, depth - 1)
        case list() if all(not isinstance(inner, dict | list) for inner in value):
            yield name, ", ".join(_words(inner) for inner in value if inner is not None)
        case list():
            for inner in value:
                yield from _flatten(name, inner, depth - 1)
        case _:
            yield name, value


def _words(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value.replace("\0", " ")
        case _:
            return str(value)


def _heading(fields: list[tuple[str, Any]]) -> str:
    by_name = {name.lower(): value for name, value in reversed(fields)}
    for title in TITLE_FIELDS:
        value = by_name.get(title)
        if isinstance(value, str) and len(value) <= MAX_METADATA_LENGTH:
            return " ".join(value.split())
    return ""


def _metadata(fields: list[tuple[str, Any]]) -> Metadata:
    """Short fields with a name that stands once."""
    counts = Counter(name for name, _ in fields)
    kept = [
        (name, _exact(value))
        for name, value in fields
        if 0 < len(name) <= MAX_METADATA_LENGTH
        and counts[name] == 1
        and not (isinstance(value, str) and len(value) > MAX_METADATA_LENGTH)
    ]
    return dict(kept[:MAX_METADATA_FIELDS])


def _exact(value: Any) -> Any:
    """Numbers that no store rounds or refuses; others as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value if 1 / _LARGEST_NUMBER < abs(value) < _LARGEST_NUMBER or value == 0 else str(value)
