"""How GitHub Actions may deploy the environment, with `githubRepository`."""

from aws_cdk import App, CfnOutput
from aws_cdk import aws_iam as iam
from parley_constructs.edge import EDGE_REGION
from parley_constructs.github import GitHubDeployment

from stacks.config import Configuration
from stacks.environment_stack import EnvironmentStack


class DeliveryStack(EnvironmentStack):
    """The role that jobs of the GitHub environment of the same name take."""

    def __init__(self, app: App, *, configuration: Configuration, repository: str) -> None:
        """Admit the jobs of `repository` (`owner/name`) that run in the GitHub environment of this name."""
        super().__init__(app, "Delivery", configuration=configuration, description="Parley: deployment by GitHub")
        # An account has one provider of GitHub's tokens, whoever deploys to it: it is made by hand, once.
        provider = f"arn:{self.partition}:iam::{self.account}:oidc-provider/token.actions.githubusercontent.com"
        deployment = GitHubDeployment(
            self,
            "GitHub",
            repository=repository,
            environments=[configuration.environment],
            regions=list(dict.fromkeys([self.region, *([EDGE_REGION] if configuration.needs_edge else [])])),
            provider=iam.OidcProviderNative.from_oidc_provider_arn(self, "Provider", provider),
        )
        CfnOutput(self, "GitHubRoleArn", value=deployment.role.role_arn)
