"""Chunking: sections cut into chunks of at most 512 tokens, between blocks, lines, sentences or, at worst, words.

A section is read as units in their order: blocks (paragraphs, tables, fenced code) that fit in a chunk, and of larger
ones their lines, of larger lines their sentences, of larger sentences pieces between words. Chunks are filled with
whole units. Every character is looked at a fixed number of times, so time grows with the length of the text alone.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from parley.knowledge.boundaries import is_between_characters, last_word_end, next_word_start, sentence_ends
from parley.knowledge.chunks import Chunk
from parley.knowledge.sections import Section, fenced_code

CHUNK_TOKENS = 512
"""The most tokens of a chunk, by `count_tokens`."""

OVERLAP_TOKENS = 80
"""The most tokens that a chunk repeats of the one before it: two or three sentences. On XQuAD 72 to 102
hardly differ, and 64 found one answer fewer in English articles without paragraphs."""

BYTES_PER_TOKEN = 4
"""UTF-8 bytes that count as one token."""

_CHUNK_BYTES = CHUNK_TOKENS * BYTES_PER_TOKEN
_OVERLAP_BYTES = OVERLAP_TOKENS * BYTES_PER_TOKEN

# Without Unicode's spaces: what stands between units is counted as a byte a character.
_BLANK_LINES = re.compile(r"\n(?:[ \t\f]*+\n)++")
_CELL = " | "
_INDENT = 40
"""Characters in which a line's first word is looked for."""

type _Unit = tuple[int, int, int]
"""Where a unit starts and ends in the text, and its bytes. An empty one announces a block that fits in no chunk."""


def count_tokens(text: str) -> int:
    """An estimate of how many tokens an embedding model makes of `text`, without its vocabulary.

    It is a quarter of the UTF-8 length, rounded up. Titan's documentation gives 4.7 characters a token for English,
    so English counts some 15 % high. Other scripts have more bytes a character and fewer characters a token, which
    keeps the estimate's order of magnitude; it is not exact for any. What it does guarantee holds for every
    tokenizer that works on bytes: a chunk of 512 such tokens has at most 2,048 real ones, a quarter of Titan's limit.
    """
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def chunk_sections(sections: Iterable[Section]) -> Iterator[Chunk]:
    """The chunks of a document, numbered from 0. No chunk crosses a section, so each has one heading path."""
    number = 0
    for section in sections:
        units = _units(section.text, markdown=section.markdown)
        for start, end in _spans(section.text, units):
            yield Chunk(number, section.text[start:end].strip(), section.heading, section.page, section.metadata)
            number += 1


def _spans(text: str, units: Iterable[_Unit]) -> Iterator[tuple[int, int]]:
    """Chunks as places in the text: as many units as fit, the last of which the next chunk repeats.

    Repeated are whole units. Where a chunk ends inside a line with a sentence that is too long for that, it is the
    sentence's last words. A block that fits in no chunk begins in the first half of one: its beginning tells what it
    is about, and would be lost at the end of another subject.
    """
    held: list[_Unit] = []
    repeated = 0  # How many of them the chunk before holds too.
    total = stop = 0
    limit = _CHUNK_BYTES
    for unit in units:
        start, end, size = unit
        if not size:
            limit = _CHUNK_BYTES if total < _CHUNK_BYTES // 2 else 0
            continue
        # Between units that do not touch stand only line breaks and blanks, a byte each.
        if held and total + start - stop + size > limit:
            room = max(0, min(_OVERLAP_BYTES, _CHUNK_BYTES - size - (start - stop)))
            first, total = _overlap(held, room) if held[-1][2] <= room else (len(held), 0)
            # A chunk whose every new unit stands in the next one too is left out.
            if first > repeated:
                if not text[held[repeated][0] : stop].isspace():
                    yield held[0][0], stop
                repeated = len(held)
                if first == repeated and start == stop and (tail := _tail(text, held[-1], room)):
                    held.append(tail)
                    repeated += 1
                    total = tail[2]
            del held[:first]
            repeated -= first
        total += start - stop + size if held else size
        held.append(unit)
        stop = end
        limit = _CHUNK_BYTES
    if len(held) > repeated and not text[held[repeated][0] : stop].isspace():
        yield held[0][0], stop


