"""What every stack of an environment has in common."""

from aws_cdk import App, Environment, Stack, Tags

from stacks.config import Configuration

APPLICATION = "parley"


class EnvironmentStack(Stack):
    """A stack named `Parley-<environment>-<part>`, tagged, and protected where the configuration protects data."""

    def __init__(
        self,
        app: App,
        part: str,
        *,
        configuration: Configuration,
        description: str,
        region: str | None = None,
    ) -> None:
        """Create the stack in the environment's account and region, or in `region`."""
        tags = {
            "application": APPLICATION,
            "environment": configuration.environment,
            "cost-centre": configuration.cost_centre,
        }
        super().__init__(
            app,
            f"Parley-{configuration.environment}-{part}",
            env=Environment(account=configuration.account, region=region or configuration.region),
            description=description,
            termination_protection=configuration.protect_data,
            tags=tags,
        )
        # The stack's own tags reach the resources through CloudFormation; these reach the template, where a reader and
        # a resource type that CloudFormation does not propagate to find them.
        for key, value in tags.items():
            Tags.of(self).add(key, value)
