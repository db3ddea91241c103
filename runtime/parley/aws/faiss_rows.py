"""Whose chunks the rows of a FAISS segment are, what they can be filtered by, and which of them count.

Everything is held in arrays, a value per row or per document: a segment of 32,000 documents loads as fast as one of a
few. A document's version, a document's id and a filter's term are each known by 64 bits of their digest. Among a
million of them two are the same by an accident in 1 of 37 million indexes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

import msgspec
import numpy as np
from numpy.typing import NDArray

from parley.aws.faiss_manifest import Removal
from parley.aws.faiss_occurrences import DROPPED, Occurrences, OccurrencesFile, Places, array_of, bytes_of
from parley.knowledge.chunks import ChunkId, IndexedChunk
from parley.knowledge.filters import Filter, alternatives, document_ids, terms

_KEY = np.dtype("<u8")
_NUMBER = np.dtype("<u4")

type Mask = NDArray[np.bool_]


class TextsFile(msgspec.Struct, frozen=True):
    """Texts as they are stored."""

    content: memoryview
    """One after the other, in UTF-8."""
    ends: memoryview


class RowsFile(msgspec.Struct, frozen=True):
    """Rows as they are stored: bytes of arrays, of documents' versions first and then of rows."""

    keys: memoryview
    """Rising."""
    owners: tuple[str, ...]
    owner_codes: memoryview
    """Each document's owner, as a place in `owners`."""
    ids: TextsFile
    id_keys: memoryview
    versions: TextsFile
    documents: memoryview
    """Each row's document, as a place in `keys`."""
    numbers: memoryview
    """Each row's chunk number."""
    added: memoryview
    """The generation that added each row; empty in a segment that is no merge: that segment's."""
    terms: OccurrencesFile


class Texts(Sequence[str]):
    """Many texts, decoded when they are asked for."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        parts = list(texts)
        self._content: bytes | memoryview = b"".join(parts)
        self._ends = np.fromiter(accumulate(map(len, parts)), dtype=np.int64, count=len(parts))

    @classmethod
    def decode(cls, file: TextsFile, count: int) -> "Texts":
        """From `encode`'s result. Raises ValueError when it is damaged."""
        found = cls.__new__(cls)
        found._content = file.content
        found._ends = np.cumsum(array_of(file.ends, _NUMBER), dtype=np.int64)
        if len(found) != count or (count and int(found._ends[-1]) != len(found._content)):
            raise ValueError("Texts and documents do not match.")
        return found

    def encode(self) -> TextsFile:
        """What is stored."""
        return TextsFile(memoryview(self._content), bytes_of(np.diff(self._ends, prepend=0).astype(_NUMBER)))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # slices are of no use here
        return self.raw(place).decode()

    def raw(self, place: int) -> bytes:
        """A text as UTF-8."""
        return bytes(self._content[int(self._ends[place - 1]) if place else 0 : int(self._ends[place])])


