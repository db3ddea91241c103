"""The one interface over the places where vectors are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

EMBEDDING_DIMENSIONS = 1024
"""Length of a vector: what Titan Text Embeddings v2 returns by default."""

SLOTS = ("a", "b")
"""Every store has room for two indexes: the one that is searched, and one where the next is built beside it."""


@dataclass(frozen=True, kw_only=True)
class StoreContext:
    """What a knowledge base offers a store that is bound to it.

    documents_bucket: holds the documents, and the index of a store that keeps it in a file.
    encryption_key: encrypts what the store keeps; made by the knowledge base, in the same stack.
    removal_policy: of what the store keeps. It can always be made again from the documents.
    vpc: where the retrieval function runs, if it runs in a VPC.
    """

    documents_bucket: s3.IBucket
    encryption_key: kms.IKey
    removal_policy: RemovalPolicy
    vpc: ec2.IVpc | None = None
    vpc_subnets: ec2.SubnetSelection | None = None
    security_groups: Sequence[ec2.ISecurityGroup] = ()


class BoundStore(ABC):
    """A store made for one knowledge base: what its functions must know, and what they may do with both its indexes."""

    environment: Mapping[str, str]
    """Variables of its own: a knowledge base with two stores gives its functions those of both."""

    announced_prefixes: Sequence[str] = ()
    """Objects of the documents bucket under these prefixes are announced to ingestion, as documents are."""

    @abstractmethod
    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` search."""

    @abstractmethod
    def grant_write(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` add, replace and delete vectors."""

    def grant_forget(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` find and delete all vectors of one owner, and what the store keeps of deleted ones."""
        self.grant_write(grantee)


class VectorStore(ABC):
    """Where the vectors of a knowledge base are kept. Choose one: `faiss()`, `s3_vectors()` or `opensearch()`."""

    name: str
    """What functions are told that the store is."""

    interface_endpoints: Sequence[ec2.InterfaceVpcEndpointAwsService] = ()
    """Endpoints that the VPC must have for a function in isolated subnets to search this store."""

    @abstractmethod
    def bind(self, scope: Construct, context: StoreContext) -> BoundStore:
        """Make the store's resources under `scope`."""

    # The stores import this module, so the factories import them when called.

    @staticmethod
    def faiss() -> VectorStore:
        """FAISS index files in the documents bucket: nothing else to run, and nothing to pay while idle."""
        from .faiss import FaissStore

        return FaissStore()

    @staticmethod
    def s3_vectors() -> VectorStore:
        """S3 Vectors indexes: pay per request, about 100 ms a query, semantic search only."""
        from .s3_vectors import S3VectorsStore

        return S3VectorsStore()

    @staticmethod
    def opensearch(
        *,
        generation: Literal["classic", "nextgen"] = "nextgen",
        standby_replicas: bool = True,
        max_capacity_units: int = 8,
        deployment_role_arn: str | None = None,
    ) -> VectorStore:
        """An OpenSearch Serverless vector collection.

        generation: `nextgen` scales to zero after 10 idle minutes and then needs 10 to 30 s for the first request;
            `classic` is always on, at about $350 a month, or $175 without standby replicas.
        standby_replicas: keep a copy in a second availability zone.
        max_capacity_units: limit of a NextGen group's OCUs, for search and for indexing each: a limit on its cost.
        deployment_role_arn: the role CloudFormation deploys with; by default the stack synthesizer's, as bootstrapped.
        """
        from .opensearch import OpenSearchStore

        return OpenSearchStore(
            generation=generation,
            standby_replicas=standby_replicas,
            max_capacity_units=max_capacity_units,
            deployment_role_arn=deployment_role_arn,
        )
