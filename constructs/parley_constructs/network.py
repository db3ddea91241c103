"""A private network for what must not face the internet."""

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct


class Network(Construct):
    """A VPC of isolated subnets with endpoints for the services used from them.

    S3 and DynamoDB have gateway endpoints, which cost nothing. Everything else that a function in these subnets calls
    needs an interface endpoint of its own (about $8 a month for each zone), or NAT.

    Args:
        cidr: the addresses of the VPC.
        max_azs: how many zones, when the zones are not named.
        availability_zones: the zones by name. A stack with an explicit account and region looks them up otherwise, and
            cannot be synthesized without credentials.
        interface_endpoints: the services to reach, such as `ec2.InterfaceVpcEndpointAwsService.BEDROCK_RUNTIME`.
        nat_gateways: a way out to the internet, about $33 a month each. With one or more the VPC also has public
            subnets for them, and the private ones route through them.
        flow_logs: record accepted and refused connections in CloudWatch Logs.
        flow_log_retention: how long those records are kept.
        encryption_key: a key for them, whose policy must admit CloudWatch Logs.

    Attributes:
        vpc: the VPC.
        subnets: the selection of subnets that functions and clusters belong in.
        interface_endpoints: the interface endpoints by their service's short name.
        endpoint_security_group: admits HTTPS from the VPC to the interface endpoints.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cidr: str = "10.0.0.0/16",
        max_azs: int = 2,
        availability_zones: Sequence[str] | None = None,
        interface_endpoints: Sequence[ec2.InterfaceVpcEndpointAwsService] = (),
        nat_gateways: int = 0,
        flow_logs: bool = True,
        flow_log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        private = ec2.SubnetType.PRIVATE_WITH_EGRESS if nat_gateways else ec2.SubnetType.PRIVATE_ISOLATED
        subnets = [ec2.SubnetConfiguration(name="Private", subnet_type=private, cidr_mask=20)]
        if nat_gateways:
            subnets.append(
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26, map_public_ip_on_launch=False
                )
            )
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(cidr),
            max_azs=None if availability_zones else max_azs,
            availability_zones=list(availability_zones) if availability_zones else None,
            nat_gateways=nat_gateways,
            subnet_configuration=subnets,
            restrict_default_security_group=True,
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDb": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            },
        )
        self.subnets = ec2.SubnetSelection(subnet_type=private)
        self.endpoint_security_group = ec2.SecurityGroup(
            self,
            "EndpointSecurityGroup",
            vpc=self.vpc,
            description="HTTPS from the VPC to its interface endpoints",
            allow_all_outbound=False,
        )
        self.endpoint_security_group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443), "HTTPS from the VPC")
        self.interface_endpoints = {
            service.short_name: self.vpc.add_interface_endpoint(
                _endpoint_id(service),
                service=service,
                subnets=self.subnets,
                security_groups=[self.endpoint_security_group],
                open=False,
            )
            for service in interface_endpoints
        }
        if flow_logs:
            log_group = logs.LogGroup(
                self,
                "FlowLogs",
                retention=flow_log_retention,
                removal_policy=RemovalPolicy.DESTROY,
                encryption_key=encryption_key,
            )
            self.vpc.add_flow_log("FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group))


def _endpoint_id(service: ec2.InterfaceVpcEndpointAwsService) -> str:
    return "".join(part.capitalize() for part in service.short_name.replace(".", "-").split("-")) + "Endpoint"
