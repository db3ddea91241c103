"""The vector index as an index of an OpenSearch Serverless vector collection: searched by meaning and by words.

Three things differ from other stores. A vector collection gives documents its own ids, so a chunk that is added again
stands beside its earlier copy until that is deleted. There is no delete by query, so removing means searching for ids
and deleting these. And what is written can be searched only later: up to a minute on the classic generation. Until then
a new document is not found, though its record says `ready`, and a removed one still is; retrieval drops those hits,
because their version is not the record's. A copy that another process has just added, and which therefore is not found
when it should be deleted, stays as such a hit; searches fold copies of one chunk.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import Any

import msgspec

from parley.aws.opensearch_http import PASSING, Collection, OpenSearchRefused, Patience
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import ChunkId, Hit, IndexedChunk
from parley.knowledge.filters import NO_FILTER, Filter, alternatives, document_ids, terms

BULK_DOCUMENTS = 250
"""Documents of one _bulk: about 4 MB, where 5 to 15 MiB are advised at most and 10 MiB may be refused."""

FIND_CHUNKS = 500
"""Chunks whose documents are looked up at once, to be removed: 20 copies of each fit in MAX_RESULTS."""

MAX_RESULTS = 10_000
"""The most hits of one search: OpenSearch's `index.max_result_window`."""

VISIBLE_SECONDS = 120.0
"""After this time searches see what was written: twice the documented minute."""

SETTLE_SECONDS = 5.0
"""The pause before another look at an index that is being emptied."""

AWAKE_SECONDS = 300.0
"""How long an answer proves that the collection is awake: a NextGen one sleeps after 10 idle minutes."""

LEXICAL_CHARACTERS = 500
"""The part of a question whose words are searched: no script makes more than the 1,024 clauses allowed of it."""

RANK_CONSTANT = 60
"""Reciprocal rank fusion's k, as its authors and OpenSearch have it: the first ranks do not decide alone."""

SEARCHING = Patience(attempts=3, read_seconds=3.0, longest_pause=1.0, total_seconds=5.0)
"""A user waits, and a search by words takes two searches one after the other."""

KNOCKING = Patience(attempts=1, read_seconds=2.0, longest_pause=0.0, total_seconds=1.0)
WAKING = Patience(attempts=40, read_seconds=6.0, longest_pause=1.0, total_seconds=10.0)
"""A sleeping NextGen collection needs 10 to 30 s, whether it holds requests meanwhile or refuses them. Both together
end within the 20 s that the searching function has; the collection wakes on, and a later question finds it awake."""

WRITING = Patience(attempts=8, read_seconds=20.0, longest_pause=20.0, total_seconds=90.0)
"""Nobody waits."""

_DECIMALS = 8
_KEY_FIELDS = ("owner", "document_id", "version", "chunk")


class _Source(msgspec.Struct, frozen=True):
    owner: str
    document_id: str
    version: str
    chunk: int

    def id(self) -> ChunkId:
        return ChunkId(self.owner, self.document_id, self.version, self.chunk)


