"""Retrieval: a question to the passages that may answer it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from parley.knowledge.chunks import Hit
from parley.knowledge.documents import readable_by
from parley.knowledge.passages import Passage
from parley.knowledge.ports import Embedder, KnowledgeStore, VectorIndex

MAX_TOP_K = 20
"""The most passages of one retrieval."""

QUERY_BYTES = 8_000
"""Bytes of a question that are embedded: no tokenizer that works on bytes makes more tokens of it than Titan takes."""

_OVERFETCH = 4
_MAX_HITS = 2_000


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Finds passages by meaning, among what a subject may read."""

    embedder: Embedder
    index: VectorIndex
    records: KnowledgeStore
    minimum_score: float
    """A hit below this cosine similarity is no answer. It depends on the embedder."""
    _background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def passages(self, subject: str, query: str, *, top_k: int) -> list[Passage]:
        """At most `top_k` passages, best first, of the subject's own and the shared documents.

        Hits of chunks that are not in their document's current version are dropped, whatever the index returns.
        Raises KnowledgeUnavailable or StoreUnavailable.
        """
        ready = self._background.submit(self.index.prepare)
        [vector] = self.embedder.embed([_beginning(query, QUERY_BYTES)])
        ready.result()
        return self._texts(self._current_hits(vector, readable_by(subject), top_k))

    def _current_hits(self, vector: Sequence[float], owners: Sequence[str], top_k: int) -> list[tuple[Hit, str]]:
        """The best hits that still stand, each with its document's name.

        Asks the index for more when dropped hits leave too few, so that one document being replaced, with all its
        chunks hidden, does not hide the others.
        """
        limit = top_k * _OVERFETCH
        while True:
            hits = self.index.search(vector, owners=owners, limit=limit)
            near = [hit for hit in hits if hit.score >= self.minimum_score and hit.id.owner in owners]
            records = self.records.documents({(hit.id.owner, hit.id.document_id) for hit in near})
            current = [
                (hit, record.name)
                for hit in near
                if (record := records.get((hit.id.owner, hit.id.document_id))) is not None
                and not record.deleted
                and record.version == hit.id.version
            ]
            exhausted = len(hits) < limit or len(near) < len(hits) or limit >= _MAX_HITS
            if len(current) >= top_k or exhausted:
                return current[:top_k]
            limit = min(limit * _OVERFETCH, _MAX_HITS)

    def _texts(self, hits: Sequence[tuple[Hit, str]]) -> list[Passage]:
        chunks = self.records.chunks([hit.id for hit, _ in hits])
        return [
            Passage(
                document_id=hit.id.document_id,
                document=name,
                text=chunk.text,
                score=hit.score,
                owner=hit.id.owner,
                heading=chunk.heading,
                page=chunk.page,
            )
            for hit, name in hits
            if (chunk := chunks.get(hit.id)) is not None
        ]


def _beginning(text: str, size: int) -> str:
    """As much of `text` as fits in `size` bytes of UTF-8."""
    # What is no character (half a surrogate pair, from a caller's JSON) cannot be asked for.
    return text.encode(errors="ignore")[:size].decode(errors="ignore")
