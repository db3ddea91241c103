"""FAISS indexes kept as files in the documents bucket."""

from aws_cdk import aws_iam as iam
from constructs import Construct

from parley_constructs.object_access import grant_objects

from .vector_store import BoundStore, StoreContext, VectorStore

INDEX_PREFIX = "indexes/faiss/"
"""Keys under this prefix hold the indexes, each in a folder named after its slot.

It lies outside `documents/`, so writing it starts no ingestion.
"""


DAMAGED_PREFIX = f"{INDEX_PREFIX}damaged/"
"""A function that finds a part of an index missing or damaged puts a marker here, and ingestion mends the index."""


class FaissStore(VectorStore):
    """See `VectorStore.faiss`."""

    name = "faiss"

    def bind(self, scope: Construct, context: StoreContext) -> BoundStore:
        """Nothing to make: the bucket is there."""
        return _BoundFaiss(context)


class _BoundFaiss(BoundStore):
    def __init__(self, context: StoreContext) -> None:
        self.environment = {"VECTOR_INDEX_PREFIX": INDEX_PREFIX}
        self.announced_prefixes = (DAMAGED_PREFIX,)
        self._bucket = context.documents_bucket

    def grant_read(self, grantee: iam.IGrantable) -> None:
        grant_objects(self._bucket, grantee, prefix=INDEX_PREFIX, read=True)
        grant_objects(self._bucket, grantee, prefix=DAMAGED_PREFIX, write=True)

    def grant_write(self, grantee: iam.IGrantable) -> None:
        grant_objects(self._bucket, grantee, prefix=INDEX_PREFIX, read=True, write=True, delete=True)

    def grant_forget(self, grantee: iam.IGrantable) -> None:
        grant_objects(
            self._bucket, grantee, prefix=INDEX_PREFIX, read=True, write=True, delete=True, delete_versions=True
        )
