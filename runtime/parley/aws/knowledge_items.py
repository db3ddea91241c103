"""Documents' records and chunks as items of the knowledge table."""

from collections.abc import Iterable, Mapping
from typing import Any

from parley.aws.items import to_item
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Checkpoint, Document, DocumentState


def record_key(owner: str, document_id: str) -> dict[str, Any]:
    """The key of a document's record."""
    return to_item({"pk": owner, "sk": f"document#{document_id}"})


def chunk_key(id_: ChunkId) -> dict[str, Any]:
    """The key of a chunk."""
    return to_item({"pk": f"{id_.owner}#{id_.document_id}", "sk": f"chunk#{id_.version}#{id_.number:06d}"})


def chunk_values(chunk: Chunk) -> dict[str, Any]:
    """A chunk's attributes, beside its key."""
    return {
        "text": chunk.text,
        "heading": chunk.heading,
        "page": chunk.page,
        "metadata": chunk.metadata or None,
        "embedded": chunk.embedded_digest(),
    }


def chunk_id_of(values: Mapping[str, Any]) -> ChunkId:
    """Which chunk an item with this key is. Raises ValueError for another's key."""
    owner, _, document_id = values["pk"].rpartition("#")
    version, _, number = values["sk"].removeprefix("chunk#").rpartition("#")
    return ChunkId(owner, document_id, version, int(number))


def chunks_of(items: Iterable[Mapping[str, Any]]) -> dict[ChunkId, Chunk]:
    """The chunks that these items hold; one whose text was taken away is none."""
    return {
        (id_ := chunk_id_of(values)): Chunk(
            number=id_.number,
            text=values["text"],
            heading=values.get("heading", ""),
            page=values.get("page"),
            metadata=values.get("metadata", {}),
        )
        for values in items
        if "text" in values
    }


def document_of(values: Mapping[str, Any]) -> Document:
    """The record that an item holds."""
    return Document(
        owner=values["pk"],
        document_id=values["sk"].removeprefix("document#"),
        name=values["name"],
        key=values["key"],
        state=DocumentState(values["state"]),
        version=values.get("version"),
        claim=values.get("claim"),
        checkpoint=Checkpoint(**values["checkpoint"]) if "checkpoint" in values else None,
        reason=values.get("reason"),
        size=values.get("size", 0),
        chunk_count=values.get("chunk_count", 0),
        created_at=values.get("created_at", ""),
        updated_at=values.get("updated_at", ""),
        deleted=values.get("deleted", False),
    )
