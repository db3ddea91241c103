"""What an account needs once in each region, whatever environments it holds."""

from aws_cdk import App, Environment, Stack, Tags
from parley_constructs.account import ApiGatewayLogging

from stacks.config import Configuration
from stacks.environment_stack import APPLICATION


class AccountStack(Stack):
    """`Parley-Account`: the role that lets API Gateway write access logs, shared by every environment there.

    Its resources stay when the stack goes, because other environments and APIs may rely on them.
    """

    def __init__(self, app: App, *, configuration: Configuration) -> None:
        """Create the stack in the environment's account and region."""
        tags = {"application": APPLICATION, "environment": "shared", "cost-centre": configuration.cost_centre}
        super().__init__(
            app,
            "Parley-Account",
            env=Environment(account=configuration.account, region=configuration.region),
            description="Parley: what API Gateway needs once in an account and region to write access logs",
            tags=tags,
        )
        for key, value in tags.items():
            Tags.of(self).add(key, value)
        ApiGatewayLogging(self, "ApiGatewayLogging")
