"""An OpenSearch Serverless vector collection: its group, policies and indexes."""

from collections.abc import Callable
from typing import Literal

import jsii
from aws_cdk import Fn, IStableStringProducer, Lazy, Names, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_opensearchserverless as aoss
from constructs import Construct

from .vector_store import EMBEDDING_DIMENSIONS, SLOTS, BoundStore, StoreContext, VectorStore

INDEX_NAME = "passages"
"""What the indexes are called, before their slot: `passages-a` and `passages-b`."""

_READ = ["aoss:DescribeIndex", "aoss:ReadDocument"]
# Whoever writes also reads: the collection gives documents ids of its own, which are searched before a deletion.
_WRITE = [*_READ, "aoss:WriteDocument"]
_DEPLOY = ["aoss:CreateIndex", "aoss:DeleteIndex", "aoss:DescribeIndex", "aoss:UpdateIndex"]


class OpenSearchStore(VectorStore):
    """See `VectorStore.opensearch`."""

    name = "opensearch"

    def __init__(
        self,
        *,
        generation: Literal["classic", "nextgen"],
        standby_replicas: bool,
        max_capacity_units: int,
        deployment_role_arn: str | None,
    ) -> None:
        if generation not in ("classic", "nextgen"):
            raise ValueError(
                f"The OpenSearch Serverless generation was {generation!r}; allowed are 'classic' and 'nextgen'."
            )
        self.generation = generation
        self.standby_replicas = standby_replicas
        self.max_capacity_units = max_capacity_units
        self.deployment_role_arn = deployment_role_arn

    def bind(self, scope: Construct, context: StoreContext) -> BoundStore:
        """A collection with its policies and an index for each slot."""
        return _BoundOpenSearch(scope, self, context)


