"""DynamoDB Accelerator: a cache in front of tables, inside a VPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_dax as dax
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

_TLS_PORT = 9111
_READ = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")


@dataclass(frozen=True)
class DaxProps:
    """What `DaxCluster` can be told.

    Attributes:
        vpc: where the nodes run.
        node_type: their size; `dax.t3.small` costs about $29 a month for each node.
        replicas: how many nodes. One is a single point of failure; AWS advises three or more for production.
        vpc_subnets: which subnets; by default those without a way in from the internet.
        item_ttl_seconds, query_ttl_seconds: how stale a read may be when something writes past the cluster.
    """

    vpc: ec2.IVpc
    node_type: str = "dax.t3.small"
    replicas: int = 1
    vpc_subnets: ec2.SubnetSelection | None = None
    item_ttl_seconds: int = 300
    query_ttl_seconds: int = 60


class DaxCluster(Construct):
    """A DAX cluster, encrypted at rest and in transit, whose role reads the named tables and does nothing else.

    Writers go to DynamoDB.

    Attributes:
        cluster: the cluster.
        security_group: the nodes' security group; nothing may connect until `allow_from`.
        endpoint: the address for clients, `daxs://host`.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, tables: Sequence[dynamodb.ITable], props: DaxProps
    ) -> None:
        super().__init__(scope, construct_id)
        subnets = _select(props.vpc, props.vpc_subnets or ec2.SubnetSelection())
        subnet_group = dax.CfnSubnetGroup(self, "SubnetGroup", subnet_ids=list(subnets.subnet_ids))
        parameter_group = dax.CfnParameterGroup(
            self,
            "ParameterGroup",
            # Milliseconds.
            parameter_name_values={
                "record-ttl-millis": str(props.item_ttl_seconds * 1000),
                "query-ttl-millis": str(props.query_ttl_seconds * 1000),
            },
        )
        self.security_group = ec2.SecurityGroup(
            self, "SecurityGroup", vpc=props.vpc, description="DAX nodes", allow_all_outbound=True
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("dax.amazonaws.com"))
        for table in tables:
            _grant_cache(self.role, table)
        self.cluster = dax.CfnCluster(
            self,
            "Cluster",
            iam_role_arn=self.role.role_arn,
            node_type=props.node_type,
            replication_factor=props.replicas,
            subnet_group_name=subnet_group.ref,
            parameter_group_name=parameter_group.ref,
            security_group_ids=[self.security_group.security_group_id],
            cluster_endpoint_encryption_type="TLS",
            sse_specification=dax.CfnCluster.SSESpecificationProperty(sse_enabled=True),
        )
        self.cluster.node.add_dependency(self.role)
        self.endpoint = self.cluster.attr_cluster_discovery_endpoint_url
        self.connections = ec2.Connections(security_groups=[self.security_group], default_port=ec2.Port.tcp(_TLS_PORT))

    def allow_from(self, client: ec2.IConnectable) -> None:
        """Let a client in the VPC connect."""
        self.connections.allow_default_port_from(client, "DAX through TLS")

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` read items and queries through the cluster, from any of its tables."""
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["dax:GetItem", "dax:BatchGetItem", "dax:Query"],
            resource_arns=[self.cluster.attr_arn],
        )


def _select(vpc: ec2.IVpc, selection: ec2.SubnetSelection) -> ec2.SelectedSubnets:
    return vpc.select_subnets(
        availability_zones=selection.availability_zones,
        one_per_az=selection.one_per_az,
        subnet_filters=selection.subnet_filters,
        subnet_group_name=selection.subnet_group_name,
        subnets=selection.subnets,
        subnet_type=selection.subnet_type,
    )


def _grant_cache(role: iam.Role, table: dynamodb.ITable) -> None:
    # Not table.grant_read_data: it adds the table's stream, and wildcards for its key.
    role.add_to_policy(iam.PolicyStatement(actions=["dynamodb:DescribeTable", *_READ], resources=[table.table_arn]))
    if table.encryption_key is not None:
        table.encryption_key.grant(role, "kms:Decrypt", "kms:DescribeKey")
