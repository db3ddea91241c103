from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Match, Template
from parley_constructs.dax import DaxProps
from parley_constructs.network import Network
from parley_constructs.storage import Storage


@pytest.fixture(scope="module")
def template() -> Template:
    stack = Stack(App(), "Stack")
    network = Network(stack, "Network", flow_logs=False)
    cluster = Storage(stack, "Storage").add_dax(
        DaxProps(
            vpc=network.vpc, vpc_subnets=network.subnets, node_type="dax.r5.large", replicas=3, item_ttl_seconds=10
        )
    )
    client = ec2.SecurityGroup(stack, "Client", vpc=network.vpc)
    cluster.allow_from(client)
    reader = iam.Role(stack, "Reader", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    cluster.grant_read(reader)
    assert cluster.endpoint
    return Template.from_stack(stack)


def policy(template: Template, role: str) -> list[dict[str, Any]]:
    [found] = [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for policy in template.find_resources("AWS::IAM::Policy").values()
        if any(role in attached["Ref"] for attached in policy["Properties"]["Roles"])
    ]
    return list(found)


def test_is_encrypted_at_rest_and_in_transit(template: Template) -> None:
    template.has_resource_properties(
        "AWS::DAX::Cluster",
        {
            "ClusterEndpointEncryptionType": "TLS",
            "SSESpecification": {"SSEEnabled": True},
            "NodeType": "dax.r5.large",
            "ReplicationFactor": 3,
        },
    )


def test_lives_in_the_private_subnets(template: Template) -> None:
    [group] = template.find_resources("AWS::DAX::SubnetGroup").values()

    subnets = [subnet["Ref"] for subnet in group["Properties"]["SubnetIds"]]
    assert len(subnets) == 2
    assert all("PrivateSubnet" in subnet for subnet in subnets)


def test_admits_only_who_is_let_in_and_only_through_tls(template: Template) -> None:
    template.resource_count_is("AWS::EC2::SecurityGroupIngress", 1)
    template.has_resource_properties(
        "AWS::EC2::SecurityGroupIngress", {"FromPort": 9111, "ToPort": 9111, "IpProtocol": "tcp"}
    )
    template.has_resource_properties(
        "AWS::EC2::SecurityGroup", {"GroupDescription": "DAX nodes", "SecurityGroupIngress": Match.absent()}
    )


def test_its_role_reads_the_knowledge_table_and_nothing_else(template: Template) -> None:
    tables, key = policy(template, "DaxRole")

    assert tables["Action"] == ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"]
    assert tables["Resource"]["Fn::GetAtt"][0].startswith("StorageKnowledge")
    assert key["Action"] == ["kms:Decrypt", "kms:DescribeKey"]
    assert key["Resource"]["Fn::GetAtt"][0].startswith("StorageEncryptionKey")


def test_a_reader_may_read_through_it(template: Template) -> None:
    [statement] = policy(template, "Reader")

    assert statement["Action"] == ["dax:GetItem", "dax:BatchGetItem", "dax:Query"]


def test_how_long_it_keeps_what_it_read_is_set_in_milliseconds(template: Template) -> None:
    template.has_resource_properties(
        "AWS::DAX::ParameterGroup",
        {"ParameterNameValues": {"record-ttl-millis": "10000", "query-ttl-millis": "60000"}},
    )
