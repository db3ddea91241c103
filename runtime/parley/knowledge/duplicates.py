"""Near-duplicates: texts that say the same in all but a few words."""

import struct

SHINGLE_LENGTH = 8
"""Characters of a shingle: one changed word of a text changes about a dozen of its shingles."""


_CHARACTER_BYTES = 4
_SHINGLE_BYTES = SHINGLE_LENGTH * _CHARACTER_BYTES


def shingles(text: str) -> frozenset[bytes]:
    """The stretches of characters that a text is made of, whatever its case and spaces; a short text is one."""
    plain = " ".join(text.casefold().split()).encode("utf-32-le", "surrogatepass")
    if len(plain) < _SHINGLE_BYTES:
        return frozenset([plain])
    found: set[bytes] = set()
    # Those that begin at the same place of a shingle's length are cut in one call: half the time of a loop over all.
    for start in range(0, _SHINGLE_BYTES, _CHARACTER_BYTES):
        count = (len(plain) - start) // _SHINGLE_BYTES
        found.update(struct.unpack_from(f"{_SHINGLE_BYTES}s" * count, plain, start))
    return frozenset(found)


def are_near_duplicates(a: frozenset[bytes], b: frozenset[bytes], *, above: float) -> bool:
    """Do two texts have a larger share of their shingles in common (Jaccard) than `above`, from 0 to 1?"""
    smaller, larger = sorted((len(a), len(b)))
    if smaller <= above * larger:
        return False  # However much they share, it cannot be enough.
    common = len(a & b)
    return common > above * (smaller + larger - common)
