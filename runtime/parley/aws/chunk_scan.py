"""All chunks of the knowledge table, for what goes through them from end to end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parley.aws.failures import store_errors
from parley.aws.items import from_item, to_item
from parley.aws.knowledge_items import chunk_id_of, chunks_of, document_of
from parley.aws.knowledge_table import KnowledgeTable
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Document
from parley.knowledge.reindexing import ChunkPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


class ChunkScan:
    """The StoredChunks protocol over one table, by consistent scans: one read unit for each 4 KB of the table."""

    def __init__(self, table: str, client: "DynamoDBClient") -> None:
        self._table = table
        self._client = client
        # Without a cache: it may hold a chunk's old text.
        self._records = KnowledgeTable(table, client)

    def page(self, after: Mapping[str, str] | None, *, limit: int) -> ChunkPage:
        """See StoredChunks. A page may hold fewer chunks, or none: records take places too, and it ends at 1 MB."""
        found = self._scan(after, Limit=limit, FilterExpression="begins_with(sk, :chunk)", values={":chunk": "chunk#"})
        end = found.get("LastEvaluatedKey")
        return ChunkPage(chunks_of(map(from_item, found["Items"])), from_item(end) if end else None)

    def count_current(self) -> int:
        """See StoredChunks."""
        counts: Counter[tuple[str, str, str]] = Counter()
        documents: list[Document] = []
        after: Mapping[str, str] | None = None
        while True:
            found = self._scan(
                after,
                FilterExpression="begins_with(sk, :chunk) OR begins_with(sk, :document)",
                # Texts stay where they are.
                ProjectionExpression="pk, sk, #name, #key, #state, version, deleted",
                ExpressionAttributeNames={f"#{name}": name for name in ("name", "key", "state")},
                values={":chunk": "chunk#", ":document": "document#"},
            )
            for item in map(from_item, found["Items"]):
                if item["sk"].startswith("document#"):
                    documents.append(document_of(item))
                else:
                    id_ = chunk_id_of(item)
                    counts[id_.owner, id_.document_id, id_.version] += 1
            after = from_item(found["LastEvaluatedKey"]) if "LastEvaluatedKey" in found else None
            if after is None:
                break
        current = {(it.owner, it.document_id, it.version) for it in documents if it.version and not it.deleted}
        return sum(counts[each] for each in current)

    def documents(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Document]:
        """See KnowledgeStore."""
        return self._records.documents(keys)

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore."""
        return self._records.chunks(ids)

    def _scan(self, after: Mapping[str, str] | None, *, values: Mapping[str, str], **options: Any) -> Any:
        start: dict[str, Any] = {"ExclusiveStartKey": to_item(after)} if after else {}
        with store_errors():
            return self._client.scan(
                TableName=self._table,
                ConsistentRead=True,
                ExpressionAttributeValues=to_item(values),
                **start,
                **options,
            )
