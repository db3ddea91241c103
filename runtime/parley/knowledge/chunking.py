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
        for text in splitter.chunks(section.text):
            yield Chunk(number=number, text=text, heading=section.heading, page=section.page)
            number += 1
