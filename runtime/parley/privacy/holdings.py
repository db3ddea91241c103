"""All that is a user's, wherever it is kept: what an export gives, and what a deletion takes away.

Each place that holds something of a user's is a `Holding`. A new one is added to the lists in
`parley.functions.personal_data_jobs`, and is exported and deleted from then on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Part:
    """A file of an export."""

    position: str
    """Where to go on when this was the last one that was packed."""
    path: str
    """Its name in the archive."""
    content: Iterable[bytes]


class Holding(Protocol):
    """A place that holds something of a user's. Its methods raise StoreUnavailable."""

    @property
    def name(self) -> str:
        """What it holds, in a word."""

    def erase(self, subject: str) -> Iterator[int]:
        """Delete all of it, step by step; each step says how many things it deleted.

        To stop between two steps and to begin again later does no harm: what is gone is not found again.
        """


class Exportable(Protocol):
    """A place whose content is a user's to have. Its methods raise StoreUnavailable."""

    @property
    def name(self) -> str:
        """What it holds, in a word: the folder of its parts."""

    def parts(self, subject: str, after: str) -> Iterator[Part]:
        """Its parts after that position (empty: all), always in the same order."""