class _BoundOpenSearch(BoundStore):
    def __init__(self, scope: Construct, store: OpenSearchStore, context: StoreContext) -> None:
        self._parts = Construct(scope, "OpenSearch")
        # The service wants a name in every policy before the collection exists: 3 to 32 of a-z, 0-9 and -.
        self._name = "kb-" + Names.unique_resource_name(self._parts, max_length=29, separator="-").lower()
        self._readers: list[str] = []
        self._writers: list[str] = []
        self.endpoint = self._vpc_endpoint(context)

        self.collection = aoss.CfnCollection(
            self._parts,
            "Collection",
            name=self._name,
            type="VECTORSEARCH",
            standby_replicas="ENABLED" if store.standby_replicas else "DISABLED",
            collection_group_name=self._name if store.generation == "nextgen" else None,
        )
        self.collection.apply_removal_policy(context.removal_policy)
        # By name and not by reference, so CloudFormation must be told the order.
        if store.generation == "nextgen":
            self.collection.add_resource_dependency(self._group(store))
        self.collection.add_resource_dependency(self._encryption_policy(context))
        self.collection.add_resource_dependency(self._network_policy())

        access = self._access_policy(store.deployment_role_arn or _deployment_role_arn(self._parts))
        self.indexes = {slot: self._index(slot) for slot in SLOTS}
        for index in self.indexes.values():
            index.add_resource_dependency(access)
        self.environment = {
            "COLLECTION_ENDPOINT": self.collection.attr_collection_endpoint,
            "VECTOR_INDEX": INDEX_NAME,
        }

    def grant_read(self, grantee: iam.IGrantable) -> None:
        self._grant_api(grantee)
        self._readers.append(_role_arn(grantee))

    def grant_write(self, grantee: iam.IGrantable) -> None:
        self._grant_api(grantee)
        self._writers.append(_role_arn(grantee))

    def _grant_api(self, grantee: iam.IGrantable) -> None:
        # Opens the data plane; the data access policy says what may be done there.
        iam.Grant.add_to_principal(
            grantee=grantee, actions=["aoss:APIAccessAll"], resource_arns=[self.collection.attr_arn]
        )

    def _group(self, store: OpenSearchStore) -> aoss.CfnCollectionGroup:
        # No minimum: a NextGen group then scales to zero.
        return aoss.CfnCollectionGroup(
            self._parts,
            "Group",
            name=self._name,
            generation="NEXTGEN",
            standby_replicas="ENABLED" if store.standby_replicas else "DISABLED",
            capacity_limits=aoss.CfnCollectionGroup.CapacityLimitsProperty(
                max_indexing_capacity_in_ocu=store.max_capacity_units,
                max_search_capacity_in_ocu=store.max_capacity_units,
            ),
        )

    def _vpc_endpoint(self, context: StoreContext) -> aoss.CfnVpcEndpoint | None:
        """The service's own kind of endpoint, for a retrieval function without a way to the internet."""
        if context.vpc is None:
            return None
        group = ec2.SecurityGroup(
            self._parts, "EndpointSecurityGroup", vpc=context.vpc, description="Searches of the vector collection"
        )
        for member in context.security_groups:
            group.add_ingress_rule(member, ec2.Port.tcp(443), "Retrieval function")
        return aoss.CfnVpcEndpoint(
            self._parts,
            "Endpoint",
            name=self._name,
            vpc_id=context.vpc.vpc_id,
            subnet_ids=_subnet_ids(context.vpc, context.vpc_subnets),
            security_group_ids=[group.security_group_id],
        )

    def _encryption_policy(self, context: StoreContext) -> aoss.CfnSecurityPolicy:
        policy = {
            "Rules": [{"ResourceType": "collection", "Resource": [f"collection/{self._name}"]}],
            "AWSOwnedKey": False,
            "KmsARN": context.encryption_key.key_arn,
        }
        return aoss.CfnSecurityPolicy(
            self._parts,
            "Encryption",
            name=self._name,
            type="encryption",
            policy=Stack.of(self._parts).to_json_string(policy),
        )

    def _network_policy(self) -> aoss.CfnSecurityPolicy:
        """Reachable from outside the VPC, where ingestion and CloudFormation are; every request is signed."""
        rules = [{"ResourceType": "collection", "Resource": [f"collection/{self._name}"]}]
        policy: list[dict[str, object]] = [{"Rules": rules, "AllowFromPublic": True}]
        if self.endpoint is not None:
            policy.append({"Rules": rules, "AllowFromPublic": False, "SourceVPCEs": [self.endpoint.attr_id]})
        return aoss.CfnSecurityPolicy(
            self._parts, "Network", name=self._name, type="network", policy=Stack.of(self._parts).to_json_string(policy)
        )

    def _access_policy(self, deployment_role_arn: str) -> aoss.CfnAccessPolicy:
        resources = [f"index/{self._name}/*"]

        def rule(permissions: list[str], principals: list[str]) -> dict[str, object]:
            return {
                "Rules": [{"ResourceType": "index", "Resource": resources, "Permission": permissions}],
                "Principal": principals,
            }

        def policy() -> str:
            rules = [rule(_DEPLOY, [deployment_role_arn])]
            rules += [rule(_READ, self._readers)] if self._readers else []
            rules += [rule(_WRITE, self._writers)] if self._writers else []
            return Stack.of(self._parts).to_json_string(rules)

        # Written at synth, when every grant has been made.
        return aoss.CfnAccessPolicy(
            self._parts, "Access", name=self._name, type="data", policy=Lazy.string(_Produce(policy))
        )

    def _index(self, slot: str) -> aoss.CfnIndex:
        """Vectors for meaning and analysed text for words, so that a hybrid search needs no second index."""
        field = aoss.CfnIndex.PropertyMappingProperty
        return aoss.CfnIndex(
            self._parts,
            f"Index{slot.upper()}",
            collection_endpoint=self.collection.attr_collection_endpoint,
            index_name=f"{INDEX_NAME}-{slot}",
            settings=aoss.CfnIndex.IndexSettingsProperty(index=aoss.CfnIndex.IndexProperty(knn=True)),
            mappings=aoss.CfnIndex.MappingsProperty(
                properties={
                    "vector": field(
                        type="knn_vector",
                        dimension=EMBEDDING_DIMENSIONS,
                        method=aoss.CfnIndex.MethodProperty(name="hnsw", engine="faiss", space_type="cosinesimil"),
                    ),
                    "text": field(type="text"),
                    "owner": field(type="keyword"),
                    "document_id": field(type="keyword"),
                    "version": field(type="keyword"),
                    "chunk": field(type="integer"),
                    # Every field of a record as one term with its name and value, so that the mapping never grows.
                    "fields": field(type="keyword"),
                }
            ),
        )


@jsii.implements(IStableStringProducer)
class _Produce:
    def __init__(self, produce: Callable[[], str]) -> None:
        self._produce = produce

    def produce(self) -> str:
        """The text, made when it is asked for."""
        return self._produce()


def _role_arn(grantee: iam.IGrantable) -> str:
    principal = grantee.grant_principal
    if not isinstance(principal, iam.Role):
        raise TypeError("A vector collection admits roles; the grantee has none of its own.")
    return principal.role_arn


def _deployment_role_arn(scope: Construct) -> str:
    """The role that CloudFormation makes the index with: the index is made through the collection's own API."""
    synthesizer = Stack.of(scope).synthesizer
    arn = getattr(synthesizer, "cloud_formation_execution_role_arn", None)
    if arn is None:
        raise ValueError(
            "The stack's synthesizer names no CloudFormation execution role, which the vector collection must admit; "
            "give VectorStore.opensearch(deployment_role_arn=...)."
        )
    return Fn.sub(arn)


def _subnet_ids(vpc: ec2.IVpc, selection: ec2.SubnetSelection | None) -> list[str]:
    if selection is None:
        return vpc.select_subnets(one_per_az=True).subnet_ids
    return vpc.select_subnets(
        availability_zones=selection.availability_zones,
        one_per_az=selection.one_per_az,
        subnet_filters=selection.subnet_filters,
        subnet_group_name=selection.subnet_group_name,
        subnets=selection.subnets,
        subnet_type=selection.subnet_type,
    ).subnet_ids
