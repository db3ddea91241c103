"""Which rows of a FAISS segment hold a key: a word of their text, or a value they can be filtered by."""

import zlib
from collections.abc import Buffer, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

type Places = NDArray[np.int64]
"""For each row of a segment its row in the one that is made from it, or DROPPED."""

DROPPED = -1


class OccurrencesFile(msgspec.Struct, frozen=True):
    """Occurrences as they are stored: bytes of arrays."""

    keys: memoryview
    """Distinct keys, rising."""
    counts: memoryview
    """How many rows each has."""
    rows: memoryview
    """Compressed: each row as its difference from the one before, all keys in one sequence."""
    row_bytes: int


class Occurrences:
    """Rows by key."""

    def __init__(self, keys: "NDArray[Any]", counts: "NDArray[Any]", rows: "NDArray[Any]") -> None:
        """`keys` are distinct and rising; `rows` has those of the first key in rising order, then the second's."""
        self.keys = keys
        self._edges = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self.rows = rows

    @classmethod
    def of_pairs(cls, keys: "NDArray[Any]", rows: "NDArray[Any]") -> "tuple[Occurrences, NDArray[np.int64]]":
        """From one entry per occurrence in any order, and the order in which they then stand."""
        distinct, codes, counts = np.unique(keys, return_inverse=True, return_counts=True)
        # One number per entry sorts several times faster than two.
        order = np.argsort((codes.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64))
        return cls(distinct, counts, rows[order]), order

    @classmethod
    def merged(cls, parts: "Sequence[tuple[Occurrences, Places]]") -> "tuple[Occurrences, NDArray[np.int64]]":
        """Of the rows that have a place, and the order in which the parts' entries that are kept then stand."""
        keys, rows = [], []
        for part, places in parts:
            kept = part.kept(places)
            keys.append(np.repeat(part.keys, part.counts)[kept])
            rows.append(places[part.rows[kept]].astype(np.uint32))
        return cls.of_pairs(np.concatenate(keys), np.concatenate(rows))

    @classmethod
    def decode(cls, file: OccurrencesFile, key_type: "np.dtype[Any]", rows: int) -> "Occurrences":
        """From `encode`'s result. Raises ValueError when it does not fit `rows`."""
        row_type = np.dtype(f"<u{file.row_bytes}")
        shuffled = np.frombuffer(zlib.decompress(file.rows), np.uint8).reshape(file.row_bytes, -1)
        steps = np.ascontiguousarray(shuffled.T).view(row_type).ravel()
        found = cls(array_of(file.keys, key_type), array_of(file.counts, "<u4"), np.cumsum(steps, dtype=row_type))
        count = int(found._edges[-1])
        if (
            len(found.keys) != len(found._edges) - 1
            or count != len(found.rows)
            or (count and int(found.rows.max()) >= rows)
        ):
            raise ValueError("Keys and rows do not match.")
        return found

    def encode(self, rows: int) -> OccurrencesFile:
        """What is stored of them in a segment of so many rows."""
        row_type = np.dtype("<u2") if rows <= 2**16 else np.dtype("<u4")
        # Unsigned differences wrap around, and so does the sum that undoes them.
        steps = np.diff(self.rows.astype(row_type), prepend=row_type.type(0)).astype(row_type)
        shuffled = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, row_type.itemsize).T)
        return OccurrencesFile(
            keys=bytes_of(self.keys),
            counts=bytes_of(self.counts.astype("<u4")),
            rows=memoryview(zlib.compress(shuffled, 1)),
            row_bytes=row_type.itemsize,
        )

    @property
    def counts(self) -> "NDArray[np.int64]":
        """How many rows each key has."""
        return np.diff(self._edges)

    def kept(self, places: Places) -> "NDArray[np.bool_]":
        """Which entries concern rows that have a place."""
        kept: NDArray[np.bool_] = places[self.rows] != DROPPED
        return kept

    def find(self, keys: "NDArray[Any]") -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Where the entries of each of these keys begin and end: at the same place for one that there is not."""
        if not len(self.keys):
            nowhere = np.zeros(len(keys), dtype=np.int64)
            return nowhere, nowhere
        places = np.minimum(self.keys.searchsorted(keys), len(self.keys) - 1)
        begins = self._edges[places]
        return begins, np.where(self.keys[places] == keys, self._edges[places + 1], begins)


def array_of(content: Buffer, type_: "np.dtype[Any] | str") -> "NDArray[Any]":
    """A stored array, copied to where its type may stand. Raises ValueError when its length does not fit."""
    return np.frombuffer(content, type_).copy()


def bytes_of(array: "NDArray[Any]") -> memoryview:
    """An array as it is stored."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
