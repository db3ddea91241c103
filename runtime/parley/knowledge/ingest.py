"""Ingestion: whatever happened to a file, make the knowledge base agree with the bucket.

Events only say where to look: each one compares the record and the file as they stand now. So a repeated, late or
reordered event does no harm, and a crash is healed by the next delivery of the same event.

Two workers may meet on one document. A worker *claims* the version it is about to read; the claim hides all chunks of
the document; only the holder of the last claim makes its version the retrieved one. A version is claimed before it is
read, so the last claim is never of an older version than an earlier one. Stale chunks are those that were stored
before the claim: chunks of a newer worker are never among them.

A worker notes on the record how many chunks are done, batch by batch. The next one to claim the same version goes on
from there: what is stored and indexed is not embedded again. So a worker whose time is up just stops between two
batches. Small documents share a batch: the model is asked for all of them side by side, and the index written once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched, groupby, islice

from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.chunking import chunk_sections
from parley.knowledge.chunks import Chunk, ChunkId, IndexedChunk
from parley.knowledge.documents import (
    MAX_DOCUMENT_BYTES,
    Document,
    DocumentState,
    Location,
    document_prefix,
    parse_key,
)
from parley.knowledge.errors import Superseded, UnreadableDocument
from parley.knowledge.filters import filterable
from parley.knowledge.limits import MAX_PARTS, check_parts
from parley.knowledge.ports import DocumentsStore, Embedder, KnowledgeStore, StoredFile, VectorIndex
from parley.knowledge.reading import READING_SECONDS, check_file_size, read_sections

BATCH_CHUNKS = 128
"""Chunks embedded and indexed at once: bounds what a crash repeats, and how soon a worker can stop."""

SECONDS_FOR_A_BATCH = 90.0
"""Time that must be left to embed and index one more batch, with a model that throttles every other request."""

SECONDS_FOR_A_DOCUMENT = READING_SECONDS + SECONDS_FOR_A_BATCH
"""Time that must be left to begin with one more document."""

_UNREAD = "unread"
"""Claimed by who gives a document up that no worker came to claim: no file's version is called so."""


class Outcome(StrEnum):
    """What one event came to."""

    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    IGNORED = "ignored"
    SUPERSEDED = "superseded"
    UNFINISHED = "unfinished"
    """The time was up: it was not begun, or is done up to its checkpoint, and wants another turn."""


