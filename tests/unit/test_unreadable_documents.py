"""Documents that cannot be read: each fails with a reason for its owner, and takes nothing else with it."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parley.knowledge.documents import FORMATS, MAX_DOCUMENT_BYTES
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.limits import MAX_PARTS, MAX_TEXT_CHARACTERS, bounded
from parley.knowledge.readers import docx, html, isolation, pdf, records, tables
from parley.knowledge.reading import read_sections
from parley.knowledge.sections import Section

from tests.unit.document_files import pdf as make_pdf
from tests.unit.document_files import pdf_with_stream, repacked, scanned_pdf, word

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MEGABYTE = 1024 * 1024


def encrypted_zip() -> bytes:
    """A package whose first file says that it is encrypted."""
    content = bytearray(word("Secret."))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for name in names:
            package.writestr(name, "x")
    return file.getvalue()


def reason(name: str, content: bytes) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        read_sections(name, content)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pdf", b"", "is empty"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", make_pdf(["x"]), r"not what its name says \(.txt\): it is a PDF"),
        ("a.md", word("x"), "it is a Word document"),
        ("a.csv", zip_of("a.xml"), "it is a compressed archive"),
        ("a.json", b"\x89PNG\r\n\x1a\n", "it is a picture"),
        ("a.html", b"Just words.", "it is not HTML"),
        ("a.html", b'[{"a": 1}]', "it is not HTML"),
        ("a.pdf", b"Just words.", "it is not a PDF"),
        ("a.pdf", word("x"), "it is a Word document"),
        ("a.docx", make_pdf(["x"]), "it is a PDF"),
        ("a.docx", b"Just words.", "it is not a Word document"),
        ("a.docx", OLE + b"\0" * 600, r"old format \(.doc\)"),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        ("a.docx", encrypted_zip(), "protected by a password"),
        ("a.docx", zip_of("xl/workbook.xml"), "no Word document"),
        ("a.docx", word("x" * 5000)[:-200], "damaged"),
        ("a.docx", repacked(word("x"), "word/document.xml", [b"<w:document"]), "damaged"),
        ("a.docx", word(), "holds no text"),
        ("a.pdf", make_pdf(["x"], password="secret"), "protected by a password"),
        ("a.pdf", make_pdf(["x"])[:300], "damaged"),
        ("a.pdf", b"%PDF-1.7\n" + b"\xff" * 3000, "damaged"),
        ("a.pdf", scanned_pdf(), "scanned"),
        ("a.html", b"<p></p><script>1</script>", "holds no text"),
        ("a.html", b"<meta charset=utf-8><p>\xff</p>", "not text in UTF-8"),
        ("a.csv", b"\n\n", "holds no text"),
        ("a.csv", b"a,b\n", "holds no text"),
        ("a.csv", b"caf\xe9,b\n1,2\n", "not text in UTF-8"),
        ("a.csv", b"a\n" + b"x" * 200_000, "not a valid CSV table"),
        ("a.csv", b"a," * 2000 + b"\n1", "more than 1,000 columns"),
        ("a.json", b"[]", "holds no text"),
        ("a.json", b'[{"a": 1}', "not valid JSON"),
        ("a.json", b'{"a": 1}', "not a JSON array"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b"[" * 30 + b"]" * 30, "nested too deeply"),
        ("a.exe", b"MZ", r"\.exe are not supported"),
        ("a", b"words", "ending in nothing"),
    ],
)
def test_an_unreadable_document_says_why(name: str, content: bytes, words: str) -> None:
    with pytest.raises(UnreadableDocument, match=words):
        read_sections(name, content)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_of_100_mb_is_refused_by_its_size_alone(ending: str) -> None:
    assert "larger than 50 MB" in reason(f"a{ending}", b" " * (100 * MEGABYTE))


@pytest.mark.parametrize("ending", FORMATS)
def test_rubbish_under_any_name_is_refused_or_read_and_never_crashes(ending: str) -> None:
    assert reason(f"a{ending}", bytes(range(256)) * 40)


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = repacked(word("x"), "word/media/image1.png", (b"\0" * MEGABYTE for _ in range(300)))
    assert len(bomb) < MEGABYTE
    assert "larger than 200 MB when it is unpacked" in reason("a.docx", bomb)


def test_a_zip_of_countless_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "MAX_FILES", 3)
    with pytest.raises(UnreadableDocument, match="unpacked"):
        next(docx.read(word("x")))


def test_a_bomb_in_the_text_of_a_word_document_ends_with_its_process() -> None:
    paragraph = b"<w:p/>" * 100_000
    body = (
        b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>',
        *[paragraph] * 300,
        b"</w:body></w:document>",
    )
    bomb = repacked(word("x"), "word/document.xml", body)
    assert len(bomb) < 2 * MEGABYTE
    assert re.search("too complex|too much memory", reason("a.docx", bomb))


def test_entities_that_multiply_are_not_expanded() -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY e0 "boom">{entities}]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
        "&e9;</w:t></w:r></w:p></w:body></w:document>"
    )
    assert reason("a.docx", repacked(word("x"), "word/document.xml", [bomb.encode()]))


def test_a_bomb_in_a_pdf_ends_with_its_process() -> None:
    def stream() -> Iterator[bytes]:
        yield b"BT /F1 12 Tf ("
        yield from (b"a" * MEGABYTE for _ in range(1500))
        yield b") Tj ET"

    bomb = pdf_with_stream(stream())
    assert len(bomb) < 2 * MEGABYTE
    assert "split it" in reason("a.pdf", bomb)


def test_html_with_elements_inside_elements_without_end_is_read_to_the_end() -> None:
    [section] = read_sections("a.html", b"<div>" * 20_000 + b"<p>The end.</p>")
    assert section.text == "The end."


def test_a_file_of_countless_items_ends_early() -> None:
    assert f"more than {MAX_PARTS:,} parts" in reason("a.json", b"[" + b"[]," * 1_000_000 + b"[]]")


def test_a_document_of_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    with pytest.raises(UnreadableDocument, match="has 3 pages; at most 2"):
        list(pdf.read(make_pdf(["1"], ["2"], ["3"])))


def test_too_much_text_is_refused() -> None:
    half = Section(text="x" * (MAX_TEXT_CHARACTERS // 2 + 1))
    with pytest.raises(UnreadableDocument, match="25 million characters"):
        list(bounded([half, half]))


READER = """
def read(content):
    {}
    yield
