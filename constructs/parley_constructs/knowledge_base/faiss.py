"""A FAISS index kept as a file in the documents bucket."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from .vector_store import BoundStore, StoreContext, VectorStore

INDEX_PREFIX = "indexes/faiss/"
"""Keys under this prefix hold the index. It lies outside `documents/`, so writing it starts no ingestion."""


class FaissStore(VectorStore):
    """See `VectorStore.faiss`."""

    def bind(self, scope: Construct, context: StoreContext) -> BoundStore:
        """Nothing to make: the bucket is there."""
        return _BoundFaiss(context)


class _BoundFaiss(BoundStore):
    def __init__(self, context: StoreContext) -> None:
        self.environment = {"VECTOR_STORE": "faiss", "VECTOR_INDEX_PREFIX": INDEX_PREFIX}
        self._bucket = context.documents_bucket

    def grant_read(self, grantee: iam.IGrantable) -> None:
        self._bucket.grant_read(grantee, f"{INDEX_PREFIX}*")

    def grant_write(self, grantee: iam.IGrantable) -> None:
        self._bucket.grant_read(grantee, f"{INDEX_PREFIX}*")
        self._bucket.grant_put(grantee, f"{INDEX_PREFIX}*")
        self._bucket.grant_delete(grantee, f"{INDEX_PREFIX}*")
