"""Chunking: sections cut into pieces of at most 512 tokens, between blocks, sentences or, at worst, words.

The cutting is semantic-text-splitter's: Unicode's sentence and word boundaries (with dictionaries for scripts that
write no spaces), and Markdown's blocks.
"""

from collections.abc import Iterable, Iterator

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from parley.knowledge.chunks import Chunk
from parley.knowledge.sections import Section

CHUNK_TOKENS = 512
"""The most tokens of a chunk, by `count_tokens`."""

OVERLAP_TOKENS = 64
"""The most tokens that a chunk repeats of the one before it: about two sentences."""

BYTES_PER_TOKEN = 4
"""UTF-8 bytes that count as one token."""

WINDOW_CHARACTERS = 32_768
"""What the splitter is given at once. Its time grows with the square of the length where a text has no line breaks:
2 MB take 4.5 s whole and 0.1 s in windows. Chunks on two sides of a window's end do not overlap."""

_BOUNDARIES = ("\n\n", "\n", ". ", "。", " ")


def count_tokens(text: str) -> int:
    """An estimate of how many tokens an embedding model makes of `text`, without its vocabulary.

    It is a quarter of the UTF-8 length, rounded up. Titan's documentation gives 4.7 characters a token for English,
    so English counts some 15 % high. Other scripts have more bytes a character and fewer characters a token, which
    keeps the estimate's order of magnitude; it is not exact for any. What it does guarantee holds for every
    tokenizer that works on bytes: a chunk of 512 such tokens has at most 2,048 real ones, a quarter of Titan's limit.
    """
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


_TEXT = TextSplitter.from_callback(count_tokens, CHUNK_TOKENS, OVERLAP_TOKENS)
_MARKDOWN = MarkdownSplitter.from_callback(count_tokens, CHUNK_TOKENS, OVERLAP_TOKENS)


def chunk_sections(sections: Iterable[Section]) -> Iterator[Chunk]:
    """The chunks of a document, numbered from 0. No chunk crosses a section, so each has one heading path."""
    number = 0
    for section in sections:
        splitter = _MARKDOWN if section.markdown else _TEXT
        for window in _windows(section.text):
            for text in splitter.chunks(window):
                yield Chunk(
                    number=number,
                    text=text,
                    heading=section.heading,
                    page=section.page,
                    metadata=section.metadata,
                )
                number += 1


def _windows(text: str) -> Iterator[str]:
    """`text` in pieces of at most `WINDOW_CHARACTERS`, cut at the best boundary in the second half of each."""
    start = 0
    while len(text) - start > WINDOW_CHARACTERS:
        end = start + WINDOW_CHARACTERS
        for boundary in _BOUNDARIES:
            at = text.rfind(boundary, start + WINDOW_CHARACTERS // 2, end)
            if at >= 0:
                end = at + len(boundary)
                break
        yield text[start:end]
        start = end
    yield text[start:]
