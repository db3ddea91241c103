"""Sections: the parts of a document under one heading."""

import re
from dataclasses import dataclass, field

from parley.knowledge.chunks import Metadata

HEADING_SEPARATOR = " > "
"""Stands between the titles of a heading path."""

MAX_TITLE_LENGTH = 200
"""A longer line that begins with `#` is text: nobody cites it, and it would fill the chunks below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of a document without a heading of its own inside."""

    text: str
    heading: str = ""
    """Titles from the outermost to its own: "The sandbox > Gateway"."""
    page: int | None = None
    markdown: bool = False
    """Is `text` Markdown? It is then split between its blocks before it is split between sentences."""
    metadata: Metadata = field(default_factory=dict)
    """A record's fields, where the document is a list of records."""


_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_CONTAINER = r"(?:[ \t]*(?:[-*+]|\d{1,9}[.)]|>)(?=[ \t]))*[ \t]*"
_FENCE = re.compile(_CONTAINER + r"(`{3,}(?=[^`]*$)|~{3,})")
_FENCE_MARK = re.compile("```|~~~")
_NOT_A_TITLE = re.compile(r" {4}|\t| {0,3}(?:[-*+>|]|\d{1,9}[.)])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


class Outline:
    """Collects a document's lines under its headings: the titles above the current line, and the sections so far."""

    def __init__(self, *, markdown: bool = False) -> None:
        self.sections: list[Section] = []
        self._markdown = markdown
        self._page: int | None = None
        self._titles: list[tuple[int, str]] = []
        self._lines: list[str] = []
        self._is_told = True  # Does some section's path or text hold the innermost title?

    def heading(self, level: int, title: str) -> None:
        """A heading begins a section, inside every open one of a smaller level."""
        self.close(next_level=level)
        while self._titles and self._titles[-1][0] >= level:
            self._titles.pop()
        self._titles.append((level, title))
        self._is_told = not title

    def line(self, text: str) -> None:
        """A line of text under the innermost heading; an empty one ends a paragraph."""
        if text or self._markdown or (self._lines and self._lines[-1]):
            self._lines.append(text)

    def turn_page(self, number: int) -> None:
        """What follows stands on page `number`. A section ends with its page."""
        if any(line.strip() for line in self._lines):
            self.close()
        self._page = number

    def take_back_paragraph(self) -> list[str]:
        """Remove and return the lines since the last blank one: an underline just made them a title."""
        start = len(self._lines)
        while start and self._lines[start - 1].strip():
            start -= 1
        taken, self._lines = self._lines[start:], self._lines[:start]
        return taken

    def close(self, next_level: int = 0) -> None:
        """End the section. A title with no text under it becomes text, unless a later path will hold it."""
        text = "\n".join(self._lines)
        if not self._markdown:
            text = text.rstrip()
        self._lines = []
        titles = [title for _, title in self._titles if title]
        if not text.strip():
            if self._is_told or (self._titles and next_level > self._titles[-1][0]):
                return
            text = titles.pop()
        self._is_told = True
        heading = HEADING_SEPARATOR.join(titles)
        self.sections.append(Section(text=text, heading=heading, page=self._page, markdown=self._markdown))


def markdown_sections(text: str) -> list[Section]:
    """The sections of a Markdown document (`\\n` line breaks), in order.

    Headings as CommonMark has them (`#` and underlined), except that lines in fenced code and front matter are none.
    Every word of the document stands in some section's text or heading path.
    """
    outline = Outline(markdown=True)
    lines = text.split("\n")
    start = _front_matter_end(lines)
    for line in lines[:start]:
        outline.line(line)
    fence: str | None = None
    previous_may_be_title = False
    for line in lines[start:]:
        if fence is not None:
            outline.line(line)
            if _closes(line, fence):
                fence = None
            continue
        opening = _FENCE.match(line)
        atx = _ATX.match(line)
        if opening is not None:
            fence = opening.group(1)
            outline.line(line)
        elif atx is not None and len(atx.group(2) or "") <= MAX_TITLE_LENGTH:
            outline.heading(len(atx.group(1)), _plain(atx.group(2) or ""))
        elif previous_may_be_title and (underline := _SETEXT.match(line)):
            _underlined(outline, line, level=1 if underline.group(1).startswith("=") else 2)
        else:
            outline.line(line)
            previous_may_be_title = bool(line.strip()) and _NOT_A_TITLE.match(line) is None
            continue
        previous_may_be_title = False
    outline.close()
    return outline.sections


def _underlined(outline: Outline, line: str, *, level: int) -> None:
    """The paragraph above an underline is a title, if it could be one; else the line is a rule or text."""
    paragraph = outline.take_back_paragraph()
    title = " ".join(part.strip() for part in paragraph)
    if len(title) <= MAX_TITLE_LENGTH and not any(_NOT_A_TITLE.match(part) for part in paragraph):
        outline.heading(level, _plain(title))
        return
    for part in [*paragraph, line]:
        outline.line(part)


def _front_matter_end(lines: list[str]) -> int:
    """The number of lines of YAML front matter; its closing `---` is no underline."""
    if lines[0].rstrip() != "---":
        return 0
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() in ("---", "..."):
            return number + 1
        if not line.strip():
            return 0
    return 0


def fenced_code(text: str) -> list[tuple[int, int]]:
    """Where the blocks of fenced code start and end in the text of a Markdown section, their fences included."""
    found: list[tuple[int, int]] = []
    fence: str | None = None
    block = end = 0
    while mark := _FENCE_MARK.search(text, end):
        start = text.rfind("\n", end, mark.start()) + 1 or end
        end = text.find("\n", mark.end())
        end = len(text) if end < 0 else end
        line = text[start:end]
        if fence is None:
            if opening := _FENCE.match(line):
                fence, block = opening.group(1), start
        elif _closes(line, fence):
            found.append((block, end))
            fence = None
    return found if fence is None else [*found, (block, len(text))]


def _closes(line: str, fence: str) -> bool:
    text = line.strip(" \t>")
    return len(text) >= len(fence) and not text.strip(fence[0])


def _plain(title: str) -> str:
    """A title without the marks that only style it."""
    return " ".join(_LINK.sub(r"\1", title).replace("`", "").replace("**", "").split())
