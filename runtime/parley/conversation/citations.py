"""Citations: which of the given passages an answer refers to."""

import re
from collections.abc import Sequence

from parley.knowledge.passages import Citation, Passage

_MARKER = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")


def cited_passages(answer: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """The passages whose `[n]` (or `[n, m]`) stands in the answer, in order of first use. Other numbers are ignored."""
    return tuple(Citation.of(passages[n - 1], n) for n in cited_numbers(answer) if 1 <= n <= len(passages))


def cited_numbers(answer: str) -> list[int]:
    """The numbers in the answer's `[n]` and `[n, m]`, each once, in order of first use."""
    numbers = (int(number) for marker in _MARKER.findall(answer) for number in marker.split(","))
    return list(dict.fromkeys(numbers))
