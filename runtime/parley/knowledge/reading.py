"""From a file's bytes to its text, section by section."""

from parley.knowledge.documents import MAX_DOCUMENT_BYTES, extension
from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.limits import bounded
from parley.knowledge.readers import text
from parley.knowledge.readers.isolation import READERS, WALL_SECONDS, read_isolated
from parley.knowledge.readers.sniffing import check_content
from parley.knowledge.sections import Section

READING_SECONDS = float(WALL_SECONDS)
"""The longest that reading one document takes."""


def read_sections(name: str, content: bytes) -> list[Section]:
    """The sections of a document that hold text, in order; `name` tells its format.

    Raises UnreadableDocument when the file is not what its name says, cannot be read, is too large, or holds no text.
    """
    if not content:
        raise UnreadableDocument("The document is empty.")
    check_file_size(len(content))
    ending = extension(name)
    check_content(ending, content)
    match ending:
        case ".md" | ".markdown":
            sections = list(bounded(text.read_markdown(content)))
        case ".txt":
            sections = list(bounded(text.read(content)))
        case _ if ending in READERS:
            sections = read_isolated(ending, content)
        case _:
            raise UnreadableDocument(f"Files ending in {ending or 'nothing'} are not supported.")
    if not sections:
        raise UnreadableDocument("The document holds no text.")
    return sections


def check_file_size(size: int) -> None:
    """Raises UnreadableDocument for a file that is too large, so that nobody need read it."""
    if size > MAX_DOCUMENT_BYTES:
        raise UnreadableDocument(f"The document is larger than {MAX_DOCUMENT_BYTES // 1024**2} MB.")
