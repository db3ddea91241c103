"""What CloudFront takes from us-east-1 alone: a web ACL, a certificate, and where its access log goes."""

import json
from collections.abc import Sequence

from aws_cdk import ArnFormat, Names, RemovalPolicy, Stack, Token
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

EDGE_REGION = "us-east-1"
"""The one region whose web ACLs, certificates and log deliveries CloudFront uses."""

MANAGED_RULE_GROUPS = (
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
)
"""AWS's rule groups: addresses of known attackers, common attacks, requests known to be exploits."""

# What people write to an assistant is data that nothing evaluates, and questions about HTML or paths are no attacks:
# these rules count instead of blocking. The first would also refuse every body above 8 KB.
_COUNTED_RULES = {
    "AWSManagedRulesCommonRuleSet": (
        "SizeRestrictions_BODY",
        "CrossSiteScripting_BODY",
        "EC2MetaDataSSRF_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
    )
}
# CloudFront shows a web ACL 64 KB of a body at most, and what is longer counts as longer than any limit.
# https://docs.aws.amazon.com/waf/latest/developerguide/waf-oversize-request-components.html
_INSPECTED_BODY_BYTES = 64 * 1024
# Everything but the query string, which holds the ticket of a WebSocket connection, and cookies.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
_ACCESS_LOG_FIELDS = (
    "date",
    "time",
    "x-edge-location",
    "x-edge-request-id",
    "x-edge-result-type",
    "x-edge-detailed-result-type",
    "c-ip",
    "cs-method",
    "cs-uri-stem",
    "cs-protocol",
    "cs-bytes",
    "sc-status",
    "sc-bytes",
    "time-taken",
    "time-to-first-byte",
    "ssl-protocol",
)


class WebAcl(Construct):
    """A web ACL for a CloudFront distribution: AWS's rule groups, a rate per address, a limit on bodies, a log.

    Requests over the rate or the limit are answered in the API's own form, `{"error": {"code", "message"}}`, with 429
    `throttled` or 413 `payload_too_large`.

    Args:
        rate_limit: requests that one address may send in five minutes (at least 10).
        max_body_bytes: longest body, at most 65,535, because CloudFront shows no more of one.
        unlimited_paths: paths under which bodies may be longer, such as the one that documents are uploaded to.
        managed_rule_groups: names of AWS's rule groups, in the order of evaluation.
        log_retention, log_encryption_key, removal_policy: of the log of requests that were not simply let through.

    Attributes:
        web_acl: the resource. arn: what a distribution takes.
        log_group: the log; authorization headers, cookies and query strings are left out.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        rate_limit: int = 2000,
        max_body_bytes: int = _INSPECTED_BODY_BYTES - 1,
        unlimited_paths: Sequence[str] = (),
        managed_rule_groups: Sequence[str] = MANAGED_RULE_GROUPS,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        log_encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, construct_id)
        _require_edge_region(self, "A web ACL for CloudFront")
        if not 0 < max_body_bytes < _INSPECTED_BODY_BYTES:
            raise ValueError(
                f"max_body_bytes was {max_body_bytes}; CloudFront shows a web ACL {_INSPECTED_BODY_BYTES} bytes of a "
                f"body, so allowed are 1 to {_INSPECTED_BODY_BYTES - 1}."
            )
        rules = [
            ("RateLimit", _rate(rate_limit), _refuse(429, "throttled")),
            (
                "BodyLimit",
                _longer_than(max_body_bytes, except_under=unlimited_paths),
                _refuse(413, "payload_too_large"),
            ),
            *((name.removeprefix("AWSManagedRules"), _managed(name), None) for name in managed_rule_groups),
        ]
        self.web_acl = wafv2.CfnWebACL(
            self,
            "WebAcl",
            scope="CLOUDFRONT",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow=wafv2.CfnWebACL.AllowActionProperty()),
            visibility_config=_visibility("WebAcl"),
            association_config=wafv2.CfnWebACL.AssociationConfigProperty(
                request_body={
                    "CLOUDFRONT": wafv2.CfnWebACL.RequestBodyAssociatedResourceTypeConfigProperty(
                        default_size_inspection_limit="KB_64"
                    )
                }
            ),
            custom_response_bodies={
                "throttled": _error("throttled", "Too many requests from this address."),
                "payload_too_large": _error("payload_too_large", f"The body is longer than {max_body_bytes} bytes."),
            },
            rules=[
                wafv2.CfnWebACL.RuleProperty(
                    name=name,
                    priority=priority,
                    statement=statement,
                    action=action,
                    override_action=None if action else wafv2.CfnWebACL.OverrideActionProperty(none={}),
                    visibility_config=_visibility(name),
                )
                for priority, (name, statement, action) in enumerate(rules)
            ],
        )
        self.arn = self.web_acl.attr_arn
        self.log_group = logs.LogGroup(
            self,
            "Log",
            # The service delivers to log groups of this name alone.
            log_group_name=f"aws-waf-logs-{Names.unique_resource_name(self, max_length=80, separator='-')}",
            retention=log_retention,
            encryption_key=log_encryption_key,
            removal_policy=removal_policy,
        )
        self._log_to(self.log_group)

    def _log_to(self, log_group: logs.LogGroup) -> None:
        # Without the `:*` at the end of the group's own ARN, which the service refuses.
        destination = Stack.of(self).format_arn(
            service="logs",
            resource="log-group",
            resource_name=log_group.log_group_name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        redacted = wafv2.CfnLoggingConfiguration.FieldToMatchProperty
        wafv2.CfnLoggingConfiguration(
            self,
            "Logging",
            resource_arn=self.arn,
            log_destination_configs=[destination],
            redacted_fields=[
                redacted(query_string={}),
                redacted(single_header={"Name": "authorization"}),
                redacted(single_header={"Name": "cookie"}),
            ],
        )


class DomainCertificate(acm.Certificate):
    """A certificate for one name, proved by DNS and renewed by the service.

    Args:
        hosted_zone: where the proof is written. Without it somebody writes it by hand, and the deployment waits.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        domain_name: str,
        hosted_zone: route53.IHostedZone | None = None,
    ) -> None:
        _require_edge_region(scope, "A certificate for CloudFront")
        super().__init__(
            scope,
            construct_id,
            domain_name=domain_name,
            validation=acm.CertificateValidation.from_dns(hosted_zone),
            key_algorithm=acm.KeyAlgorithm.EC_PRIME256_V1,
        )


