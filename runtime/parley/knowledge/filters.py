"""Filters: only the chunks whose record has given values in given fields, or of given documents.

Stores hold a chunk's fields as *terms*: one text per field that says its name and its value. A list of terms is one
attribute whatever records are called and how many kinds there are, so no record can use up a store's limits or name
a field like a store's own; and a text is equal or it is not, where stores differ in how they compare numbers.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from parley.errors import ValidationFailed
from parley.knowledge.chunks import FieldValue, Metadata
from parley.knowledge.documents import is_document_id

type Filter = Mapping[str, tuple[FieldValue, ...]]
"""Values by field: every field must match, and any of a field's values matches it."""

NO_FILTER: Final[Filter] = MappingProxyType({})

DOCUMENT_ID = "document_id"
"""The built-in field: which documents. A record's own field of this name is never filterable."""

MAX_FIELDS = 10
"""Fields of one filter."""

MAX_VALUES = 20
"""Values of one field of a filter."""

MAX_LENGTH = 200
"""Characters of a field's name and of a text: readers keep no longer ones as metadata."""

LARGEST_NUMBER = 10**18
"""Readers keep numbers that are not smaller than this as text."""

MAX_TERMS = 30
"""Fields of one chunk that can be filtered by."""

MAX_TERMS_BYTES = 1_500
"""All terms of a chunk as a JSON array: S3 Vectors takes 2 KB of filterable metadata, owner and document included."""


def filterable(metadata: Metadata) -> Metadata:
    """The fields that every store can filter by: the first MAX_TERMS that fit, in their order."""
    kept: Metadata = {}
    room = MAX_TERMS_BYTES - len("[]")
    for name, value in metadata.items():
        if len(kept) == MAX_TERMS:
            break
        if name == DOCUMENT_ID or len(name) > MAX_LENGTH or (isinstance(value, str) and len(value) > MAX_LENGTH):
            continue
        size = len(json.dumps(term(name, value), ensure_ascii=False).encode()) + len(", ")
        if size <= room:
            kept[name] = value
            room -= size
    return kept


def term(name: str, value: FieldValue) -> str:
    """A field and its value as one text, equal for equal values: `1` and `1.0` are, `1`, `"1"` and `true` are not."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    return unicodedata.normalize("NFC", json.dumps([name, plain], ensure_ascii=False, separators=(",", ":")))


def terms(metadata: Metadata) -> list[str]:
    """The terms of a chunk's filterable fields, as stores hold them."""
    return [term(name, value) for name, value in metadata.items()]


def alternatives(where: Filter) -> list[list[str]]:
    """What a filter asks of a chunk's terms: of each of these lists it must have one. Documents are not among them."""
    return [[term(name, value) for value in values] for name, values in where.items() if name != DOCUMENT_ID]


def document_ids(where: Filter) -> list[str] | None:
    """The documents that a filter asks for; None when any will do."""
    return [str(value) for value in where[DOCUMENT_ID]] if DOCUMENT_ID in where else None


def matches(where: Filter, metadata: Metadata, *, document_id: str) -> bool:
    """Does a chunk with these filterable fields, of this document, pass?"""
    wanted = document_ids(where)
    held = set(terms(metadata))
    return (wanted is None or document_id in wanted) and all(not held.isdisjoint(any_) for any_ in alternatives(where))


def parse_filter(given: Mapping[str, FieldValue | Sequence[FieldValue]]) -> Filter:
    """The filter that a caller asks for: a value or a list of values by field. Raises ValidationFailed."""
    if len(given) > MAX_FIELDS:
        raise ValidationFailed(f"`filter` has at most {MAX_FIELDS} fields; this one has {len(given)}.")
    where: dict[str, tuple[FieldValue, ...]] = {}
    for name, asked in given.items():
        values = (asked,) if isinstance(asked, str | int | float) else tuple(asked)
        if not 1 <= len(name) <= MAX_LENGTH:
            raise ValidationFailed(f"The name of a field in `filter` has 1 to {MAX_LENGTH} characters.")
        if not 1 <= len(values) <= MAX_VALUES:
            raise ValidationFailed(f"A field in `filter` has 1 to {MAX_VALUES} values; one has {len(values)}.")
        for value in values:
            _check(name, value)
        where[name] = values
    return where


def _check(name: str, value: FieldValue) -> None:
    if name == DOCUMENT_ID:
        if not isinstance(value, str) or not is_document_id(value):
            raise ValidationFailed(f"`{DOCUMENT_ID}` in `filter` takes ids of documents.")
    elif isinstance(value, str):
        if len(value) > MAX_LENGTH:
            raise ValidationFailed(f"A text in `filter` has at most {MAX_LENGTH} characters; one has {len(value)}.")
    elif not abs(value) < LARGEST_NUMBER:
        raise ValidationFailed("A number in `filter` is smaller than 10^18; larger ones are kept as text.")
