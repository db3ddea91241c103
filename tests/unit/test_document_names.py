import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.errors import ParleyError, ValidationFailed
from parley.knowledge.documents import (
    MAX_NAME_LENGTH,
    display_name,
    document_key,
    is_document_id,
    new_document_id,
    owner_of,
    parse_key,
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("notes.txt", "notes.txt"),
        ("docs/adr/0001-faiss.md", "0001-faiss.md"),
        ("C:\\Users\\ada\\Plan B.MD", "Plan B.MD"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("a\nb\x00c\x1b[31m.txt", "a b c [31m.txt"),
        ("invoice\u202etxt.exe.md", "invoicetxt.exe.md"),
        ("  spaced   out .txt ", "spaced out .txt"),
        ("Sổ tay nhân viên.md", "Sổ tay nhân viên.md"),
        ("क्\u200dष.txt", "क्\u200dष.txt"),
    ],
)
def test_a_name_is_shown_without_its_tricks(given: str, shown: str) -> None:
    assert display_name(given) == shown


@pytest.mark.parametrize("name", ["", ".", "...", "/", "\n", "x" * MAX_NAME_LENGTH + ".txt", "a.exe", "txt", ".txt"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationFailed):
        display_name(name)


@given(st.text(max_size=60), st.sampled_from([".txt", ".md", ".MARKDOWN"]), st.text(min_size=1, max_size=20))
def test_any_name_of_any_subject_makes_a_key_of_its_own_folder(stem: str, ending: str, subject: str) -> None:
    try:
        shown = display_name(stem + ending)
    except ParleyError:
        return
    owner = owner_of(subject)
    key = document_key(owner, "d1", shown)
    location = parse_key(key)
    assert location is not None
    assert location[:2] == (owner, "d1")
    assert key.isascii()
    assert key.isprintable()
    assert key.endswith(ending.lower())


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_owners_are_as_different_as_their_subjects(first: str, second: str) -> None:
    assert (owner_of(first) == owner_of(second)) == (first == second)
    assert not {"/", "#"} & set(owner_of(first))


@pytest.mark.parametrize(
    "key",
    ["documents/shared/d1", "documents/shared/d1/", "documents//d1/a.txt", "documents/eve/d1/a.txt",
     "documents/shared/d#1/a.txt", "documents/shared/d1/b/a.txt", "indexes/shared/d1/a.txt", ""],
)  # fmt: skip
def test_a_key_of_another_shape_is_no_documents(key: str) -> None:
    assert parse_key(key) is None


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_document_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert [id_[:12] for id_ in ids] == sorted(id_[:12] for id_ in ids)
    assert all(map(is_document_id, ids))


@pytest.mark.parametrize(
    ("function", "unwanted"),
    [
        ("documents", {"faiss", "numpy", "docx", "lxml", "pypdfium2"}),
        ("retrieval", {"docx", "lxml", "pypdfium2"}),
        ("ingestion", {"docx", "lxml", "pypdfium2"}),
    ],
)
def test_a_function_imports_nothing_it_has_no_use_for(function: str, unwanted: set[str]) -> None:
    program = f"import sys, parley.functions.{function}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert f"parley.functions.{function}" in loaded
    assert not unwanted & set(loaded)