class Rows:
    """Whose the rows of a segment are."""

    def __init__(
        self,
        *,
        keys: "NDArray[np.uint64]",
        owners: Sequence[str],
        owner_codes: "NDArray[np.uint32]",
        ids: Texts,
        id_keys: "NDArray[np.uint64]",
        versions: Texts,
        documents: "NDArray[np.uint32]",
        numbers: "NDArray[np.uint32]",
        added: "NDArray[np.uint32] | None",
        terms: Occurrences,
    ) -> None:
        """See `RowsFile`."""
        self.keys = keys
        self.documents = documents
        self.numbers = numbers
        self.added = added
        self._owners = {owner: code for code, owner in enumerate(owners)}
        self._owner_names = tuple(owners)
        self._owner_codes = owner_codes
        self._row_owners = owner_codes[documents]
        self._ids = ids
        self._id_keys = id_keys
        self._versions = versions
        self._terms = terms

    def __len__(self) -> int:
        return len(self.documents)

    @classmethod
    def of_chunks(cls, chunks: Sequence[IndexedChunk]) -> "Rows":
        """One row for each chunk, in their order."""
        versions = {(chunk.id.owner, chunk.id.document_id, chunk.id.version) for chunk in chunks}
        by_key = sorted((document_key(*version), version) for version in versions)
        places = {version: place for place, (_, version) in enumerate(by_key)}
        owners = sorted({owner for owner, _, _ in versions})
        held = [(digest(term), row) for row, chunk in enumerate(chunks) for term in terms(chunk.metadata)]
        return cls(
            keys=np.asarray([key for key, _ in by_key], dtype=_KEY),
            owners=owners,
            owner_codes=np.asarray([owners.index(owner) for _, (owner, _, _) in by_key], dtype=_NUMBER),
            ids=Texts(id_.encode() for _, (_, id_, _) in by_key),
            id_keys=np.asarray([digest(id_) for _, (_, id_, _) in by_key], dtype=_KEY),
            versions=Texts(version.encode() for _, (_, _, version) in by_key),
            documents=np.asarray(
                [places[chunk.id.owner, chunk.id.document_id, chunk.id.version] for chunk in chunks], dtype=_NUMBER
            ),
            numbers=np.asarray([chunk.id.number for chunk in chunks], dtype=_NUMBER),
            added=None,
            terms=Occurrences.of_pairs(
                np.asarray([key for key, _ in held], dtype=_KEY), np.asarray([row for _, row in held], dtype=_NUMBER)
            )[0],
        )

    @classmethod
    def merged(cls, parts: "Sequence[tuple[Rows, Places]]", count: int) -> "Rows":
        """The `count` rows that have a place."""
        documents = np.empty(count, dtype=np.int64)
        numbers, added = np.empty(count, dtype=_NUMBER), np.empty(count, dtype=_NUMBER)
        starts = [0, *accumulate(len(rows.keys) for rows, _ in parts)]
        for (rows, places), start in zip(parts, starts, strict=False):
            live = places != DROPPED
            documents[places[live]] = rows.documents[live] + np.int64(start)
            numbers[places[live]] = rows.numbers[live]
            added[places[live]] = rows.generations[live]
        # Documents that still have rows, each once, whichever of the parts it comes from.
        used, documents = np.unique(documents, return_inverse=True)
        keys, first, codes = np.unique(
            np.concatenate([rows.keys for rows, _ in parts])[used], return_index=True, return_inverse=True
        )
        chosen = used[first]
        part_of = np.searchsorted(starts, chosen, side="right") - 1
        origins = [
            (parts[part][0], place)
            for part, place in zip(part_of.tolist(), (chosen - np.asarray(starts)[part_of]).tolist(), strict=True)
        ]
        names = [rows._owner_names[rows._owner_codes[place]] for rows, place in origins]
        owners = {owner: code for code, owner in enumerate(sorted(set(names)))}
        return cls(
            keys=keys,
            owners=tuple(owners),
            owner_codes=np.asarray([owners[name] for name in names], dtype=_NUMBER),
            ids=Texts(rows._ids.raw(place) for rows, place in origins),
            id_keys=np.concatenate([rows._id_keys for rows, _ in parts])[chosen],
            versions=Texts(rows._versions.raw(place) for rows, place in origins),
            documents=codes[documents].astype(_NUMBER),
            numbers=numbers,
            added=added,
            terms=Occurrences.merged([(rows._terms, places) for rows, places in parts])[0],
        )

    @classmethod
    def decode(cls, file: RowsFile, count: int, generation: int) -> "Rows":
        """From `encode`'s result: rows that this generation added. Raises ValueError when it is damaged."""
        keys = array_of(file.keys, _KEY)
        return cls(
            keys=keys,
            owners=file.owners,
            owner_codes=array_of(file.owner_codes, _NUMBER),
            ids=Texts.decode(file.ids, len(keys)),
            id_keys=array_of(file.id_keys, _KEY),
            versions=Texts.decode(file.versions, len(keys)),
            documents=array_of(file.documents, _NUMBER),
            numbers=array_of(file.numbers, _NUMBER),
            added=array_of(file.added, _NUMBER) if len(file.added) else np.full(count, generation, dtype=_NUMBER),
            terms=Occurrences.decode(file.terms, _KEY, count),
        )

    def encode(self) -> RowsFile:
        """What is stored."""
        return RowsFile(
            keys=bytes_of(self.keys),
            owners=self._owner_names,
            owner_codes=bytes_of(self._owner_codes),
            ids=self._ids.encode(),
            id_keys=bytes_of(self._id_keys),
            versions=self._versions.encode(),
            documents=bytes_of(self.documents),
            numbers=bytes_of(self.numbers),
            added=memoryview(b"") if self.added is None else bytes_of(self.added),
            terms=self._terms.encode(len(self)),
        )

    @property
    def generations(self) -> "NDArray[np.uint32]":
        """The generation that added each row; only of rows that were decoded or merged."""
        if self.added is None:
            raise ValueError("Rows have no generation before they are in a manifest.")
        return self.added

    def chunk_id(self, row: int) -> ChunkId:
        """Whose row it is."""
        document = int(self.documents[row])
        owner = self._owner_names[self._owner_codes[document]]
        return ChunkId(owner, self._ids[document], self._versions[document], int(self.numbers[row]))

    def chunks_by_document(self, live: "Mask | None") -> "dict[tuple[str, str, str], set[int]]":
        """The numbers of the chunks of the live rows (None: all), by owner, document id and version."""
        documents = self.documents if live is None else self.documents[live]
        numbers = self.numbers if live is None else self.numbers[live]
        found: dict[int, set[int]] = defaultdict(set)
        for document, number in zip(documents.tolist(), numbers.tolist(), strict=True):
            found[document].add(number)
        return {
            (self._owner_names[self._owner_codes[document]], self._ids[document], self._versions[document]): chunks
            for document, chunks in found.items()
        }

    def not_of(self, owner: str) -> "Mask | None":
        """The rows of others than this owner; None when all are."""
        code = self._owners.get(owner)
        return None if code is None else self._row_owners != code

    def allowed(self, owners: Sequence[str], where: Filter, live: "Mask | None") -> "Mask | None":
        """Which rows, `live` ones only, a search for these owners that pass this filter may find; None for none."""
        codes = [self._owners[owner] for owner in owners if owner in self._owners]
        if not codes:
            return None
        allowed = np.ones(len(self), dtype=bool)
        if len(codes) < len(self._owners):
            allowed = np.isin(self._row_owners, codes)
        if live is not None:
            allowed &= live
        wanted = document_ids(where)
        if wanted is not None:
            keys = np.asarray([digest(id_) for id_ in wanted], dtype=_KEY)
            allowed &= np.isin(self._id_keys, keys)[self.documents]
        for any_of in alternatives(where):
            passing = np.zeros(len(self), dtype=bool)
            keys = np.asarray([digest(term) for term in any_of], dtype=_KEY)
            for begin, end in zip(*self._terms.find(keys), strict=True):
                passing[self._terms.rows[begin:end]] = True
            allowed &= passing
        return allowed if allowed.any() else None