class _Found(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    score: float | None = msgspec.field(name="_score", default=None)
    source: _Source | None = msgspec.field(name="_source", default=None)


class _Total(msgspec.Struct, frozen=True):
    value: int = 0


class _Hits(msgspec.Struct, frozen=True):
    hits: tuple[_Found, ...] = ()
    total: _Total = _Total()


class _Shards(msgspec.Struct, frozen=True):
    failed: int = 0


class _Answer(msgspec.Struct, frozen=True):
    """A search's answer; where shards failed or the time ran out it is not the whole one."""

    hits: _Hits
    timed_out: bool = False
    shards: _Shards = msgspec.field(name="_shards", default=_Shards())


class _Error(msgspec.Struct, frozen=True):
    type: str = ""


class _Done(msgspec.Struct, frozen=True):
    """What became of one operation of a _bulk."""

    status: int
    id: str = msgspec.field(name="_id", default="")
    error: _Error = _Error()


class _Bulk(msgspec.Struct, frozen=True):
    items: tuple[dict[str, _Done], ...]


class OpenSearchStore:
    """The VectorIndex protocol over one index. `collection` is called when it is first needed."""

    def __init__(
        self,
        collection: Callable[[], Collection],
        index: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        self._collection = collection
        self._index = index
        self._clock = clock
        self._answered: float | None = None
        self._recent: deque[tuple[float, ChunkId, str]] = deque()
        self._background = ThreadPoolExecutor(max_workers=1)

    def prepare(self) -> None:
        """See VectorIndex: wakes a collection that may sleep. Searches see writes only after a while all the same."""
        if self._answered is not None and self._clock() - self._answered < AWAKE_SECONDS:
            return
        knock = {"size": 0, "terminate_after": 1, "query": {"match_all": {}}}
        try:
            # The short wait first: it opens the connection that searches use, if the collection is awake.
            self._search(knock, KNOCKING)
        except StoreUnavailable:
            self._search(knock, WAKING)

    def add(self, chunks: Sequence[IndexedChunk]) -> None:
        """See VectorIndex. Earlier copies go when the new ones are in."""
        earlier = self._stored_ids({chunk.id for chunk in chunks})
        for batch in batched(chunks, BULK_DOCUMENTS):
            ids = self._bulk([_lines({"index": {}}, _document(chunk)) for chunk in batch])
            now = self._clock()
            self._recent.extend((now, chunk.id, id_) for chunk, id_ in zip(batch, ids, strict=True))
        self._delete(earlier)

    def remove(self, ids: Sequence[ChunkId]) -> None:
        """See VectorIndex: every copy that can be found, and those that this process has added lately."""
        self._delete(self._stored_ids(set(ids)))

    def search(
        self,
        vector: Sequence[float],
        *,
        owners: Sequence[str],
        limit: int,
        text: str = "",
        where: Filter = NO_FILTER,
    ) -> list[Hit]:
        """See VectorIndex. With `text`, both rankings are fused by their ranks; scores stay cosine similarities."""
        allowed = _condition(owners, where)
        query = [round(value, _DECIMALS) for value in vector]
        words = text[:LEXICAL_CHARACTERS].strip()
        if not words:
            return list(self._nearest(query, allowed, limit).values())[:limit]
        lexical = self._background.submit(self._search, _sharing_words(words, allowed, min(limit, MAX_RESULTS)))
        near = self._nearest(query, allowed, limit)
        by_words = {found.source.id(): found.id for found in lexical.result() if found.source}
        # What only the words found has no similarity yet.
        others = [id_ for chunk, id_ in by_words.items() if chunk not in near]
        known = near | self._nearest(query, {"ids": {"values": others}}, len(others)) if others else near
        return _fused(near, by_words, known, limit)

    def clear(self) -> None:
        """See MaintainedIndex: what was written so lately that no search can find it yet stays."""
        deleted: set[str] = set()
        everything = {"size": MAX_RESULTS, "_source": False, "query": {"match_all": {}}}
        looks = 0
        while found := [hit.id for hit in self._search(everything, WRITING)]:
            if left := [id_ for id_ in found if id_ not in deleted]:
                self._delete(left)
                deleted.update(left)
                looks = 0
            elif looks * SETTLE_SECONDS > VISIBLE_SECONDS:
                raise StoreUnavailable
            else:
                # Searches still find what has been deleted; behind it there may be more.
                looks += 1
                self._pause(SETTLE_SECONDS)
        self._recent.clear()

    def count(self) -> int:
        """See MaintainedIndex: copies count, and what is not visible yet does not."""
        counted = {"size": 0, "track_total_hits": True, "query": {"match_all": {}}}
        return self._answer(counted, WRITING).total.value

    def forget(self, owner: str) -> None:
        """See MaintainedIndex: every copy that can be found by its owner. What was written within the last minute may
        not be found yet."""
        own = {"size": MAX_RESULTS, "_source": False, "query": {"term": {"owner": owner}}}
        deleted: set[str] = set()
        # Searches go on finding for a while what has been deleted.
        while left := [hit.id for hit in self._search(own, WRITING) if hit.id not in deleted]:
            self._delete(left)
            deleted.update(left)

    def _nearest(self, vector: list[float], condition: dict[str, Any], limit: int) -> dict[ChunkId, Hit]:
        """At least the `limit` nearest chunks that meet a condition, nearest first, as far as there are so many."""
        size = min(limit, MAX_RESULTS)
        while True:
            query = {"knn": {"vector": {"vector": vector, "k": size, "filter": condition}}}
            found = self._search({"size": size, "_source": _KEY_FIELDS, "query": query})
            hits: dict[ChunkId, Hit] = {}
            for each in found:
                if each.source is not None and each.score is not None:
                    id_ = each.source.id()
                    # The score of cosine similarity is (1 + cosine) / 2.
                    hits.setdefault(id_, Hit(id_, 2 * each.score - 1))
            # Copies of chunks may have taken places: then more may follow.
            if len(hits) >= limit or len(found) < size or size == MAX_RESULTS:
                return hits
            size = min(size * 2, MAX_RESULTS)

    def _stored_ids(self, chunks: Set[ChunkId]) -> list[str]:
        """The collection's ids of every document of these chunks that can be searched, or was added here lately."""
        while self._recent and self._clock() - self._recent[0][0] > VISIBLE_SECONDS:
            self._recent.popleft()
        found = {id_: None for _, chunk, id_ in self._recent if chunk in chunks}
        versions: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for chunk in chunks:
            versions[chunk.owner, chunk.document_id, chunk.version].append(chunk.number)
        for (owner, document_id, version), numbers in versions.items():
            for part in batched(sorted(numbers), FIND_CHUNKS):
                wanted: list[dict[str, Any]] = [
                    {"term": {"owner": owner}},
                    {"term": {"document_id": document_id}},
                    {"term": {"version": version}},
                    {"terms": {"chunk": part}},
                ]
                body = {"size": MAX_RESULTS, "_source": False, "query": {"bool": {"filter": wanted}}}
                found |= dict.fromkeys(hit.id for hit in self._search(body, WRITING))
        return list(found)

    def _delete(self, ids: Sequence[str]) -> None:
        for batch in batched(ids, BULK_DOCUMENTS):
            self._bulk([_lines({"delete": {"_id": id_}}) for id_ in batch])
        gone = set(ids)
        self._recent = deque(entry for entry in self._recent if entry[2] not in gone)

    def _search(self, body: dict[str, Any], patience: Patience = SEARCHING) -> tuple[_Found, ...]:
        """The hits of a search."""
        return self._answer(body, patience).hits

    def _answer(self, body: dict[str, Any], patience: Patience) -> _Hits:
        """A search's answer, the whole of it: it is asked again while a part of the index does not answer."""
        asked = msgspec.json.encode(body)

        def remaining(content: bytes) -> bytes:
            answer = msgspec.json.decode(content, type=_Answer)
            return asked if answer.timed_out or answer.shards.failed else b""

        content = self._collection().post(f"/{self._index}/_search", asked, patience, remaining=remaining)
        self._answered = self._clock()
        return msgspec.json.decode(content, type=_Answer).hits

    def _bulk(self, operations: Sequence[bytes]) -> list[str]:
        """Do all of these, those that fail in passing again; returns the documents' ids, in order."""
        ids = [""] * len(operations)
        waiting = list(range(len(operations)))

        def remaining(answer: bytes) -> bytes:
            failed: list[int] = []
            for number, item in zip(waiting, msgspec.json.decode(answer, type=_Bulk).items, strict=True):
                [(action, done)] = item.items()
                if done.status in PASSING:
                    failed.append(number)
                elif done.status < 300 or (action == "delete" and done.status == 404):
                    ids[number] = done.id
                else:
                    raise OpenSearchRefused(done.status, done.error.type)
            waiting[:] = failed
            return b"".join(operations[number] for number in failed)

        self._collection().post(f"/{self._index}/_bulk", b"".join(operations), WRITING, remaining=remaining)
        return ids


def _document(chunk: IndexedChunk) -> dict[str, Any]:
    """A chunk as the index's mapping has it."""
    return {
        "owner": chunk.id.owner,
        "document_id": chunk.id.document_id,
        "version": chunk.id.version,
        "chunk": chunk.id.number,
        "fields": terms(chunk.metadata),
        "text": chunk.text,
        "vector": [round(value, _DECIMALS) for value in chunk.vector],
    }


def _condition(owners: Sequence[str], where: Filter) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [{"terms": {"owner": list(owners)}}]
    documents = document_ids(where)
    if documents is not None:
        conditions.append({"terms": {"document_id": documents}})
    conditions += [{"terms": {"fields": any_}} for any_ in alternatives(where)]
    return {"bool": {"filter": conditions}} if len(conditions) > 1 else conditions[0]


def _sharing_words(words: str, condition: dict[str, Any], count: int) -> dict[str, Any]:
    query = {"bool": {"must": [{"match": {"text": words}}], "filter": [condition]}}
    return {"size": count, "_source": _KEY_FIELDS, "query": query}


def _lines(*parts: dict[str, Any]) -> bytes:
    return b"".join(msgspec.json.encode(part) + b"\n" for part in parts)


def _fused(near: Iterable[ChunkId], worded: Iterable[ChunkId], hits: dict[ChunkId, Hit], limit: int) -> list[Hit]:
    """The best of two rankings by reciprocal rank fusion."""
    points: dict[ChunkId, float] = defaultdict(float)
    for ranking in (near, worded):
        for rank, id_ in enumerate(ranking, start=1):
            points[id_] += 1 / (RANK_CONSTANT + rank)
    best = sorted((id_ for id_ in points if id_ in hits), key=lambda id_: -points[id_])
    return [hits[id_] for id_ in best[:limit]]
