"""Documents' records and the text of their chunks in DynamoDB.

    <owner>                document#<id>                      name, key, state, version, claim, checkpoint, reason, ...
    <owner>#<document id>  chunk#<version>#<n, 6 digits>      text, heading, page, metadata, embedded

`version` is there only while its chunks may be retrieved. A deleted document's record stays for a while with
`deleted`, so that nothing brings it back; a record that never got its file goes the same way, by the table's TTL.
A chunk's `embedded` is the digest of what its vector was made from: whoever changes the text leaves it behind.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.aws.items import from_item, to_item
from parley.aws.knowledge_items import chunk_id_of, chunk_key, chunk_values, chunks_of, document_of, record_key
from parley.errors import StoreUnavailable
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Document, DocumentState
from parley.knowledge.errors import Superseded

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

DELETED_RECORD_SECONDS = 7 * 24 * 3600
"""How long a deleted document's record bars what may still arrive for it: uploads, events, redriven messages."""

WRITE_BATCH = 25
READ_BATCH = 100
"""Items of one batch operation: DynamoDB's limits."""

BATCH_ATTEMPTS = 8
"""Tries to get through what a batch operation left undone."""

_LIVES = "attribute_exists(pk) AND attribute_not_exists(deleted)"


class ItemCache(Protocol):
    """A cache in front of tables."""

    def get(self, table: str, keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The items with these keys that it gives now, maybe none. Never raises. They may be older than the table's."""


class KnowledgeTable:
    """The KnowledgeStore protocol over one table, and the ChunkEmbeddings protocol.

    The text of chunks is read through `cache`, where there is one. Records never are: they say what may be retrieved.
    """

    def __init__(
        self,
        table: str,
        client: "DynamoDBClient",
        *,
        cache: ItemCache | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._client = client
        self._cache = cache
        self._clock = clock
        self._pause = pause

    def document(self, owner: str, document_id: str) -> Document | None:
        """See KnowledgeStore."""
        with store_errors():
            found = self._client.get_item(
                TableName=self._table, Key=record_key(owner, document_id), ConsistentRead=True
            )
        return self._record(found["Item"]) if "Item" in found else None

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        """See KnowledgeStore."""
        return self._records(self._get_all([record_key(owner, document_id) for owner, document_id in keys]))

    def list_documents(self, owner: str, *, limit: int, before: str | None) -> list[Document]:
        """See KnowledgeStore."""
        found: list[Document] = []
        start: dict[str, Any] | None = record_key(owner, before) if before else None
        while len(found) < limit:
            page = self._query(owner, "document#", ScanIndexForward=False, Limit=limit, ExclusiveStartKey=start)
            records = [self._record(item) for item in page["Items"]]
            found += [record for record in records if record is not None and not record.deleted]
            start = page.get("LastEvaluatedKey")
            if start is None:
                break
        return found[:limit]

    def put_new(self, document: Document, *, unless_used_within_seconds: int | None = None) -> Document:
        """See KnowledgeStore."""
        now = self._now()
        expires = None if unless_used_within_seconds is None else int(self._clock()) + unless_used_within_seconds
        values = {
            "pk": document.owner,
            "sk": f"document#{document.document_id}",
            "name": document.name,
            "key": document.key,
            "state": document.state.value,
            "size": document.size,
            "chunk_count": document.chunk_count,
            "created_at": now,
            "updated_at": now,
            "expires_at": expires,
        }
        item = to_item(values)
        with store_errors():
            try:
                self._client.put_item(TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(pk)")
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                return self.document(document.owner, document.document_id) or document
        return document_of(from_item(item))

    def replace(self, document: Document, *, keep_version: bool, barred: str | None = None) -> Document | None:
        """See KnowledgeStore."""
        values = {
            "name": document.name,
            "key": document.key,
            "size": document.size,
            "state": DocumentState.PENDING.value,
            **({} if barred is None else {"barred": barred}),
        }
        remove = ("reason",) if keep_version else ("reason", "version", "claim")
        return self._update(document.owner, document.document_id, values, remove=remove, condition=_LIVES)

    def mark_deleted(self, owner: str, document_id: str) -> Document | None:
        """See KnowledgeStore."""
        values = {"deleted": True, "expires_at": int(self._clock()) + DELETED_RECORD_SECONDS}
        return self._update(
            owner, document_id, values, remove=("version", "claim", "reason"), condition="attribute_exists(pk)"
        )

    def claim(self, document: Document, version: str, size: int) -> Document | None:
        """See KnowledgeStore."""
        goes_on = document.checkpoint is not None and document.checkpoint.version == version
        return self._update(
            document.owner,
            document.document_id,
            {"state": DocumentState.INDEXING.value, "claim": version, "size": size},
            remove=("version", "reason", "expires_at", *(() if goes_on else ("checkpoint",))),
            # A version that is retrieved was finished by another worker since this one looked.
            condition=f"{_LIVES} AND #key = :expected_key AND (attribute_not_exists(#version) OR #version <> :claim) "
            "AND (attribute_not_exists(#barred) OR #barred <> :claim)",
            names={"#key": "key", "#barred": "barred"},
            expected={":expected_key": document.key},
        )

    def checkpoint(self, document: Document, version: str, chunks: int) -> None:
        """See KnowledgeStore."""
        values = {"checkpoint": {"version": version, "chunks": chunks}}
        if self._update_claimed(document, version, values) is None:
            raise Superseded

    def finish(self, document: Document, version: str, chunk_count: int) -> None:
        """See KnowledgeStore."""
        values = {"state": DocumentState.READY.value, "version": version, "chunk_count": chunk_count}
        if self._update_claimed(document, version, values, remove=("reason", "checkpoint")) is None:
            raise Superseded

    def fail(self, document: Document, version: str, reason: str) -> None:
        """See KnowledgeStore."""
        values = {"state": DocumentState.FAILED.value, "reason": reason, "chunk_count": 0}
        # A version that is retrieved did not fail: another worker finished it.
        unless_retrieved = " AND attribute_not_exists(#version)"
        self._update_claimed(document, version, values, remove=("version",), condition=unless_retrieved)

    def put_chunks(self, document: Document, version: str, chunks: Sequence[Chunk]) -> None:
        """See KnowledgeStore."""
        self._write_all(
            {
                "PutRequest": {
                    "Item": {
                        **chunk_key(ChunkId(document.owner, document.document_id, version, chunk.number)),
                        **to_item(chunk_values(chunk)),
                    }
                }
            }
            for chunk in chunks
        )

    def chunk_ids(self, owner: str, document_id: str) -> list[ChunkId]:
        """See KnowledgeStore."""
        found: list[ChunkId] = []
        start: dict[str, Any] | None = None
        while True:
            page = self._query(
                f"{owner}#{document_id}", "chunk#", ProjectionExpression="pk, sk", ExclusiveStartKey=start
            )
            found += [chunk_id_of(from_item(item)) for item in page["Items"]]
            start = page.get("LastEvaluatedKey")
            if start is None:
                return found

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore."""
        keys = [chunk_key(id_) for id_ in ids]
        cached = self._cache.get(self._table, keys) if self._cache is not None and keys else []
        found = chunks_of(map(from_item, cached))
        # What the cache does not give: it also remembers for a while that an item was not there.
        missing = [chunk_key(id_) for id_ in ids if id_ not in found]
        return {**found, **chunks_of(map(from_item, self._get_all(missing)))}

    def read(
        self, documents: Iterable[tuple[str, str]], chunks: Sequence[ChunkId]
    ) -> tuple[dict[tuple[str, str], Document], dict[ChunkId, Chunk]]:
        """See KnowledgeStore."""
        if self._cache is not None:
            return self.documents(documents), self.chunks(chunks)
        keys = [record_key(owner, document_id) for owner, document_id in documents]
        items = list(self._get_all([*keys, *map(chunk_key, chunks)]))
        records = [item for item in items if item["sk"]["S"].startswith("document#")]
        texts = [from_item(item) for item in items if item["sk"]["S"].startswith("chunk#")]
        return self._records(records), chunks_of(texts)

    def stale_chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See ChunkEmbeddings."""
        items = [from_item(item) for item in self._get_all([chunk_key(id_) for id_ in ids])]
        embedded = {chunk_id_of(values): values.get("embedded") for values in items}
        return {id_: chunk for id_, chunk in chunks_of(items).items() if chunk.embedded_digest() != embedded[id_]}

    def mark_embedded(self, id_: ChunkId, chunk: Chunk) -> None:
        """See ChunkEmbeddings."""
        values = {":embedded": chunk.embedded_digest(), ":text": chunk.text, ":heading": chunk.heading}
        unchanged = "#text = :text AND (#heading = :heading OR attribute_not_exists(#heading))"
        with store_errors():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=chunk_key(id_),
                    UpdateExpression="SET #embedded = :embedded",
                    ConditionExpression=unchanged,
                    ExpressionAttributeNames={f"#{name}": name for name in ("embedded", "text", "heading")},
                    ExpressionAttributeValues=to_item(values),
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def delete_chunks(self, ids: Sequence[ChunkId]) -> None:
        """See KnowledgeStore."""
        self._write_all({"DeleteRequest": {"Key": chunk_key(id_)}} for id_ in ids)

    def _records(self, items: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Document]:
        records = [record for item in items if (record := self._record(item)) is not None]
        return {(record.owner, record.document_id): record for record in records}

    def _record(self, item: Mapping[str, Any]) -> Document | None:
        """A stored record; None when it waits for DynamoDB to remove it (TTL takes up to days)."""
        values = from_item(item)
        if values.get("expires_at", self._clock() + 1) <= self._clock() and not values.get("deleted"):
            return None
        return document_of(values)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")

    def _update_claimed(
        self,
        document: Document,
        version: str,
        values: Mapping[str, Any],
        *,
        remove: Sequence[str] = (),
        condition: str = "",
    ) -> Document | None:
        """Change a record that is claimed for `version`; None when it is not."""
        return self._update(
            document.owner,
            document.document_id,
            values,
            remove=remove,
            condition=f"{_LIVES} AND #claim = :expected_claim{condition}",
            names={"#claim": "claim"},
            expected={":expected_claim": version},
        )

    def _update(
        self,
        owner: str,
        document_id: str,
        values: Mapping[str, Any],
        *,
        condition: str,
        remove: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> Document | None:
        """Change a record and return it; None when `condition` does not hold."""
        values = {**values, "updated_at": self._now()}
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in values)
        if remove:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in remove)
        with store_errors():
            try:
                response = self._client.update_item(
                    TableName=self._table,
                    Key=record_key(owner, document_id),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={**{f"#{name}": name for name in (*values, *remove)}, **(names or {})},
                    ExpressionAttributeValues=to_item(
                        {**{f":{name}": value for name, value in values.items()}, **(expected or {})}
                    ),
                    ReturnValues="ALL_NEW",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return None
                raise
        return document_of(from_item(response["Attributes"]))

    def _query(self, partition: str, prefix: str, **options: Any) -> Mapping[str, Any]:
        with store_errors():
            return self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                ExpressionAttributeValues=to_item({":pk": partition, ":prefix": prefix}),
                ConsistentRead=True,
                **{name: value for name, value in options.items() if value is not None},
            )

    def _get_all(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for batch in batched(keys, READ_BATCH):
            pending: Any = {self._table: {"Keys": list(batch), "ConsistentRead": True}}
            for _ in self._attempts():
                with store_errors():
                    response = self._client.batch_get_item(RequestItems=pending)
                yield from response["Responses"].get(self._table, [])
                pending = response.get("UnprocessedKeys")
                if not pending:
                    break

    def _write_all(self, requests: Iterable[Any]) -> None:
        for batch in batched(requests, WRITE_BATCH):
            pending: Any = {self._table: list(batch)}
            for _ in self._attempts():
                with store_errors():
                    response = self._client.batch_write_item(RequestItems=pending)
                pending = response.get("UnprocessedItems")
                if not pending:
                    break

    def _attempts(self) -> Iterator[int]:
        """Numbers of attempts, with a growing pause between them; StoreUnavailable after the last."""
        for attempt in range(BATCH_ATTEMPTS):
            yield attempt
            self._pause(random.uniform(0, min(0.05 * 2**attempt, 2.0)))  # noqa: S311 - jitter, no secret
        raise StoreUnavailable


def changed_chunk(keys: Mapping[str, Any]) -> ChunkId | None:
    """Which chunk the keys in a record of the table's stream are of; None for any other item's."""
    values = from_item(keys)
    try:
        return chunk_id_of(values) if values["sk"].startswith("chunk#") else None
    except ValueError:
        return None
