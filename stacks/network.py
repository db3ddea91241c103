"""The private network, for environments with a flag that needs one."""

from collections.abc import Sequence

from aws_cdk import App, CrossStackReferences, Fn, ReferenceStrength
from aws_cdk import aws_ec2 as ec2
from parley_constructs.network import Network

from stacks.config import Configuration
from stacks.environment_stack import EnvironmentStack
from stacks.settings import log_retention


class NetworkStack(EnvironmentStack):
    """A VPC without a way out, and the security group of the functions in it.

    The group is made here, ahead of both its users: the cache that admits it and the functions that carry it are in
    stacks that would otherwise depend on each other.
    """

    def __init__(
        self,
        app: App,
        *,
        configuration: Configuration,
        interface_endpoints: Sequence[ec2.InterfaceVpcEndpointAwsService],
    ) -> None:
        """Create the network with an endpoint for each service that its functions call."""
        self._zones = configuration.sizes.availability_zones
        super().__init__(app, "Network", configuration=configuration, description="Parley: private network")
        self.network = Network(
            self,
            "Network",
            max_azs=self._zones,
            interface_endpoints=interface_endpoints,
            flow_log_retention=log_retention(configuration),
        )
        self.function_security_group = ec2.SecurityGroup(
            self,
            "FunctionSecurityGroup",
            vpc=self.network.vpc,
            description="Functions in the private network",
        )
        # What feeds a property that cannot change in place: through a weak reference CloudFormation would expect a
        # replacement on every update. The network outlives its users, so strong references lock nothing.
        vpc = self.network.vpc
        for resource in (vpc, *vpc.isolated_subnets, self.function_security_group):
            CrossStackReferences.of(resource).produce(ReferenceStrength.STRONG)

    @property
    def availability_zones(self) -> list[str]:
        """The region's first zones, whatever they are called: CloudFormation knows, so synth need not look them up."""
        return [Fn.select(zone, Fn.get_azs()) for zone in range(self._zones)]
