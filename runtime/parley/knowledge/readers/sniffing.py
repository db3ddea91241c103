"""What a file is, by its first bytes: names lie, and some formats stand for another one that can be read."""

import re

from parley.knowledge.errors import UnreadableDocument

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")

_OTHERS = (
    (b"%PDF-", "a PDF"),
    (_OLE, "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF87a", "a picture"),
    (b"GIF89a", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"7z\xbc\xaf", "a compressed archive"),
    (b"Rar!\x1a", "a compressed archive"),
    (b"\x7fELF", "a program"),
)

_PDF_WITHIN = 1_024
"""Bytes in which `%PDF-` may begin: other readers allow junk before it, and files with some exist."""

_TAG = re.compile(rb"<[A-Za-z!?]")


def check_content(ending: str, content: bytes) -> None:
    """Raise UnreadableDocument when `content` is plainly something else than the name's `ending` says."""
    if ending == ".docx" and content.startswith(_OLE):
        if _ENCRYPTED_PACKAGE in content:
            raise UnreadableDocument("The document is protected by a password: upload it without one.")
        raise UnreadableDocument("The document is in Word's old format (.doc); save it as .docx and upload it again.")
    kind = _kind(content)
    match ending:
        case ".pdf":
            matches, wanted = b"%PDF-" in content[:_PDF_WITHIN], "a PDF"
        case ".docx":
            matches, wanted = content.startswith(_ZIP), "a Word document"
        case ".html" | ".htm":
            # In UTF-16 every other byte is 0; the reader knows better.
            matches, wanted = kind is None and (b"\0" in content or _TAG.search(content) is not None), "HTML"
        case _:
            matches, wanted = kind is None, "text"
    if not matches:
        what = f"it is {kind}" if kind else f"it is not {wanted}"
        raise UnreadableDocument(f"The document is not what its name says ({ending}): {what}.")


def _kind(content: bytes) -> str | None:
    """What the first bytes say; None for what may be text."""
    if content.startswith(_ZIP):
        return "a Word document" if b"word/document.xml" in content else "a compressed archive"
    return next((kind for start, kind in _OTHERS if content.startswith(start)), None)