"""


@pytest.fixture
def strange_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a module of the test's own read JSON documents in the process."""

    def install(body: str) -> None:
        (tmp_path / "strange.py").write_text(READER.format(body))
        (tmp_path / "sitecustomize.py").write_text(
            "import sys, strange; sys.modules['parley.knowledge.readers.records'] = strange"
        )
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "damaged"),
        ("raise RuntimeError('secret content')", "damaged, or too complex"),
        ("import resource, signal, os; os.kill(os.getpid(), signal.SIGXCPU)", "takes too long"),
        ("import signal, os; os.kill(os.getpid(), signal.SIGKILL)", "too much memory"),
        ("bytearray(2 * 1024**3)", "too much memory"),
        ("def deeper(): deeper()\n    deeper()", "damaged"),
    ],
)
def test_a_parser_that_dies_takes_only_its_process_along(strange_reader: Any, body: str, words: str) -> None:
    strange_reader(body)
    assert words in reason("a.json", b"[1]")


def test_a_parser_that_never_ends_is_ended(strange_reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "WALL_SECONDS", 1)
    strange_reader("import time; time.sleep(600)")
    assert "takes too long" in reason("a.json", b"[1]")


def test_the_process_has_limits_and_no_credentials(strange_reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    strange_reader(
        "import os, resource\n"
        "    from parley.knowledge.sections import Section\n"
        "    print('noise')\n"
        "    limits = [resource.getrlimit(l)[0] for l in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]\n"
        "    yield Section(text=repr((limits, 'AWS_SECRET_ACCESS_KEY' in os.environ)))\n"
        "    return"
    )
    [section] = read_sections("a.json", b"[1]")
    assert section.text == repr(([isolation.CPU_SECONDS, isolation.MEMORY_BYTES], False))


@pytest.mark.parametrize(
    ("failure", "words"),
    [(MemoryError(), "too much memory"), (ValueError("content"), "damaged"), (UnreadableDocument("So."), r"So\.")],
)
def test_whatever_a_reader_raises_becomes_a_reason(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    def read(content: bytes) -> Iterator[Section]:
        yield Section(text="A beginning.")
        raise failure

    monkeypatch.setattr(records, "read", read)
    result = isolation._result("records", b"[1]")
    assert result.sections == []
    assert re.search(words, result.reason or "")


def test_reading_plain_text_imports_no_parser() -> None:
    program = (
        "import sys; from parley.knowledge.reading import read_sections; read_sections('a.md', b'# A\\n\\nb'); "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    loaded = set(done.stdout.split())
    assert "parley.knowledge.readers.isolation" in loaded
    assert not {"docx", "lxml", "pypdfium2", "csv"} & loaded


# Each reader in this process, too: what it raises itself rather than what its process makes of it.


@pytest.mark.parametrize(
    ("reader", "content", "words"),
    [
        (pdf, make_pdf(["x"], password="secret"), "password"),
        (pdf, b"%PDF-1.7 nothing", "damaged"),
        (pdf, scanned_pdf(), "scanned"),
        (docx, b"PK\x03\x04 nothing", "cannot be unpacked"),
        (docx, zip_of("xl/workbook.xml"), "no Word document"),
        (docx, encrypted_zip(), "password"),
        (html, b"<p>\0</p>", "not a text file"),
        (tables, b"a\n" + b"x" * 200_000, "CSV"),
        (records, json.dumps({"a": 1}).encode(), "array"),
        (records, b"[" * 30 + b"]" * 30, "nested"),
    ],
)
def test_each_reader_gives_its_own_reason(reader: Any, content: bytes, words: str) -> None:
    with pytest.raises(UnreadableDocument, match=words):
        list(reader.read(content))


def test_the_limit_of_a_file_is_the_one_of_the_upload_form() -> None:
    assert MAX_DOCUMENT_BYTES == 50 * MEGABYTE
    assert set(isolation.READERS) < set(FORMATS)
