"""Ingestion: whatever happened to a file, make the knowledge base agree with the bucket.

Events only say where to look: each one compares the record and the file as they stand now. So a repeated, late or
reordered event does no harm, and a crash is healed by the next delivery of the same event.

Two workers may meet on one document. A worker *claims* the version it is about to read; the claim hides all chunks of
the document; only the holder of the last claim makes its version the retrieved one. A version is claimed before it is
read, so the last claim is never of an older version than an earlier one. Stale chunks are those that were stored
before the claim: chunks of a newer worker are never among them.

A worker notes on the record how many chunks are done, batch by batch. The next one to claim the same version goes on
from there: what is stored and indexed is not embedded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched, islice

from parley.knowledge.chunking import chunk_sections
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import MAX_DOCUMENT_BYTES, Document, Location, document_prefix, parse_key
from parley.knowledge.errors import KnowledgeError, Superseded
from parley.knowledge.filters import filterable
from parley.knowledge.limits import MAX_PARTS, check_parts
from parley.knowledge.ports import DocumentsStore, Embedder, KnowledgeStore, StoredFile, VectorIndex
from parley.knowledge.reading import check_file_size, read_sections

BATCH_CHUNKS = 500
"""Chunks embedded and indexed at once: bounds memory (their vectors take some 16 MB) and what a crash repeats."""

_TROUBLE = "It could not be indexed for now; it is tried again by itself."


class Outcome(StrEnum):
    """What one event came to."""

    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    IGNORED = "ignored"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Reads, chunks, embeds and indexes documents."""

    files: DocumentsStore
    records: KnowledgeStore
    embedder: Embedder
    index: VectorIndex

    def reconcile(self, key: str) -> Outcome:
        """Make the knowledge base agree with the file under `key`, whether it is there or not.

        Raises what went wrong, after the document's record says so in words for its owner.
        """
        location = parse_key(key)
        if location is None:
            return Outcome.IGNORED
        earlier = self.records.chunk_ids(location.owner, location.document_id)
        record = self.records.document(location.owner, location.document_id)
        if record is not None and record.deleted:
            self.files.delete_folder(document_prefix(record.owner, record.document_id))
            self._drop(earlier)
            return Outcome.REMOVED
        file = self.files.describe(key)
        if record is None:
            if file is None:
                self._drop(earlier)
                return Outcome.REMOVED if earlier else Outcome.IGNORED
            record = self._adopt(location, key, file)
        if record.key != key:
            return Outcome.IGNORED
        if file is None:
            self.records.mark_deleted(record.owner, record.document_id)
            self._drop(earlier)
            return Outcome.REMOVED
        if record.version == file.version:
            self._drop(_other_versions(earlier, file.version))
            return Outcome.UNCHANGED
        return self._index(record, file, earlier)

    def _adopt(self, location: Location, key: str, file: StoredFile) -> Document:
        """A record for a file that was put into the bucket without one."""
        record = Document(
            owner=location.owner,
            document_id=location.document_id,
            name=location.filename,
            key=key,
            size=file.size,
        )
        return self.records.put_new(record)

    def _index(self, record: Document, file: StoredFile, earlier: Sequence[ChunkId]) -> Outcome:
        while True:
            claimed = self.records.claim(record, file.version, file.size)
            if claimed is None:
                return Outcome.SUPERSEDED
            try:
                content = self._read(claimed, file)
                if isinstance(content, StoredFile):
                    file = content
                    continue
                count = self._index_content(claimed, file.version, _chunks(claimed, content))
                self.records.finish(claimed, file.version, count)
            except Superseded:
                own = self.records.chunk_ids(record.owner, record.document_id)
                self._drop([chunk for chunk in own if chunk.version == file.version])
                return Outcome.SUPERSEDED
            except Exception as error:
                reason = error.reason if isinstance(error, KnowledgeError) else _TROUBLE
                self.records.fail(claimed, file.version, reason)
                raise
            self._drop(_other_versions(earlier, file.version))
            self.files.delete_folder(document_prefix(record.owner, record.document_id), keep=record.key)
            return Outcome.INDEXED

    def _read(self, record: Document, file: StoredFile) -> bytes | StoredFile:
        """The claimed file's content; or, where a newer file took its place since the claim, that one's description."""
        check_file_size(file.size)
        found = self.files.read(record.key, max_bytes=MAX_DOCUMENT_BYTES)
        if found is None:
            raise Superseded
        current, content = found
        return content if current.version == file.version else current

    def _index_content(self, record: Document, version: str, chunks: Sequence[Chunk]) -> int:
        """Store, embed and index every chunk, except what a worker before this one did; returns how many there are."""
        checkpoint = record.checkpoint
        done = checkpoint.chunks if checkpoint is not None and checkpoint.version == version else 0
        for batch in batched(chunks, BATCH_CHUNKS):
            ids = [ChunkId(record.owner, record.document_id, version, chunk.number) for chunk in batch]
            end = batch[-1].number + 1
            if end <= done and self._are_stored(ids, batch):
                continue
            texts = [chunk.embedded_text() for chunk in batch]
            vectors = self.embedder.embed(texts)
            # The text first: the index never knows a chunk that the table does not.
            self.records.put_chunks(record, version, batch)
            fields = [filterable(chunk.metadata) for chunk in batch]
            self.index.add([IndexedChunk(*chunk) for chunk in zip(ids, vectors, texts, fields, strict=True)])
            if end < len(chunks):
                self.records.checkpoint(record, version, end)
        return len(chunks)

    def _are_stored(self, ids: Sequence[ChunkId], batch: Sequence[Chunk]) -> bool:
        """Are these the chunks that are stored? Another version of this program may have cut the text elsewhere."""
        stored = self.records.chunks(ids)
        return all(stored.get(id_) == chunk for id_, chunk in zip(ids, batch, strict=True))

    def _drop(self, ids: Sequence[ChunkId]) -> None:
        if ids:
            self.index.remove(ids)
            self.records.delete_chunks(ids)


def _chunks(record: Document, content: bytes) -> list[Chunk]:
    """The chunks of a file. Raises UnreadableDocument, also when there are too many."""
    chunks = list(islice(chunk_sections(read_sections(record.key, content)), MAX_PARTS + 1))
    check_parts(len(chunks))
    return chunks


def _other_versions(ids: Sequence[ChunkId], version: str) -> list[ChunkId]:
    return [chunk for chunk in ids if chunk.version != version]
