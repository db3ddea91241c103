"""From a file's bytes to its text, section by section."""

import codecs
from collections.abc import Iterable

from parley.knowledge.documents import MAX_DOCUMENT_BYTES, extension
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.sections import Section, markdown_sections

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_sections(name: str, content: bytes) -> Iterable[Section]:
    """The sections of a document, in order; `name` tells its format.

    Raises UnreadableDocument when the file is not what its name says, is too large, or holds no text.
    """
    if len(content) > MAX_DOCUMENT_BYTES:
        raise UnreadableDocument(f"The document is larger than {MAX_DOCUMENT_BYTES // 1024**2} MB.")
    match extension(name):
        case ".md" | ".markdown":
            sections = markdown_sections(_decode(content))
        case ".txt":
            sections = [Section(text=_decode(content))]
        case other:
            raise UnreadableDocument(f"Files ending in {other or 'nothing'} are not supported.")
    filled = [section for section in sections if section.text.strip()]
    if not filled:
        raise UnreadableDocument("The document holds no text.")
    return filled


def _decode(content: bytes) -> str:
    """Text with `\\n` for every line break. UTF-8 unless a byte order mark says UTF-16."""
    encoding = "utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocument("The document is not text in UTF-8; save it as UTF-8 and upload it again.") from error
    if "\0" in text:
        raise UnreadableDocument("The document is not a text file, although its name says so.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
