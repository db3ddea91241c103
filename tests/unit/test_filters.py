"""Which fields of a chunk can be filtered by, and what a filter means."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.errors import ValidationFailed
from parley.knowledge.chunks import FieldValue, Metadata
from parley.knowledge.filters import (
    MAX_FIELDS,
    MAX_LENGTH,
    MAX_TERMS,
    MAX_TERMS_BYTES,
    MAX_VALUES,
    filterable,
    matches,
    parse_filter,
    term,
    terms,
)

VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_LENGTH + 20),
    st.integers(-(10**17), 10**17),
    st.floats(-1e17, 1e17),
    st.booleans(),
)
RECORDS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), VALUES)


@given(RECORDS)
def test_what_is_filterable_fits_every_store_and_keeps_the_first_fields(metadata: Metadata) -> None:
    kept = filterable(metadata)
    assert len(json.dumps(terms(kept), ensure_ascii=False).encode()) <= MAX_TERMS_BYTES
    assert len(kept) <= MAX_TERMS
    assert list(kept.items()) == [(name, metadata[name]) for name in metadata if name in kept]
    small: Metadata = dict(list(metadata.items())[:3])
    if all(len(str(value)) <= 50 and name != "document_id" for name, value in small.items()):
        assert filterable(small) == small


def test_a_record_of_many_fields_keeps_as_many_as_every_store_takes() -> None:
    many: Metadata = {f"field-{number}": number for number in range(MAX_TERMS + 5)}
    assert list(filterable(many)) == list(many)[:MAX_TERMS]
    long: Metadata = {"long": "x" * (MAX_LENGTH + 1), "x" * (MAX_LENGTH + 1): 1, "short": "x"}
    assert filterable(long) == {"short": "x"}


@given(RECORDS, RECORDS)
def test_a_record_is_found_by_each_of_its_fields(metadata: Metadata, other: Metadata) -> None:
    kept = filterable(metadata)
    for name, value in kept.items():
        assert matches({name: (value,)}, kept, document_id="d")
        same = name in other and isinstance(other[name], bool) == isinstance(value, bool) and other[name] == value
        assert matches({name: (value,)}, filterable(other), document_id="d") <= same or isinstance(value, str)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (("n", 1), ("n", 1.0), True),
        (("n", -0.0), ("n", 0), True),
        (("n", 1), ("n", True), False),
        (("n", 1), ("n", "1"), False),
        (("n", "true"), ("n", True), False),
        (("a=b", "c"), ("a", "b=c"), False),
        (('a","b', "c"), ("a", 'b","c'), False),
        (("city", "Đà Nẵng"), ("city", "Đà Nẵng"), True),
        (("city", "Paris"), ("city", "paris"), False),
    ],
)
def test_terms_are_equal_when_names_and_values_are(
    one: tuple[str, FieldValue], other: tuple[str, FieldValue], equal: bool
) -> None:
    assert (term(*one) == term(*other)) is equal


def test_every_field_must_match_and_any_of_its_values_does() -> None:
    fields: Metadata = {"language": "fr", "level": 2}
    assert matches({}, {}, document_id="a")
    assert matches({"language": ("de", "fr"), "level": (2,)}, fields, document_id="a")
    assert not matches({"language": ("fr",), "level": (3,)}, fields, document_id="a")
    assert matches({"document_id": ("a", "b"), "level": (2,)}, fields, document_id="a")
    assert not matches({"document_id": ("b",)}, fields, document_id="a")


def test_a_record_cannot_pass_for_another_document() -> None:
    assert filterable({"document_id": "b", "level": 1}) == {"level": 1}


def test_a_value_is_asked_for_as_one_of_one() -> None:
    asked = parse_filter({"a": "x", "b": 1, "c": False, "d": [1, "x", 2.5], "document_id": "0193-f_0"})
    assert asked == {"a": ("x",), "b": (1,), "c": (False,), "d": (1, "x", 2.5), "document_id": ("0193-f_0",)}
    assert parse_filter({}) == {}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({f"f{n}": 1 for n in range(MAX_FIELDS + 1)}, f"at most {MAX_FIELDS} fields"),
        ({"f": list(range(MAX_VALUES + 1))}, f"1 to {MAX_VALUES} values"),
        ({"f": []}, f"1 to {MAX_VALUES} values"),
        ({"": 1}, "name of a field"),
        ({"f" * (MAX_LENGTH + 1): 1}, "name of a field"),
        ({"f": "x" * (MAX_LENGTH + 1)}, f"at most {MAX_LENGTH} characters"),
        ({"f": [1, 10**18]}, "smaller than 10^18"),
        ({"f": -(10**30)}, "smaller than 10^18"),
        ({"f": math.inf}, "smaller than 10^18"),
        ({"f": math.nan}, "smaller than 10^18"),
        ({"document_id": 5}, "ids of documents"),
        ({"document_id": ["ok", "../x"]}, "ids of documents"),
    ],
)
def test_a_filter_that_no_store_takes_is_refused_in_a_sentence(given_: dict[str, list[FieldValue]], said: str) -> None:
    with pytest.raises(ValidationFailed, match=said.replace("^", r"\^")) as refused:
        parse_filter(given_)
    assert refused.value.message.endswith(".")