def _overlap(held: Sequence[_Unit], room: int) -> tuple[int, int]:
    """The first of the last units that fit in `room` bytes together, and their bytes."""
    first, total = len(held), 0
    stop = held[-1][1]
    while first:
        start, end, size = held[first - 1]
        if total + size + stop - end > room:
            break
        total += size + stop - end
        stop = start
        first -= 1
    return first, total


def _tail(text: str, unit: _Unit, room: int) -> _Unit | None:
    """The last words of a unit that is larger than `room` bytes, as many as fit, if any do."""
    if not room:
        return None
    start, end, _ = unit
    last = text[max(start, end - room) : end].encode()[-room:].decode(errors="ignore")
    start = next_word_start(text, end - len(last), start, end)
    return (start, end, len(text[start:end].encode())) if start < end else None


def _units(text: str, *, markdown: bool) -> Iterator[_Unit]:
    is_ascii = text.isascii()
    for start, end, is_code in _blocks(text, fenced_code(text) if markdown else ()):
        size = end - start if is_ascii else _bytes(text[start:end])
        if size <= _CHUNK_BYTES:
            yield start, end, size
            continue
        yield start, start, 0
        for line_start, line_end in _lines(text, start, end, is_code=is_code):
            size = line_end - line_start if is_ascii else _bytes(text[line_start:line_end])
            if size <= _CHUNK_BYTES:
                yield line_start, line_end, size
            else:
                yield from _sentences(text, line_start, line_end)


def _blocks(text: str, fences: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """What stands between blank lines, and whether it is code: fenced code is a block, whatever it holds."""
    start = position = 0
    for fence_start, fence_end in (*fences, (len(text) + 1, len(text) + 1)):
        for blank in _BLANK_LINES.finditer(text, position, fence_start):
            end, following = blank.span()
            if end > start:
                yield start, end, False
            start = following
        if start < fence_start - 1:
            yield start, fence_start - 1, False
        if fence_start < fence_end:
            yield fence_start, fence_end, True
        start, position = fence_end + 1, fence_end


def _lines(text: str, start: int, end: int, *, is_code: bool) -> Iterator[tuple[int, int]]:
    """The lines of a block. One that goes on with a small letter in the next is part of it, unless they are rows."""
    line = start
    while line < end:
        at = text.find("\n", line, end)
        if at < 0:
            at = end
        if at < end and not is_code:
            first = text[at + 1 : at + 2]
            goes_on = first.islower() or (first == " " and text[at + 1 : at + _INDENT].lstrip()[:1].islower())
            if goes_on and _CELL not in text[line:at]:
                line = at + 1
                continue
        if at > start:
            yield start, at
        start = line = at + 1


def _sentences(text: str, start: int, end: int) -> Iterator[_Unit]:
    for at in sentence_ends(text, start, end):
        size = _bytes(text[start:at])
        if size <= _CHUNK_BYTES:
            yield start, at, size
        else:
            yield from _pieces(text, start, at)
        start = at


def _pieces(text: str, start: int, end: int) -> Iterator[_Unit]:
    """Pieces of a long sentence, small enough to be an overlap."""
    while start < end:
        at = _fit(text, start, end, _OVERLAP_BYTES)
        if at < end:
            at = _cut(text, start, at, end)
        yield start, at, _bytes(text[start:at])
        start = at


def _cut(text: str, start: int, at: int, end: int) -> int:
    """The best end before `at` of a piece that begins at `start`; after it only where one character is longer."""
    word_end = last_word_end(text, (start + at) // 2, at)
    if word_end is not None:
        return word_end
    for cut in range(at, start, -1):
        if is_between_characters(text, cut, start):
            return cut
    longest = _fit(text, start, end, _CHUNK_BYTES)
    for cut in range(at + 1, longest):
        if is_between_characters(text, cut, start):
            return cut
    return longest


def _fit(text: str, start: int, end: int, size: int) -> int:
    """How far the text from `start` on takes at most `size` bytes."""
    part = text[start : min(end, start + size)]
    return start + (len(part) if part.isascii() else len(part.encode()[:size].decode(errors="ignore")))


def _bytes(text: str) -> int:
    """How many bytes it takes; of what cannot fit in a chunk, how many at least."""
    characters = len(text)
    return characters if characters > _CHUNK_BYTES else len(text.encode())
