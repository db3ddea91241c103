from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Match, Template
from parley_constructs.network import Network


def template(**props: Any) -> Template:
    stack = Stack(App(), "Stack")
    Network(stack, "Network", **props)
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def private() -> Template:
    return template(
        interface_endpoints=[
            ec2.InterfaceVpcEndpointAwsService.BEDROCK_RUNTIME,
            ec2.InterfaceVpcEndpointAwsService.KMS,
        ]
    )


def test_has_no_way_out_unless_asked(private: Template) -> None:
    for kind in ("AWS::EC2::NatGateway", "AWS::EC2::InternetGateway"):
        private.resource_count_is(kind, 0)
    private.resource_count_is("AWS::EC2::Subnet", 2)
    private.all_resources_properties("AWS::EC2::Subnet", {"MapPublicIpOnLaunch": False})


def test_reaches_s3_and_dynamodb_through_gateways(private: Template) -> None:
    endpoints = private.find_resources("AWS::EC2::VPCEndpoint", {"Properties": {"VpcEndpointType": "Gateway"}})

    assert len(endpoints) == 2


def test_reaches_named_services_through_interfaces_that_admit_the_vpc_alone(private: Template) -> None:
    endpoints = private.find_resources("AWS::EC2::VPCEndpoint", {"Properties": {"VpcEndpointType": "Interface"}})

    assert len(endpoints) == 2
    assert all(endpoint["Properties"]["PrivateDnsEnabled"] for endpoint in endpoints.values())
    private.has_resource_properties(
        "AWS::EC2::SecurityGroup",
        {
            "SecurityGroupIngress": [
                Match.object_like({"CidrIp": "10.0.0.0/16", "FromPort": 443, "ToPort": 443, "IpProtocol": "tcp"})
            ]
        },
    )


def test_records_connections(private: Template) -> None:
    private.has_resource_properties("AWS::EC2::FlowLog", {"TrafficType": "ALL", "ResourceType": "VPC"})
    private.has_resource_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})


def test_closes_the_default_security_group(private: Template) -> None:
    private.resource_count_is("Custom::VpcRestrictDefaultSG", 1)


def test_named_zones_nat_and_no_flow_logs() -> None:
    public = template(availability_zones=["eu-west-1a", "eu-west-1b", "eu-west-1c"], nat_gateways=1, flow_logs=False)

    public.resource_count_is("AWS::EC2::NatGateway", 1)
    public.resource_count_is("AWS::EC2::Subnet", 6)
    public.resource_count_is("AWS::EC2::FlowLog", 0)
    zones = {s["Properties"]["AvailabilityZone"] for s in public.find_resources("AWS::EC2::Subnet").values()}
    assert zones == {"eu-west-1a", "eu-west-1b", "eu-west-1c"}
