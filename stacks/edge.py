"""What CloudFront takes from us-east-1 alone, for environments with a web ACL or a domain."""

from aws_cdk import App, RemovalPolicy
from aws_cdk import aws_route53 as route53
from parley_constructs.edge import EDGE_REGION, DomainCertificate, WebAcl

from stacks.config import Configuration
from stacks.environment_stack import EnvironmentStack
from stacks.settings import log_retention


class EdgeStack(EnvironmentStack):
    """The web ACL and the certificate that the environment asks for."""

    def __init__(self, app: App, *, configuration: Configuration) -> None:
        """Create what `enableWaf` and `domain` need, in us-east-1 whatever the environment's region."""
        super().__init__(
            app,
            "Edge",
            configuration=configuration,
            description="Parley: web ACL and certificate for CloudFront",
            region=EDGE_REGION,
        )
        self.web_acl: WebAcl | None = None
        self.certificate: DomainCertificate | None = None
        if configuration.enable_waf:
            self.web_acl = WebAcl(
                self,
                "WebAcl",
                # Documents are longer than messages, and come from signed-in users alone.
                unlimited_paths=["/api/knowledge/documents"],
                log_retention=log_retention(configuration),
                removal_policy=RemovalPolicy.DESTROY,
            )
        if configuration.domain is not None:
            self.certificate = DomainCertificate(
                self,
                "Certificate",
                domain_name=configuration.domain,
                hosted_zone=_hosted_zone(self, configuration.domain, configuration.hosted_zone_id),
            )


def _hosted_zone(stack: EdgeStack, domain: str, hosted_zone_id: str | None) -> route53.IHostedZone | None:
    if hosted_zone_id is None:
        return None
    return route53.HostedZone.from_hosted_zone_attributes(
        stack, "HostedZone", hosted_zone_id=hosted_zone_id, zone_name=domain
    )