def live_rows(segments: Mapping[str, Rows], removals: Sequence[Removal]) -> dict[str, Mask]:
    """The rows of each segment that are neither removed nor added again later; only segments that have others."""
    keys = np.asarray([document_key(r.owner, r.document_id, r.version) for r in removals], dtype=_KEY)
    generations = np.asarray([removal.generation for removal in removals], dtype=_NUMBER)
    live: dict[str, Mask] = {}
    for id_, rows in segments.items():
        _, places, named = np.intersect1d(rows.keys, keys, assume_unique=True, return_indices=True)
        until = np.zeros(len(rows.keys), dtype=_NUMBER)
        until[places] = generations[named]
        kept = until[rows.documents] <= rows.generations
        if not kept.all():
            live[id_] = kept
    for id_, row in _outdated(segments, live):
        live.setdefault(id_, np.ones(len(segments[id_]), dtype=bool))[row] = False
    return live


def _outdated(segments: Mapping[str, Rows], live: Mapping[str, Mask]) -> "Iterable[tuple[str, NDArray[np.int64]]]":
    """By segment, the live rows whose chunk another live row holds too, which was added later."""
    distinct, counts = np.unique(
        np.concatenate([rows.keys for rows in segments.values()] or [np.empty(0, _KEY)]), return_counts=True
    )
    shared = distinct[counts > 1]
    if not len(shared):
        return
    found = []
    for place, (id_, rows) in enumerate(segments.items()):
        mask = np.isin(rows.keys, shared)[rows.documents]
        chosen = np.flatnonzero(mask & live[id_] if id_ in live else mask)
        keys = rows.keys[rows.documents[chosen]]
        found.append((keys, rows.numbers[chosen], rows.generations[chosen], np.full(len(chosen), place), chosen))
    keys, numbers, generations, places, chosen = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((places, generations, numbers, keys))
    again = (keys[order][1:] == keys[order][:-1]) & (numbers[order][1:] == numbers[order][:-1])
    outdated = order[:-1][again]
    for place, id_ in enumerate(segments):
        yield id_, chosen[outdated[places[outdated] == place]]


def document_key(owner: str, document_id: str, version: str) -> int:
    """The key of a version of a document."""
    return digest("\0".join((owner, document_id, version)))


def digest(text: str) -> int:
    """64 bits that a text is known by."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
