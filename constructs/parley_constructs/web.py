"""One public address for page, HTTP API and WebSocket API: a CloudFront distribution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as route53_targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct

from parley_constructs.edge import EDGE_REGION, DistributionAccessLog
from parley_constructs.findings import acknowledge
from parley_constructs.origin_secret import ORIGIN_HEADER, OriginSecret
from parley_constructs.voice_api import STAGE_NAME, VoiceApi
from parley_constructs.wildcards import acknowledge_object_wildcards

API_PATH = "/api"
"""The HTTP API answers under this path, which it does not see itself."""

# A page's own paths have no dot in their last part; files have one.
_SERVE_PAGE = """function handler(event) {
  var request = event.request;
  var name = request.uri.substring(request.uri.lastIndexOf('/') + 1);
  if (name.indexOf('.') === -1) {
    request.uri = '/index.html';
  }
  return request;
}
"""
# Set here, after whatever a client sent under these names: what the API receives is CloudFront's own word.
_TELL_OF_VIEWER = """  event.request.headers['x-parley-viewer'] = {value: event.viewer.ip};
  event.request.headers['x-parley-host'] = {value: event.request.headers.host.value};
"""
_STRIP_PATH = f"  event.request.uri = event.request.uri.substring({len(API_PATH)}) || '/';\n"


@dataclass(frozen=True, kw_only=True)
class WebDistributionProps:
    """Settings of a WebDistribution.

    bucket: holds the page's files. It may belong to another stack; its owner calls `admit_distributions` on it.
    voice_api: answers `/api/*` and `/ws`.
    sources: the page's files, put into the bucket.
    config: becomes `/config.json`; values may be tokens.
    connect_sources: further origins that the page's scripts call (`connect-src`), such as Cognito's.
    domain_name, certificate: a name of your own, and a certificate for it from us-east-1. Both or neither.
    hosted_zone: gets the records of `domain_name`, for both versions of IP; without it somebody else writes them.
    web_acl_arn: a web ACL of scope CLOUDFRONT.
    price_class: where the page is served from; by default North America, Europe and Israel.
    origin_secret: is sent to the APIs in the header ORIGIN_HEADER, so that their functions can refuse whom went round
        the distribution; with it, `x-parley-viewer` and `x-parley-host` tell them the client's address, and the name
        under which it called.
    log_retention, log_encryption_key, removal_policy: of the access log (in us-east-1 only; see WebDistribution).
    """

    bucket: s3.IBucket
    voice_api: VoiceApi
    sources: Sequence[s3_deployment.ISource]
    config: Mapping[str, object] = field(default_factory=dict)
    connect_sources: Sequence[str] = ()
    domain_name: str | None = None
    certificate: acm.ICertificate | None = None
    hosted_zone: route53.IHostedZone | None = None
    web_acl_arn: str | None = None
    origin_secret: OriginSecret | None = None
    price_class: cloudfront.PriceClass = cloudfront.PriceClass.PRICE_CLASS_100
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    log_encryption_key: kms.IKey | None = None
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY


def admit_distributions(bucket: s3.Bucket) -> None:
    """Let CloudFront distributions of the bucket's account read it; call it where the bucket is made.

    The policy names no distribution: that would make the bucket's stack depend on the distribution's, which depends
    on the bucket's. The distributions of one account are one owner's, and each must name this bucket as its origin.
    The bucket must be encrypted by S3's own keys, as what a browser loads may be.
    """
    distributions = Stack.of(bucket).format_arn(
        service="cloudfront",
        region="",
        resource="distribution",
        resource_name="*",
        arn_format=ArnFormat.SLASH_RESOURCE_NAME,
    )
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
            actions=["s3:GetObject"],
            resources=[bucket.arn_for_objects("*")],
            conditions={"ArnLike": {"aws:SourceArn": distributions}},
        )
    )


class WebDistribution(Construct):
    """Serves a page at `/`, the HTTP API at `/api/*` and the WebSocket API at `/ws`, all under one address.

    Paths of the page fall back to `index.html` by a function in front, not by error pages: those would turn the API's
    errors into pages. In us-east-1 there is also an access log; in another region, make a `DistributionAccessLog` in
    a stack of us-east-1.

    Attributes:
        distribution: the distribution. url: its public address, without a slash at the end.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: WebDistributionProps) -> None:
        super().__init__(scope, construct_id)
        if (props.domain_name is None) != (props.certificate is None):
            raise ValueError(
                f"domain_name was {props.domain_name!r} and certificate was {props.certificate!r}; "
                "give both, or neither."
            )
        self._props = props
        api = props.voice_api
        tell = _TELL_OF_VIEWER if props.origin_secret else ""
        to_websocket = self._function("TellOfViewer", _passing_on(tell)) if tell else None
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            default_behavior=self._page(),
            additional_behaviors={
                f"{API_PATH}/*": self._api(
                    api.http_domain, self._function("StripApiPath", _passing_on(_STRIP_PATH + tell))
                ),
                # The path is the API's stage, so it reaches the origin as it is.
                f"/{STAGE_NAME}": self._api(api.websocket_domain, to_websocket),
            },
            domain_names=[props.domain_name] if props.domain_name else None,
            certificate=props.certificate,
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=props.price_class,
            web_acl_id=props.web_acl_arn,
        )
        self.url = f"https://{props.domain_name or self.distribution.distribution_domain_name}"
        self._name()
        self._deploy_page()
        self._log()
        self._acknowledge_findings()

    def _page(self) -> cloudfront.BehaviorOptions:
        # As an import, so that CDK does not write the distribution into the policy of another stack's bucket.
        bucket = s3.Bucket.from_bucket_attributes(
            self,
            "PageBucket",
            bucket_arn=self._props.bucket.bucket_arn,
            bucket_regional_domain_name=self._props.bucket.bucket_regional_domain_name,
        )
        return cloudfront.BehaviorOptions(
            origin=origins.S3BucketOrigin.with_origin_access_control(bucket),
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
            compress=True,
            response_headers_policy=self._headers(),
            function_associations=[_before(self._function("ServePage", _SERVE_PAGE))],
        )

    def _api(self, domain: str, function: cloudfront.Function | None = None) -> cloudfront.BehaviorOptions:
        secret = self._props.origin_secret
        return cloudfront.BehaviorOptions(
            origin=origins.HttpOrigin(
                domain,
                # API Gateway ends a request after 30 s; the answer must not be given up before.
                read_timeout=Duration.seconds(35),
                custom_headers={ORIGIN_HEADER: secret.header_value} if secret else None,
            ),
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            # API Gateway knows its own host name only.
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            function_associations=[_before(function)] if function else None,
        )

    def _function(self, construct_id: str, code: str) -> cloudfront.Function:
        return cloudfront.Function(
            self,
            construct_id,
            code=cloudfront.FunctionCode.from_inline(code),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )

    def _headers(self) -> cloudfront.ResponseHeadersPolicy:
        headers = cloudfront
        return cloudfront.ResponseHeadersPolicy(
            self,
            "Headers",
            security_headers_behavior=headers.ResponseSecurityHeadersBehavior(
                content_security_policy=headers.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=_content_security_policy(self._props.connect_sources), override=True
                ),
                content_type_options=headers.ResponseHeadersContentTypeOptions(override=True),
                frame_options=headers.ResponseHeadersFrameOptions(
                    frame_option=cloudfront.HeadersFrameOption.DENY, override=True
                ),
                referrer_policy=headers.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
                ),
                strict_transport_security=headers.ResponseHeadersStrictTransportSecurity(
                    access_control_max_age=Duration.days(365), include_subdomains=True, override=True
                ),
            ),
            custom_headers_behavior=headers.ResponseCustomHeadersBehavior(
                custom_headers=[
                    headers.ResponseCustomHeader(
                        header="permissions-policy",
                        value="microphone=(self), camera=(), geolocation=()",
                        override=True,
                    )
                ]
            ),
        )

    def _name(self) -> None:
        props = self._props
        if props.domain_name is None or props.hosted_zone is None:
            return
        target = route53.RecordTarget.from_alias(route53_targets.CloudFrontTarget(self.distribution))
        for construct_id, record in (("Ipv4Name", route53.ARecord), ("Ipv6Name", route53.AaaaRecord)):
            # With the dot it is the whole name, whatever the zone's is.
            record(self, construct_id, zone=props.hosted_zone, record_name=f"{props.domain_name}.", target=target)

    def _deploy_page(self) -> None:
        props = self._props
        log_group = logs.LogGroup(
            self,
            "DeploymentLog",
            retention=props.log_retention,
            encryption_key=props.log_encryption_key,
            removal_policy=props.removal_policy,
        )
        role = iam.Role(self, "DeploymentRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group.grant_write(role)
        s3_deployment.BucketDeployment(
            self,
            "Page",
            destination_bucket=props.bucket,
            sources=[*props.sources, s3_deployment.Source.json_data("config.json", dict(props.config))],
            # Browsers and CloudFront ask whether a file has changed, so a deployment needs no invalidation.
            cache_control=[s3_deployment.CacheControl.no_cache()],
            role=role,
            log_group=log_group,
        )
        _acknowledge_deployment(Stack.of(self), role)

    def _log(self) -> None:
        if Stack.of(self).region == EDGE_REGION:
            DistributionAccessLog(
                self,
                "AccessLog",
                distribution_arn=self.distribution.distribution_arn,
                log_retention=self._props.log_retention,
                log_encryption_key=self._props.log_encryption_key,
                removal_policy=self._props.removal_policy,
            )

    def _acknowledge_findings(self) -> None:
        reasons = {
            "AwsSolutions-CFR1": "The product is offered everywhere; a web ACL is the place to restrict countries.",
            "AwsSolutions-CFR3": "The rule looks for the older logging, whose lines hold query strings and so the "
            "tickets of WebSocket connections; DistributionAccessLog logs without them.",
        }
        if self._props.web_acl_arn is None:
            reasons["AwsSolutions-CFR2"] = "A web ACL costs money from the first day, so `web_acl_arn` is a choice."
        if self._props.certificate is None:
            reasons["AwsSolutions-CFR4"] = (
                "CloudFront's own certificate fixes its TLS policy; with `domain_name` it is TLS 1.2 (2021) or newer."
            )
        acknowledge(self.distribution, reasons)


def _passing_on(statements: str) -> str:
    return f"function handler(event) {{\n{statements}  return event.request;\n}}\n"


def _before(function: cloudfront.Function) -> cloudfront.FunctionAssociation:
    return cloudfront.FunctionAssociation(function=function, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST)


def _content_security_policy(connect_sources: Sequence[str]) -> str:
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "media-src": "'self' blob:",
        # Audio worklets are modules of the page's own origin.
        "worker-src": "'self'",
        "connect-src": " ".join(["'self'", *connect_sources]),
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _acknowledge_deployment(stack: Stack, role: iam.Role) -> None:
    """CDK makes the function that copies the files, one for a whole stack, and writes its permissions."""
    for function in stack.node.children:
        if function.node.id.startswith("Custom::CDKBucketDeployment"):
            acknowledge(
                function,
                dict.fromkeys(
                    ("AwsSolutions-L1", "Serverless-LambdaLatestVersion", "Serverless-LambdaTracing"),
                    "The function, its code and its runtime are CDK's, and run during deployments only.",
                )
                | {"Serverless-LambdaDLQ": "CloudFormation calls it and hears of every failure."},
            )
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            f"AwsSolutions-IAM5[Action::s3:{action}*]": "CDK's grants: reading the assets, writing the page's bucket."
            for action in ("GetObject", "GetBucket", "List", "DeleteObject", "Abort")
        },
    )
    acknowledge_object_wildcards(role, "Copies whatever files the page has, from CDK's assets to the page's bucket.")
