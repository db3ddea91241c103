"""The knowledge path's surroundings in memory, with the promises of `parley.knowledge.ports`."""

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from parley.knowledge.chunks import Chunk, ChunkId, Hit, IndexedChunk, Metadata
from parley.knowledge.documents import Checkpoint, Document, DocumentState
from parley.knowledge.errors import Superseded
from parley.knowledge.filters import NO_FILTER, Filter, matches
from parley.knowledge.ports import StoredFile, Upload


def bag_of_words(text: str, dimensions: int = 64) -> list[float]:
    """A unit vector that texts with the same words share."""
    vector = [0.0] * dimensions
    for word in text.lower().split():
        vector[zlib.crc32(word.strip(".,?!").encode()) % dimensions] += 1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


class WordEmbedder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        return [bag_of_words(text) for text in texts]


class ListIndex:
    """Exact search over a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[ChunkId, Sequence[float]] = {}
        self.fields: dict[ChunkId, Metadata] = {}
        self.prepared = 0

    def prepare(self) -> None:
        self.prepared += 1

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        self.rows.update({chunk.id: chunk.vector for chunk in chunks})
        self.fields.update({chunk.id: chunk.metadata for chunk in chunks})

    def remove(self, ids: Sequence[ChunkId]) -> None:
        for id_ in ids:
            self.rows.pop(id_, None)

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        hits = [
            Hit(id_, sum(a * b for a, b in zip(vector, row, strict=True)))
            for id_, row in self.rows.items()
            if id_.owner in owners and matches(where, self.fields[id_], document_id=id_.document_id)
        ]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]


class DictRecords:
    """Records and chunks in dictionaries."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Document] = {}
        self.texts: dict[ChunkId, Chunk] = {}
        self.barred: dict[tuple[str, str], str | None] = {}

    def document(self, owner: str, document_id: str) -> Document | None:
        return self.records.get((owner, document_id))

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        return {key: self.records[key] for key in keys if key in self.records}

    def list_documents(self, owner: str, *, limit: int, before: str | None) -> list[Document]:
        own = [r for r in self.records.values() if r.owner == owner and not r.deleted]
        newest_first = sorted(own, key=lambda record: record.document_id, reverse=True)
        return [r for r in newest_first if before is None or r.document_id < before][:limit]

    def put_new(self, document: Document, *, unless_used_within_seconds: int | None = None) -> Document:
        return self.records.setdefault((document.owner, document.document_id), document)

    def replace(self, document: Document, *, keep_version: bool, barred: str | None = None) -> Document | None:
        record = self._living(document)
        if record is None:
            return None
        self.barred[document.owner, document.document_id] = barred
        changed = replace(
            record, name=document.name, key=document.key, size=document.size, state=DocumentState.PENDING, reason=None
        )
        return self._put(changed if keep_version else replace(changed, version=None, claim=None))

    def mark_deleted(self, owner: str, document_id: str) -> Document | None:
        record = self.records.get((owner, document_id))
        return self._put(replace(record, deleted=True, version=None, claim=None)) if record else None

    def claim(self, document: Document, version: str, size: int) -> Document | None:
        record = self._living(document)
        if record is None or record.key != document.key or record.version == version:
            return None
        if self.barred.get((document.owner, document.document_id)) == version:
            return None
        goes_on = document.checkpoint is not None and document.checkpoint.version == version
        claimed = replace(record, state=DocumentState.INDEXING, claim=version, size=size, version=None, reason=None)
        return self._put(claimed if goes_on else replace(claimed, checkpoint=None))

    def checkpoint(self, document: Document, version: str, chunks: int) -> None:
        record = self._living(document)
        if record is None or record.claim != version:
            raise Superseded
        self._put(replace(record, checkpoint=Checkpoint(version, chunks)))

    def finish(self, document: Document, version: str, chunk_count: int) -> None:
        record = self._living(document)
        if record is None or record.claim != version:
            raise Superseded
        self._put(replace(record, state=DocumentState.READY, version=version, chunk_count=chunk_count, checkpoint=None))

    def fail(self, document: Document, version: str, reason: str) -> None:
        record = self._living(document)
        if record is not None and record.claim == version and record.version is None:
            self._put(replace(record, state=DocumentState.FAILED, reason=reason))

    def put_chunks(self, document: Document, version: str, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            self.texts[ChunkId(document.owner, document.document_id, version, chunk.number)] = chunk

    def chunk_ids(self, owner: str, document_id: str) -> list[ChunkId]:
        return [id_ for id_ in self.texts if (id_.owner, id_.document_id) == (owner, document_id)]

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        return {id_: self.texts[id_] for id_ in ids if id_ in self.texts}

    def read(
        self, documents: Iterable[tuple[str, str]], chunks: Sequence[ChunkId]
    ) -> tuple[dict[tuple[str, str], Document], dict[ChunkId, Chunk]]:
        return self.documents(documents), self.chunks(chunks)

    def delete_chunks(self, ids: Sequence[ChunkId]) -> None:
        for id_ in ids:
            self.texts.pop(id_, None)

    def _living(self, document: Document) -> Document | None:
        record = self.records.get((document.owner, document.document_id))
        return None if record is None or record.deleted else record

    def _put(self, record: Document) -> Document:
        self.records[record.owner, record.document_id] = record
        return record


class DictFiles:
    """Files in a dictionary; every write is a new version."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[StoredFile, bytes]] = {}
        self._versions = 0

    def describe(self, key: str) -> StoredFile | None:
        return self.files[key][0] if key in self.files else None

    def read(self, key: str, *, max_bytes: int) -> tuple[StoredFile, bytes] | None:
        return self.files.get(key)

    def write(self, key: str, content: bytes, media_type: str) -> None:
        self._versions += 1
        self.files[key] = StoredFile(f"v{self._versions}", len(content)), content

    def upload_form(self, key: str, *, max_bytes: int, media_type: str) -> Upload:
        return Upload("https://bucket.example", {"key": key}, 900)

    def link(self, key: str, *, media_type: str, disposition: str, expires_in: int) -> str:
        return f"https://bucket.example/{key}?type={media_type}&as={disposition}&for={expires_in}"

    def delete_folder(self, prefix: str, *, keep: str | None = None) -> None:
        for key in [key for key in self.files if key.startswith(prefix) and key != keep]:
            del self.files[key]
