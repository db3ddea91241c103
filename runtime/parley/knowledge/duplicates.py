"""Near-duplicates: texts that say the same in all but a few words."""

SHINGLE_LENGTH = 8
"""Characters of a shingle: one changed word of a text changes about a dozen of its shingles."""


def shingles(text: str) -> frozenset[str]:
    """The stretches of characters that a text is made of, whatever its case and spaces; a short text is one."""
    plain = " ".join(text.casefold().split())
    return frozenset(plain[i : i + SHINGLE_LENGTH] for i in range(max(1, len(plain) - SHINGLE_LENGTH + 1)))


def are_near_duplicates(a: frozenset[str], b: frozenset[str], *, above: float) -> bool:
    """Do two texts have a larger share of their shingles in common (Jaccard) than `above`, from 0 to 1?"""
    smaller, larger = sorted((len(a), len(b)))
    if smaller <= above * larger:
        return False  # However much they share, it cannot be enough.
    common = len(a & b)
    return common > above * (smaller + larger - common)
