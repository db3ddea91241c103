"""HTML: text under its headings, without what is not for reading. One pass over the parser's events, no tree."""

import re
from collections.abc import Iterator, Mapping

from lxml import etree

from parley.knowledge.readers.text import decode
from parley.knowledge.sections import MAX_TITLE_LENGTH, Outline, Section

_SKIPPED = frozenset(
    {"script", "style", "template", "noscript", "nav", "svg", "iframe", "object", "button", "select", "textarea"}
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
     "figure", "footer", "form", "header", "hr", "main", "ol", "p", "pre", "section", "summary", "table", "ul"}
)  # fmt: skip
_LINES = frozenset({"caption", "li", "tr"})
_CELLS = frozenset({"td", "th"})
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_DECLARED_WITHIN = 2_048


def read(content: bytes) -> Iterator[Section]:
    """The sections of an HTML document, under the path of its `h1` to `h6`, or else under its title."""
    declared = _CHARSET.search(content[:_DECLARED_WITHIN])
    text = decode(content, declared.group(1).decode("ascii") if declared else None)
    collector = _Collector()
    # Without `huge_tree` the parser stops at 256 elements inside each other, and the rest is lost silently.
    parser = etree.HTMLParser(target=collector, encoding="utf-8", huge_tree=True)
    parser.feed(text.encode())
    parser.close()
    yield from collector.sections()


class _Collector:
    """The parser's target: turns events into lines and headings."""

    def __init__(self) -> None:
        self._outline = Outline()
        self._title: list[str] = []
        self._words: list[str] = []
        self._skipped = 0
        self._preformatted = 0
        self._rows = 0
        self._in_title = False

    def sections(self) -> Iterator[Section]:
        """The sections, once everything is parsed."""
        title = " ".join("".join(self._title).split())[:MAX_TITLE_LENGTH]
        for section in self._outline.sections:
            yield section if section.heading else Section(text=section.text, heading=title)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if self._skipped or tag in _SKIPPED or "hidden" in attributes:
            self._skipped += 1
        elif tag == "title":
            self._in_title = True
        elif tag in _CELLS:
            if "".join(self._words).strip():
                self._words.append(" | ")
        elif tag == "br":
            self._words.append("\n")
        elif tag == "img":
            self._words.append(attributes.get("alt", ""))
        else:
            self._block(tag)
            self._preformatted += tag == "pre"
            self._rows += tag == "tr"
            if tag == "li":
                self._words.append("- ")

    def end(self, tag: str) -> None:
        """An element ends."""
        if self._skipped:
            self._skipped -= 1
        elif tag == "title":
            self._in_title = False
        elif tag in _HEADINGS:
            title = self._take()
            if len(title) <= MAX_TITLE_LENGTH:
                self._outline.heading(_HEADINGS[tag], title)
            else:
                self._outline.line(title)
        else:
            self._rows -= tag == "tr"
            self._block(tag)
            self._preformatted -= tag == "pre"

    def data(self, text: str) -> None:
        """Text, which the parser may give in several parts."""
        if self._in_title:
            self._title.append(text)
        elif not self._skipped:
            self._words.append(text if self._preformatted else re.sub(r"\s+", " ", text))

    def close(self) -> None:
        """The document ends."""
        self._line()
        self._outline.close()

    def _block(self, tag: str) -> None:
        """At the border of a block its line ends; inside a table's row it is only a space."""
        if self._rows and tag != "tr":
            if tag in _PARAGRAPHS or tag in _LINES:
                self._words.append(" ")
        elif tag in _PARAGRAPHS:
            self._line()
            self._outline.line("")
        elif tag in _LINES or tag in _HEADINGS:
            self._line()

    def _line(self) -> None:
        text = "".join(self._words).rstrip() if self._preformatted else self._paragraph()
        self._words.clear()
        if text.strip():
            self._outline.line(text)

    def _paragraph(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self._words).split("\n"))
        return "\n".join(line for line in lines if line)

    def _take(self) -> str:
        title = " ".join("".join(self._words).split())
        self._words.clear()
        return title
