"""Retrieval: a question to the passages that may answer it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from parley.knowledge.calibration import Calibration
from parley.knowledge.chunks import Chunk, ChunkId, Hit
from parley.knowledge.documents import Document, readable_by
from parley.knowledge.duplicates import are_near_duplicates, shingles
from parley.knowledge.filters import NO_FILTER, Filter
from parley.knowledge.passages import Passage
from parley.knowledge.ports import Embedder, VectorIndex
from parley.knowledge.sources import FileLinks, at_page, source_url

MAX_TOP_K = 20
"""The most passages of one retrieval."""

QUERY_BYTES = 8_000
"""Bytes of a question that are embedded: no tokenizer that works on bytes makes more tokens of it than Titan takes."""

DUPLICATE_SIMILARITY = 0.9
"""Passages of one owner that share more of their shingles than this are one."""

_OVERFETCH = 4
_MAX_HITS = 2_000


class Records(Protocol):
    """What retrieval reads of the knowledge base; see KnowledgeStore."""

    def read(
        self, documents: Iterable[tuple[str, str]], chunks: Sequence[ChunkId]
    ) -> tuple[dict[tuple[str, str], Document], dict[ChunkId, Chunk]]:
        """See KnowledgeStore."""

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Finds passages by meaning and by words, among what a subject may read."""

    embedder: Embedder
    index: VectorIndex
    records: Records
    calibration: Callable[[], Calibration]
    """From when on a passage may hold the answer: asked after each search, because the store may change meanwhile."""
    links: FileLinks | None = None
    """Makes the passages' links to their documents; without it they have none."""
    _background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def passages(self, subject: str, query: str, *, top_k: int, where: Filter = NO_FILTER) -> list[Passage]:
        """At most `top_k` passages that pass the filter, best first, of the subject's own and the shared documents.

        Hits of chunks that are not in their document's current version are dropped, whatever the index returns, and
        so are passages that all but repeat a better one of the same owner.
        Raises KnowledgeUnavailable or StoreUnavailable.
        """
        ready = self._background.submit(self.index.prepare)
        asked = _beginning(query, QUERY_BYTES)
        [vector] = self.embedder.embed([asked])
        ready.result()
        owners = readable_by(subject)
        limit = top_k * _OVERFETCH
        while True:
            # More hits are asked for when dropped ones leave too few, so that one document being replaced, with all
            # its chunks hidden, or one that is there many times, does not hide the others.
            hits = self.index.search(vector, owners=owners, limit=limit, text=asked, where=where)
            # What has nothing in common with the question is no passage, in whatever company.
            near = [hit for hit in hits if hit.score > 0 and hit.id.owner in owners]
            # The texts of the best hits come with the records: hits that no longer stand are rare.
            records, texts = self.records.read(
                {(hit.id.owner, hit.id.document_id) for hit in near}, [hit.id for hit in near[:top_k]]
            )
            current = _current(near, records)
            found, folded = self._distinct(current, texts, top_k)
            dropped_any = folded or len(current) < len(near)
            if len(found) == top_k or not dropped_any or len(hits) < limit or limit >= _MAX_HITS:
                return found if any(map(self._may_answer, found)) else []
            limit = min(limit * _OVERFETCH, _MAX_HITS)

    def _may_answer(self, passage: Passage) -> bool:
        numbers = self.calibration()
        return passage.score >= numbers.minimum_score or passage.coverage >= numbers.minimum_coverage

    def _distinct(
        self, hits: Sequence[tuple[Hit, Document]], texts: Mapping[ChunkId, Chunk], top_k: int
    ) -> tuple[list[Passage], bool]:
        """The first `top_k` passages that say something new, and whether any was left out.

        One that an owner's better passage all but repeats is left out. Texts that are not given are read.
        """
        found: list[tuple[Passage, frozenset[bytes]]] = []
        start = 0
        while start < len(hits) and len(found) < top_k:
            # No text is read that is not needed: duplicates are rare.
            batch = hits[start : start + top_k - len(found)]
            start += len(batch)
            for passage in self._passages(batch, texts):
                said = shingles(passage.text)
                if not any(
                    passage.owner == better.owner and are_near_duplicates(said, other, above=DUPLICATE_SIMILARITY)
                    for better, other in found
                ):
                    found.append((passage, said))
        return [passage for passage, _ in found], len(found) < start

    def _passages(self, hits: Sequence[tuple[Hit, Document]], texts: Mapping[ChunkId, Chunk]) -> list[Passage]:
        missing = [hit.id for hit, _ in hits if hit.id not in texts]
        chunks = {**texts, **(self.records.chunks(missing) if missing else {})}
        documents = {document.key: document for _, document in hits} if self.links else {}
        urls = {key: source_url(self.links, document) for key, document in documents.items()} if self.links else {}
        return [
            Passage(
                document_id=hit.id.document_id,
                document=document.name,
                text=chunk.text,
                score=hit.score,
                coverage=hit.coverage,
                owner=hit.id.owner,
                heading=chunk.heading,
                page=chunk.page,
                source_url=at_page(urls[document.key], document, chunk.page) if urls else None,
            )
            for hit, document in hits
            if (chunk := chunks.get(hit.id)) is not None
        ]


def _current(hits: Sequence[Hit], records: Mapping[tuple[str, str], Document]) -> list[tuple[Hit, Document]]:
    """The hits that still stand, each with its document."""
    return [
        (hit, record)
        for hit in hits
        if (record := records.get((hit.id.owner, hit.id.document_id))) is not None
        and not record.deleted
        and record.version == hit.id.version
    ]


def _beginning(text: str, size: int) -> str:
    """As much of `text` as fits in `size` bytes of UTF-8."""
    # What is no character (half a surrogate pair, from a caller's JSON) cannot be asked for.
    return text.encode(errors="ignore")[:size].decode(errors="ignore")
