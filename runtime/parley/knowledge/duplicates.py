"""Near-duplicates: texts that say the same in all but a few words."""

SHINGLE_LENGTH = 8
"""Characters of a shingle: one changed word of a text changes about a dozen of its shingles."""


def shingles(text: str) -> frozenset[str]:
    """The stretches of characters that a text is made of, whatever its case and spaces; a short text is one."""
    plain = " ".join(text.casefold().split())
    return frozenset(plain[i : i + SHINGLE_LENGTH] for i in range(max(1, len(plain) - SHINGLE_LENGTH + 1)))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """The share of their shingles that two texts have in common (Jaccard), from 0 to 1."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)
