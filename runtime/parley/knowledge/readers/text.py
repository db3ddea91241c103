"""Plain text and Markdown; and the decoding that every text format shares."""

import codecs
from collections.abc import Iterator

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.sections import Section, markdown_sections

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(content: bytes) -> Iterator[Section]:
    """The one section of a plain text."""
    yield Section(text=decode(content))


def read_markdown(content: bytes) -> Iterator[Section]:
    """The sections of a Markdown document."""
    yield from markdown_sections(decode(content))


def decode(content: bytes, declared: str | None = None) -> str:
    """Text with `\\n` for every line break, without a byte order mark.

    UTF-8, or UTF-16 where a byte order mark says so, else the encoding that the document itself has `declared`.
    """
    if content.startswith(_UTF_16_MARKS):
        encoding = "utf-16"
    elif content.startswith(codecs.BOM_UTF8) or declared is None:
        encoding = "utf-8-sig"
    else:
        encoding = declared
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise UnreadableDocument("The document is not text in UTF-8; save it as UTF-8 and upload it again.") from error
    if "\0" in text:
        raise UnreadableDocument("The document is not a text file, although its name says so.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