type Result = Outcome | Exception
"""An outcome, or what went wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """A document that was claimed, read and cut, on its way into the index."""

    record: Document
    version: str
    chunks: Sequence[Chunk]
    """All of them."""
    missing: Sequence[Chunk]
    """Those that no worker before has stored and indexed."""
    stale: Sequence[ChunkId]
    """What was stored of other versions."""

    @property
    def key(self) -> str:
        return self.record.key

    def id_of(self, chunk: Chunk) -> ChunkId:
        return ChunkId(self.record.owner, self.record.document_id, self.version, chunk.number)


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Reads, chunks, embeds and indexes documents."""

    files: DocumentsStore
    records: KnowledgeStore
    embedder: Embedder
    index: VectorIndex

    def reconcile(self, key: str) -> Outcome:
        """Make the knowledge base agree with the file under `key`, whether it is there or not.

        Raises UnreadableDocument, after the document's record says so in words for its owner, and whatever else went
        wrong: then it may be tried again.
        """
        result = self.reconcile_all([key])[key]
        if isinstance(result, Exception):
            raise result
        return result

    def reconcile_all(
        self, keys: Iterable[str], *, seconds_left: Callable[[], float] = lambda: math.inf
    ) -> Mapping[str, Result]:
        """`reconcile` each of the keys, in this order; what goes wrong with one touches no other.

        Every call gets something done. When too few seconds are left for more, the rest is UNFINISHED.
        """
        results: dict[str, Result] = {}
        together: list[_Work] = []
        for key in dict.fromkeys(keys):
            if (results or together) and seconds_left() < SECONDS_FOR_A_DOCUMENT:
                results[key] = Outcome.UNFINISHED
                continue
            try:
                found = self._begin(key)
            except Exception as error:
                results[key] = error
                continue
            if isinstance(found, Outcome):
                results[key] = found
                continue
            together.append(found)
            if sum(len(work.missing) for work in together) >= BATCH_CHUNKS:
                results |= self._index(together, seconds_left)
                together = []
        return results | self._index(together, seconds_left)

    def give_up(self, key: str, reason: str) -> None:
        """Record for its owner that the document under `key` is not tried again. Raises StoreUnavailable."""
        location = parse_key(key)
        record = self.records.document(location.owner, location.document_id) if location is not None else None
        if record is None or record.deleted or record.key != key or record.state is DocumentState.READY:
            return
        version = record.claim or _UNREAD
        claimed = self.records.claim(record, version, record.size)
        if claimed is not None:
            self.records.fail(claimed, version, reason)

    def _begin(self, key: str) -> _Work | Outcome:
        """Do what needs no embedding: the outcome, or the work that is left."""
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
        return self._claim(record, file, earlier)

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

    def _claim(self, record: Document, file: StoredFile, earlier: Sequence[ChunkId]) -> _Work | Outcome:
        while True:
            claimed = self.records.claim(record, file.version, file.size)
            if claimed is None:
                return Outcome.SUPERSEDED
            try:
                content = self._read(claimed, file)
                if isinstance(content, StoredFile):
                    file = content
                    continue
                chunks = _chunks(claimed, content)
            except Superseded:
                return self._give_way(claimed, file.version)
            except UnreadableDocument as error:
                self.records.fail(claimed, file.version, error.reason)
                raise
            missing = self._missing(claimed, file.version, chunks)
            return _Work(claimed, file.version, chunks, missing, _other_versions(earlier, file.version))

    def _read(self, record: Document, file: StoredFile) -> bytes | StoredFile:
        """The claimed file's content; or, where a newer file took its place since the claim, that one's description."""
        check_file_size(file.size)
        found = self.files.read(record.key, max_bytes=MAX_DOCUMENT_BYTES)
        if found is None:
            raise Superseded
        current, content = found
        return content if current.version == file.version else current

    def _missing(self, record: Document, version: str, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """The chunks without those that a worker before this one did.

        What is stored is compared: another version of this program may have cut the text elsewhere.
        """
        checkpoint = record.checkpoint
        if checkpoint is None or checkpoint.version != version:
            return chunks
        missing: list[Chunk] = []
        for batch in batched(chunks[: checkpoint.chunks], BATCH_CHUNKS):
            ids = [ChunkId(record.owner, record.document_id, version, chunk.number) for chunk in batch]
            stored = self.records.chunks(ids)
            missing += [chunk for id_, chunk in zip(ids, batch, strict=True) if stored.get(id_) != chunk]
        return [*missing, *chunks[checkpoint.chunks :]]

    def _index(self, works: Sequence[_Work], seconds_left: Callable[[], float]) -> dict[str, Result]:
        """Bring documents into the index, batch by batch; one batch at least."""
        results: dict[str, Result] = {work.key: self._finish(work) for work in works if not work.missing}
        parts = [(work, chunk) for work in works for chunk in work.missing]
        for position, whole in enumerate(batched(parts, BATCH_CHUNKS)):
            batch = [(work, chunk) for work, chunk in whole if work.key not in results]
            if position and seconds_left() < SECONDS_FOR_A_BATCH:
                break
            try:
                self._index_batch(batch)
            except (KnowledgeUnavailable, StoreUnavailable) as error:
                # It would be no better for the next one.
                return {work.key: error for work in works} | results
            except Exception as error:
                concerned = {work.key: work for work, _ in batch}
                for key, work in concerned.items():
                    # One text that the model refuses takes no other document with it.
                    results |= {key: error} if len(concerned) == 1 else self._index([work], seconds_left)
                continue
            for work, group in groupby(batch, key=lambda part: part[0]):
                *_, (_, last) = group
                if (result := self._settle(work, last)) is not None:
                    results[work.key] = result
        return {work.key: Outcome.UNFINISHED for work in works} | results

    def _index_batch(self, batch: Sequence[tuple[_Work, Chunk]]) -> None:
        if not batch:
            return
        texts = [chunk.embedded_text() for _, chunk in batch]
        vectors = self.embedder.embed(texts)
        # The text first: the index never knows a chunk that the table does not.
        for work, group in groupby(batch, key=lambda part: part[0]):
            self.records.put_chunks(work.record, work.version, [chunk for _, chunk in group])
        self.index.add(
            [
                IndexedChunk(work.id_of(chunk), vector, text, filterable(chunk.metadata))
                for (work, chunk), vector, text in zip(batch, vectors, texts, strict=True)
            ]
        )

    def _settle(self, work: _Work, last: Chunk) -> Result | None:
        """Note that a document is done up to `last`; None while more of it is to come."""
        if last.number == work.missing[-1].number:
            return self._finish(work)
        try:
            self.records.checkpoint(work.record, work.version, last.number + 1)
        except Superseded:
            return self._give_way(work.record, work.version)
        except StoreUnavailable as error:
            return error
        return None

    def _finish(self, work: _Work) -> Result:
        record = work.record
        try:
            self.records.finish(record, work.version, len(work.chunks))
            self._drop(work.stale)
            self.files.delete_folder(document_prefix(record.owner, record.document_id), keep=record.key)
        except Superseded:
            return self._give_way(record, work.version)
        except StoreUnavailable as error:
            return error
        return Outcome.INDEXED

    def _give_way(self, record: Document, version: str) -> Outcome:
        own = self.records.chunk_ids(record.owner, record.document_id)
        self._drop([chunk for chunk in own if chunk.version == version])
        return Outcome.SUPERSEDED

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
