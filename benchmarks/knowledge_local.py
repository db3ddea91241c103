"""The knowledge path in one process over local files: what `scripts/evaluate` and `scripts/bench knowledge` measure."""

import io
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import ClientError
from parley.knowledge.chunks import Chunk, ChunkId
from parley.knowledge.documents import Document
from parley.knowledge.ports import Embedder

from sandbox.models.embedding import installed_embedder


class LocalObjects:
    """The part of an S3 client that the FAISS store uses, over a folder, for one writer; it counts what it is sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._etags: dict[str, str] = {}
        self.bytes_written = 0

    @classmethod
    def client(cls, folder: Path) -> Any:
        """As the store's type says: the stubs know no narrower protocol."""
        return cast(Any, cls(folder))

    def get_object(self, *, Bucket: str, Key: str, IfNoneMatch: str = "") -> dict[str, Any]:
        """One object; ClientError with S3's codes when it is unchanged or not there."""
        path = self._path(Bucket, Key)
        if not path.exists():
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        etag = self._etags.setdefault(str(path), uuid.uuid4().hex)
        if etag == IfNoneMatch:
            raise ClientError({"Error": {"Code": "304"}}, "GetObject")
        return {"Body": io.BytesIO(path.read_bytes()), "ETag": etag}

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        **conditions: str,
    ) -> dict[str, Any]:
        """Write one object; conditions hold, as there is one writer."""
        path = self._path(Bucket, Key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Body)
        self.bytes_written += len(Body)
        etag = self._etags[str(path)] = uuid.uuid4().hex
        return {"ETag": etag}

    def delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        """Delete one object."""
        self._path(Bucket, Key).unlink(missing_ok=True)
        return {}

    def list_objects_v2(self, *, Bucket: str, Prefix: str) -> dict[str, Any]:
        """All objects in a folder."""
        paths = [path for path in self._path(Bucket, Prefix).iterdir() if path.is_file()]
        return {
            "Contents": [
                {"Key": Prefix + path.name, "LastModified": datetime.fromtimestamp(path.stat().st_mtime, UTC)}
                for path in paths
            ]
        }

    def _path(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / key


class MemoryRecords:
    """Documents' records and chunks in dictionaries, as far as retrieval reads them."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Document] = {}
        self.texts: dict[ChunkId, Chunk] = {}

    def read(
        self, documents: Iterable[tuple[str, str]], chunks: Sequence[ChunkId]
    ) -> tuple[dict[tuple[str, str], Document], dict[ChunkId, Chunk]]:
        """See KnowledgeStore."""
        return {key: self.records[key] for key in documents if key in self.records}, self.chunks(chunks)

    def chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, Chunk]:
        """See KnowledgeStore."""
        return {id_: self.texts[id_] for id_ in ids if id_ in self.texts}


class SandboxEmbedder:
    """The Embedder protocol by the embedder that the sandbox has on this machine, without its server."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See Embedder."""
        embedder = installed_embedder()
        return [embedder.embed(text).tolist() for text in texts]


class Remembering:
    """An embedder that asks another one once for each text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, list[float]] = {}

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See Embedder."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, self._embedder.embed(new), strict=True)
        return [self._known[text] for text in texts]
