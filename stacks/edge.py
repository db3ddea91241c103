"""What CloudFront takes from us-east-1 alone, for environments with a web ACL or a domain."""

from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_route53 as route53
from parley_constructs.edge import EDGE_REGION, DistributionAccessLog, DomainCertificate, WebAcl

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
                hosted_zone=hosted_zone(self, configuration.domain, configuration.hosted_zone_id),
            )


class EdgeLogStack(EnvironmentStack):
    """The distribution's access log, for an environment of another region: the stack `Edge` comes before the
    distribution, so the log cannot be there.
    """

    def __init__(self, app: App, *, configuration: Configuration, distribution_arn: str) -> None:
        """Deliver the log of the distribution to us-east-1, where CloudFront delivers alone."""
        super().__init__(
            app,
            "EdgeLog",
            configuration=configuration,
            description="Parley: CloudFront's access log",
            region=EDGE_REGION,
        )
        self.access_log = DistributionAccessLog(
            self,
            "AccessLog",
            distribution_arn=distribution_arn,
            log_retention=log_retention(configuration),
            removal_policy=RemovalPolicy.DESTROY,
        )


def hosted_zone(stack: Stack, domain: str | None, hosted_zone_id: str | None) -> route53.IHostedZone | None:
    """The zone that the domain's records are written into, if it is known; it may be the zone of a name above it."""
    if domain is None or hosted_zone_id is None:
        return None
    return route53.HostedZone.from_hosted_zone_attributes(
        stack, "HostedZone", hosted_zone_id=hosted_zone_id, zone_name=domain
    )
