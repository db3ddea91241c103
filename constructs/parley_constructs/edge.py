"""What stands at the edge of the network: a web ACL and a certificate, both for CloudFront, so in us-east-1."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import ArnFormat, RemovalPolicy, Stack, Token
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

EDGE_REGION = "us-east-1"
"""CloudFront takes web ACLs and certificates from this region alone."""

MANAGED_RULE_GROUPS = (
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
)


class WebAcl(Construct):
    """A web ACL for a CloudFront distribution: AWS's rule groups, a rate per address, and a limit on body size."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        rate_limit: int = 2000,
        max_body_bytes: int = 16 * 1024,
        managed_rule_groups: Sequence[str] = MANAGED_RULE_GROUPS,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, construct_id)
        _require_edge_region(self, "A web ACL for CloudFront")
