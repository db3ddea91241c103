"""DOCX: paragraphs and tables under their headings, by python-docx.

python-docx opens the package and knows its styles. The text is taken from the elements themselves, because its
paragraphs leave out inserted (tracked) text, content controls and text boxes.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.sections import MAX_TITLE_LENGTH, Outline, Section

MAX_UNPACKED_BYTES = 200 * 1024 * 1024
"""What the files in the package may have together, unpacked. zipfile gives no more of a file than it declares."""

MAX_FILES = 10_000

_PARAGRAPH, _TABLE, _ROW, _CELL, _TEXT = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "t"))
_BREAKS = frozenset({qn("w:br"), qn("w:cr")})
_PAGE_BREAK, _TAB, _TEXT_BOX = qn("w:lastRenderedPageBreak"), qn("w:tab"), qn("w:txbxContent")
_VALUE, _STYLE_ID = qn("w:val"), qn("w:styleId")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Deleted and moved text; properties; the second rendering of a drawing for old programs.
_SKIPPED = frozenset({qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), qn("w:rPr"), qn("w:sectPr"), _FALLBACK})
_HEADING = re.compile(r"heading (\d)")
_TITLE_LEVEL = 0


def read(content: bytes) -> Iterator[Section]:
    """The sections of a Word document: its body under headings, then its notes.

    Pages are those of the last time that Word laid the document out; other programs store none.
    """
    _check_package(content)
    try:
        document = docx.Document(io.BytesIO(content))
    except (KeyError, ValueError) as error:
        raise UnreadableDocument("The document is not what its name says (.docx): it is no Word document.") from error
    body = _Body(_heading_levels(document.styles.element))
    if next(document.element.body.iter(_PAGE_BREAK), None) is not None:
        body.outline.turn_page(1)
    body.blocks(document.element.body)
    body.outline.close()
    yield from body.outline.sections
    for kind in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
        for relation in document.part.rels.values():
            if relation.reltype == kind and not relation.is_external:
                notes = _Body({})
                notes.blocks(parse_xml(relation.target_part.blob))
                notes.outline.close()
                yield from notes.outline.sections


def _check_package(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            files = package.infolist()
    # NotImplementedError is how zipfile meets a version or a compression that it does not know.
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UnreadableDocument("The document is damaged: it cannot be unpacked.") from error
    if any(file.flag_bits & 1 for file in files):
        raise UnreadableDocument("The document is protected by a password: upload it without one.")
    if len(files) > MAX_FILES or sum(file.file_size for file in files) > MAX_UNPACKED_BYTES:
        raise UnreadableDocument(
            f"The document is larger than {MAX_UNPACKED_BYTES // 1024**2} MB when it is unpacked; split it, or take "
            "its pictures out."
        )


def _heading_levels(styles: Any) -> dict[str, int]:
    """The heading level of each paragraph style that has one: its own or that of the style it is based on."""
    own: dict[str, int] = {}
    bases: dict[str, str] = {}
    for style in styles.findall(qn("w:style")):
        id_ = style.get(_STYLE_ID, "")
        name = _value(style, "w:name").lower()
        level = _value(style, "w:pPr/w:outlineLvl")
        heading = _HEADING.fullmatch(name)
        bases[id_] = _value(style, "w:basedOn")
        if name == "title":
            own[id_] = _TITLE_LEVEL
        elif heading is not None:
            own[id_] = int(heading.group(1))
        elif level.isdecimal() and int(level) < 9:
            own[id_] = int(level) + 1
    levels: dict[str, int] = {}
    for id_ in bases:
        ancestor, seen = id_, set[str]()
        while ancestor in bases and ancestor not in own and ancestor not in seen:
            seen.add(ancestor)
            ancestor = bases[ancestor]
        if ancestor in own:
            levels[id_] = own[ancestor]
    return levels


def _value(element: Any, path: str) -> str:
    found = element.find("/".join(qn(name) for name in path.split("/")))
    return "" if found is None else str(found.get(_VALUE, ""))


class _Body:
    """Walks through a part's blocks."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.outline = Outline()
        self._levels = levels
        self._page = 1

    def blocks(self, element: Any) -> None:
        """Add every paragraph and table inside `element`, however they are wrapped."""
        for child in element:
            if child.tag == _PARAGRAPH:
                self._paragraph(child)
            elif child.tag == _TABLE:
                self._table(child)
            elif child.tag not in _SKIPPED:
                self.blocks(child)

    def _paragraph(self, paragraph: Any) -> None:
        text, boxes, turned = self._words(paragraph)
        level = self._levels.get(_value(paragraph, "w:pPr/w:pStyle"))
        if level is not None and 0 < len(text) <= MAX_TITLE_LENGTH:
            self.outline.heading(level, " ".join(text.split()))
        elif text:
            is_item = paragraph.find(f"{qn('w:pPr')}/{qn('w:numPr')}") is not None
            self.outline.line(f"- {text}" if is_item else text)
            if not is_item:
                self.outline.line("")
        self._turn(turned)
        for box in boxes:
            self.blocks(box)

    def _table(self, table: Any) -> None:
        """A line for each row, `cell | cell`; a table inside a cell is part of its text."""
        for row in _nearest(table, _ROW):
            cells = []
            turned = 0
            for cell in _nearest(row, _CELL):
                words = []
                for paragraph in _nearest(cell, _PARAGRAPH):
                    text, boxes, pages = self._words(paragraph)
                    boxed = [self._words(inner)[0] for box in boxes for inner in _nearest(box, _PARAGRAPH)]
                    words += [" ".join(part.split()) for part in (text, *boxed) if part]
                    turned = max(turned, pages)
                cells.append(" ".join(words))
            if any(cells):
                self.outline.line(" | ".join(cells))
            self._turn(turned)
        self.outline.line("")

    def _words(self, paragraph: Any) -> tuple[str, list[Any], int]:
        """A paragraph's text, the text boxes anchored in it, and how many pages end inside it.

        A page that ends before its first word is turned at once.
        """
        parts: list[str] = []
        boxes: list[Any] = []
        turned = 0
        waiting = [paragraph]
        while waiting:
            element = waiting.pop()
            tag = element.tag
            if tag == _TEXT:
                parts.append(element.text or "")
            elif tag in _BREAKS:
                parts.append("\n")
            elif tag == _TAB:
                parts.append("\t")
            elif tag == _TEXT_BOX:
                boxes.append(element)
            elif tag == _PAGE_BREAK:
                if any(map(str.strip, parts)):
                    turned += 1
                else:
                    self._turn(1)
            elif tag not in _SKIPPED:
                waiting.extend(reversed(element))
        return "".join(parts).strip(), boxes, turned

    def _turn(self, pages: int) -> None:
        if pages:
            self._page += pages
            self.outline.turn_page(self._page)


def _nearest(element: Any, tag: str) -> Iterator[Any]:
    """Elements of this kind inside `element` and not inside one another, in order."""
    waiting = list(reversed(element))
    while waiting:
        child = waiting.pop()
        if child.tag == tag:
            yield child
        elif child.tag not in _SKIPPED:
            waiting.extend(reversed(child))
