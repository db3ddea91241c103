"""The assistant's public address: the page and both APIs behind one CloudFront distribution."""

from aws_cdk import App, CfnOutput
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from parley_constructs.identity import CognitoIdentity
from parley_constructs.origin_secret import OriginSecret, OriginSecretRotation
from parley_constructs.web import WebDistribution, WebDistributionProps

from stacks.assistant import AssistantStack
from stacks.config import Configuration
from stacks.edge import EdgeStack, hosted_zone
from stacks.environment_stack import EnvironmentStack
from stacks.page import page
from stacks.settings import architecture, edge_package, log_retention, removal_policy


class WebStack(EnvironmentStack):
    """The page in a bucket, served beside `/api` and `/ws`."""

    def __init__(
        self,
        app: App,
        *,
        configuration: Configuration,
        bucket: s3.IBucket,
        documents_bucket: s3.IBucket,
        encryption_key: kms.IKey,
        assistant: AssistantStack,
        edge: EdgeStack | None,
        origin_secret: OriginSecret | None = None,
    ) -> None:
        """Serve the page from `bucket`, with the web ACL and certificate that `edge` has.

        The page posts files to `documents_bucket`; `encryption_key` encrypts logs. The `origin_secret` is sent to the
        assistant's APIs, and rotated here.
        """
        super().__init__(app, "Web", configuration=configuration, description="Parley: page and public address")
        web_acl = edge.web_acl if edge else None
        certificate = edge.certificate if edge else None
        # Cognito answers browsers at an address of its own.
        cognito = [f"https://cognito-idp.{self.region}.{self.url_suffix}"] if configuration.auth == "cognito" else []
        # In us-east-1 the SDK that signs the forms uses S3's global name, elsewhere the regional one.
        documents = [
            f"https://{name}"
            for name in (documents_bucket.bucket_regional_domain_name, documents_bucket.bucket_domain_name)
        ]
        self.web = WebDistribution(
            self,
            "Web",
            props=WebDistributionProps(
                bucket=bucket,
                voice_api=assistant.api,
                sources=[page()],
                config=self._page_config(configuration, assistant),
                connect_sources=[*cognito, *documents],
                domain_name=configuration.domain,
                certificate=certificate,
                hosted_zone=hosted_zone(self, configuration.domain, configuration.hosted_zone_id),
                web_acl_arn=web_acl.arn if web_acl else None,
                origin_secret=origin_secret,
                log_retention=log_retention(configuration),
                log_encryption_key=encryption_key,
                removal_policy=removal_policy(configuration),
            ),
        )
        if origin_secret is not None:
            OriginSecretRotation(
                self,
                "OriginSecretRotation",
                secret=origin_secret,
                distribution=self.web.distribution,
                api_url=assistant.api.http_url,
                code=edge_package(configuration),
                handler="parley.functions.origin_rotation.handler",
                architecture=architecture(configuration),
                log_retention=log_retention(configuration),
                log_encryption_key=encryption_key,
            )
        CfnOutput(self, "WebUrl", value=self.web.url)
        CfnOutput(self, "DistributionDomainName", value=self.web.distribution.distribution_domain_name)

    def _page_config(self, configuration: Configuration, assistant: AssistantStack) -> dict[str, object]:
        config: dict[str, object] = {
            "auth": configuration.auth,
            "environment": configuration.environment,
            "voice": configuration.enable_voice,
        }
        if configuration.enable_voice:
            config["languages"] = list(configuration.languages)
        if isinstance(assistant.identity, CognitoIdentity):
            config |= {
                "region": self.region,
                "user_pool_id": assistant.identity.user_pool.user_pool_id,
                "client_id": assistant.identity.client.user_pool_client_id,
            }
        return config
