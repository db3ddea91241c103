"""Links with which a reader opens a document's file, made without asking anyone and valid for a short time.

A link shows the file to whoever holds it. So it is made only for those who may read the document, and never stored.
"""

from typing import Protocol
from urllib.parse import quote

from parley.knowledge.documents import Document, extension

SOURCE_SECONDS = 15 * 60
"""How long a link is valid: long enough to read an answer and look its sources up."""

_PDF = "application/pdf"
_TEXT = "text/plain; charset=utf-8"
_SHOWN = {".pdf": _PDF, **dict.fromkeys((".txt", ".md", ".markdown", ".csv", ".json"), _TEXT)}
"""What a browser may show, and as what: nothing that could run a script at the bucket's address."""


class FileLinks(Protocol):
    """Makes links to files in the documents bucket."""

    def link(self, key: str, *, media_type: str, disposition: str, expires_in: int) -> str:
        """A URL of the file under `key`, valid for so many seconds, that answers with these two headers."""


def source_url(links: FileLinks, document: Document) -> str:
    """A link to a document's file as it is when the link is opened. All but text and PDF is downloaded, not shown."""
    media_type = _SHOWN.get(extension(document.key))
    return links.link(
        document.key,
        media_type=media_type or "application/octet-stream",
        disposition=f"{'inline' if media_type else 'attachment'}; filename*=UTF-8''{quote(document.name, safe='')}",
        expires_in=SOURCE_SECONDS,
    )


def at_page(url: str, document: Document, page: int | None) -> str:
    """The link to a document, opened at a page where its format has such links: in PDF."""
    return f"{url}#page={page}" if page is not None and _SHOWN.get(extension(document.key)) == _PDF else url
