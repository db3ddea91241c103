"""S3 Vectors indexes."""

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3vectors as s3vectors
from constructs import Construct

from .vector_store import EMBEDDING_DIMENSIONS, SLOTS, BoundStore, StoreContext, VectorStore

TEXT_KEY = "text"
"""Metadata key for a chunk's text. Not filterable: filterable metadata may hold 2 KB in all, a chunk is longer.

Parley's functions keep no text here. The key is declared because an index can never be told of it later.
"""


class S3VectorsStore(VectorStore):
    """See `VectorStore.s3_vectors`."""

    name = "s3vectors"
    interface_endpoints = (ec2.InterfaceVpcEndpointAwsService("s3vectors"),)

    def bind(self, scope: Construct, context: StoreContext) -> BoundStore:
        """A vector bucket with an index for each slot."""
        return _BoundS3Vectors(scope, context)


class _BoundS3Vectors(BoundStore):
    def __init__(self, scope: Construct, context: StoreContext) -> None:
        parts = Construct(scope, "S3Vectors")
        self._key = context.encryption_key
        _admit_indexing(self._key)
        self.bucket = s3vectors.CfnVectorBucket(
            parts,
            "Bucket",
            encryption_configuration=s3vectors.CfnVectorBucket.EncryptionConfigurationProperty(
                sse_type="aws:kms", kms_key_arn=self._key.key_arn
            ),
        )
        self.bucket.apply_removal_policy(context.removal_policy)
        self.indexes = {slot: self._index(parts, slot, context) for slot in SLOTS}
        self.environment = {
            f"VECTOR_INDEX_ARN_{slot.upper()}": index.attr_index_arn for slot, index in self.indexes.items()
        }

    def _index(self, parts: Construct, slot: str, context: StoreContext) -> s3vectors.CfnIndex:
        index = s3vectors.CfnIndex(
            parts,
            f"Index{slot.upper()}",
            vector_bucket_arn=self.bucket.attr_vector_bucket_arn,
            data_type="float32",
            dimension=EMBEDDING_DIMENSIONS,
            distance_metric="cosine",
            metadata_configuration=s3vectors.CfnIndex.MetadataConfigurationProperty(
                non_filterable_metadata_keys=[TEXT_KEY]
            ),
        )
        index.apply_removal_policy(context.removal_policy)
        return index

    def grant_read(self, grantee: iam.IGrantable) -> None:
        # QueryVectors needs GetVectors too as soon as it filters or returns metadata.
        self._grant(grantee, ["s3vectors:QueryVectors", "s3vectors:GetVectors"])
        self._key.grant_decrypt(grantee)

    def grant_write(self, grantee: iam.IGrantable) -> None:
        self._grant(grantee, ["s3vectors:PutVectors", "s3vectors:DeleteVectors"])
        # Not grant_encrypt_decrypt: its kms:GenerateDataKey* and kms:ReEncrypt* are wider than what a write needs.
        self._key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")

    def grant_forget(self, grantee: iam.IGrantable) -> None:
        # Only a listing finds every vector of an owner; it is by keys alone, and reads no vector.
        self._grant(grantee, ["s3vectors:ListVectors", "s3vectors:DeleteVectors"])
        self._key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")

    def _grant(self, grantee: iam.IGrantable, actions: list[str]) -> None:
        arns = [index.attr_index_arn for index in self.indexes.values()]
        iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=arns)


def _admit_indexing(key: kms.IKey) -> None:
    """S3 Vectors reads what it has stored in the background to keep the index: without this, writes fail."""
    stack = Stack.of(key)
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("indexing.s3vectors.amazonaws.com")],
            actions=["kms:Decrypt"],
            # In the policy of a key, this is the key itself.
            resources=["*"],
            conditions={
                "StringEquals": {"aws:SourceAccount": stack.account},
                # By pattern: the bucket's own ARN would make key and bucket depend on each other.
                "ArnLike": {
                    "aws:SourceArn": stack.format_arn(service="s3vectors", resource="bucket", resource_name="*")
                },
                "ForAnyValue:StringEquals": {
                    "kms:EncryptionContextKeys": ["aws:s3vectors:arn", "aws:s3vectors:resource-id"]
                },
            },
        )
    )