class DistributionAccessLog(Construct):
    """A distribution's access log as JSON in a log group, without query strings and cookies.

    CloudFront's older logging into a bucket writes every query string, and so the tickets of WebSocket connections.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        distribution_arn: str,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        log_encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, construct_id)
        _require_edge_region(self, "CloudFront's access log")
        name = Names.unique_resource_name(self, max_length=55, separator="-")
        self.log_group = logs.LogGroup(
            self,
            "LogGroup",
            retention=log_retention,
            encryption_key=log_encryption_key,
            removal_policy=removal_policy,
        )
        source = logs.CfnDeliverySource(
            self, "Source", name=name, resource_arn=distribution_arn, log_type="ACCESS_LOGS"
        )
        destination = logs.CfnDeliveryDestination(
            self, "Destination", name=name, destination_resource_arn=self.log_group.log_group_arn, output_format="json"
        )
        delivery = logs.CfnDelivery(
            self,
            "Delivery",
            delivery_source_name=source.name,
            delivery_destination_arn=destination.attr_arn,
            record_fields=list(_ACCESS_LOG_FIELDS),
        )
        delivery.add_resource_dependency(source)


def _require_edge_region(scope: Construct, what: str) -> None:
    region = Stack.of(scope).region
    if not Token.is_unresolved(region) and region != EDGE_REGION:
        raise ValueError(f"{what} must be in a stack of {EDGE_REGION}; this stack's region is {region}.")


def _visibility(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )


def _error(code: str, message: str) -> wafv2.CfnWebACL.CustomResponseBodyProperty:
    return wafv2.CfnWebACL.CustomResponseBodyProperty(
        content_type="APPLICATION_JSON", content=json.dumps({"error": {"code": code, "message": message}})
    )


def _refuse(status: int, body: str) -> wafv2.CfnWebACL.RuleActionProperty:
    return wafv2.CfnWebACL.RuleActionProperty(
        block=wafv2.CfnWebACL.BlockActionProperty(
            custom_response=wafv2.CfnWebACL.CustomResponseProperty(response_code=status, custom_response_body_key=body)
        )
    )


def _rate(limit: int) -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
            limit=limit, aggregate_key_type="IP", evaluation_window_sec=300
        )
    )


def _longer_than(size: int, *, except_under: Sequence[str]) -> wafv2.CfnWebACL.StatementProperty:
    statement = wafv2.CfnWebACL.StatementProperty
    longer = statement(
        size_constraint_statement=wafv2.CfnWebACL.SizeConstraintStatementProperty(
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(
                body=wafv2.CfnWebACL.BodyProperty(oversize_handling="MATCH")
            ),
            comparison_operator="GT",
            size=size,
            text_transformations=_AS_IT_IS,
        )
    )
    elsewhere = [
        statement(not_statement=wafv2.CfnWebACL.NotStatementProperty(statement=_path_under(path)))
        for path in except_under
    ]
    if not elsewhere:
        return longer
    return statement(and_statement=wafv2.CfnWebACL.AndStatementProperty(statements=[longer, *elsewhere]))


def _path_under(path: str) -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        byte_match_statement=wafv2.CfnWebACL.ByteMatchStatementProperty(
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(uri_path={}),
            positional_constraint="STARTS_WITH",
            search_string=path,
            text_transformations=_AS_IT_IS,
        )
    )


def _managed(name: str) -> wafv2.CfnWebACL.StatementProperty:
    count = wafv2.CfnWebACL.RuleActionProperty(count=wafv2.CfnWebACL.CountActionProperty())
    return wafv2.CfnWebACL.StatementProperty(
        managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
            vendor_name="AWS",
            name=name,
            rule_action_overrides=[
                wafv2.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=count)
                for rule in _COUNTED_RULES.get(name, ())
            ],
        )
    )


_AS_IT_IS = [wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")]
