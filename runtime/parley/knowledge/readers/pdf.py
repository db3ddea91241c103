"""PDF: a section per page and bookmark, by PDFium."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_raw

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.sections import MAX_TITLE_LENGTH, Outline, Section

MAX_PAGES = 3_000
"""Longer ones are collections, better uploaded as their parts."""

MAX_BOOKMARKS = 10_000
"""Bookmarks that are looked at; an outline may be made to have no end."""

FULL_LINE = 0.7
"""A line shorter than this part of its page's longest one ends a paragraph."""

# How PDFium says that a word goes on in the next line.
_HYPHENATION = re.compile("[\x02\ufffe]\r?\n?")
_BULLET = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6\u25aa\u2013\u2014]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])\s")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC", "FULLWIDTH")


class _Bookmark(NamedTuple):
    level: int
    title: str


def read(content: bytes) -> Iterator[Section]:
    """The sections of a PDF, page by page, under the path of its bookmarks."""
    try:
        document = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_raw.FPDF_ERR_PASSWORD:
            raise UnreadableDocument("The document is protected by a password: upload it without one.") from error
        raise UnreadableDocument("The PDF is damaged and cannot be opened.") from error
    if len(document) > MAX_PAGES:
        raise UnreadableDocument(f"The document has {len(document):,} pages; at most {MAX_PAGES:,} are read.")
    bookmarks = _bookmarks(document)
    outline = Outline()
    has_text = False
    yielded = 0
    for number in range(len(document)):
        text = _page_text(document, number)
        has_text = has_text or bool(text.strip())
        outline.turn_page(number + 1)
        _add_page(outline, text, bookmarks.get(number, []))
        yield from outline.sections[yielded:]
        yielded = len(outline.sections)
    if not has_text:
        raise UnreadableDocument(
            "The pages hold no text: they seem to be scanned. Run text recognition (OCR) over the document and upload "
            "the result."
        )
    outline.close()
    yield from outline.sections[yielded:]


def _bookmarks(document: pdfium.PdfDocument) -> dict[int, list[_Bookmark]]:
    """The bookmarks by the page that they lead to, in the document's order."""
    found: dict[int, list[_Bookmark]] = defaultdict(list)
    for seen, bookmark in enumerate(document.get_toc()):
        if seen == MAX_BOOKMARKS:
            break
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        title = " ".join(bookmark.get_title().replace("\0", "").split())
        if page is not None and 0 < len(title) <= MAX_TITLE_LENGTH:
            found[page].append(_Bookmark(bookmark.level, title))
    return found


def _page_text(document: pdfium.PdfDocument, number: int) -> str:
    """A page's text; none for a page that is damaged, as long as others are not."""
    try:
        page = document[number]
    except pdfium.PdfiumError:
        return ""
    try:
        text_page = page.get_textpage()
        text = text_page.get_text_range()
        text_page.close()
    except pdfium.PdfiumError:
        return ""
    finally:
        page.close()
    joined = _HYPHENATION.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return joined.replace("\0", "")


def _add_page(outline: Outline, text: str, bookmarks: list[_Bookmark]) -> None:
    """A page's text under the bookmarks that lead to it: from the line that says the same, or from the top."""
    lines = text.split("\n")
    start = 0
    for bookmark in bookmarks:
        at = _line_of(bookmark.title, lines, start)
        if at is not None:
            _add_lines(outline, lines[start:at])
            start = at + 1
        outline.heading(bookmark.level, bookmark.title)
    _add_lines(outline, lines[start:])


def _line_of(title: str, lines: list[str], start: int) -> int | None:
    """The number of the line that is `title`, perhaps with a number before it."""
    wanted = _letters(title)
    for number in range(start, len(lines)):
        line = _letters(lines[number])
        if wanted and (line == wanted or (line.endswith(wanted) and not line[: -len(wanted)].strip("0123456789."))):
            return number
    return None


def _letters(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _add_lines(outline: Outline, lines: list[str]) -> None:
    """Lines of a page as paragraphs, so that no sentence is cut where only a line ended."""
    longest = max(map(len, lines), default=0)
    paragraph = ""
    for line in map(str.strip, lines):
        if not line:
            continue
        if paragraph and _BULLET.match(line):
            outline.line(paragraph)
            paragraph = ""
        paragraph += f"{_gap(paragraph, line)}{line}"
        if len(line) < FULL_LINE * longest:
            outline.line(paragraph)
            paragraph = ""
    if paragraph:
        outline.line(paragraph)


def _gap(before: str, after: str) -> str:
    """What stood between two lines: a space, except in scripts that write none."""
    if not before or all(unicodedata.name(end, "").startswith(_UNSPACED) for end in (before[-1], after[0])):
        return ""
    return " "
