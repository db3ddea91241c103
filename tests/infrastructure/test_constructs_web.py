"""WebDistribution: one address for page and APIs, errors that stay errors, and a bucket in another stack."""

import json
import subprocess
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_kms as kms
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from parley_constructs.findings import acknowledge
from parley_constructs.identity import ApiKeyIdentity
from parley_constructs.origin_secret import ORIGIN_HEADER, OriginSecret
from parley_constructs.python_function import PythonFunction
from parley_constructs.voice_api import VoiceApi, VoiceApiProps
from parley_constructs.web import WebDistribution, WebDistributionProps, admit_distributions

from tests.infrastructure.construct_apps import IRELAND, VIRGINIA, Template, code, of_type, only, synthesize


def _parts(app: App, prefix: str, env: Environment) -> tuple[s3.Bucket, VoiceApi]:
    data = Stack(app, f"{prefix}Data", env=env)
    bucket = s3.Bucket(data, "Web", enforce_ssl=True)
    acknowledge(bucket, {"AwsSolutions-S1": "Stands in for the web bucket."})
    admit_distributions(bucket)
    assistant = Stack(app, f"{prefix}Assistant", env=env)
    function = PythonFunction(assistant, "Function", code=code(), handler="index.handler", service="function")
    identity = ApiKeyIdentity(assistant, "Identity", authorizer_function=function)
    api = VoiceApi(
        assistant,
        "Api",
        props=VoiceApiProps(http_authorizer=identity.http_authorizer(), ticket_authorizer=function),
    )
    api.add_websocket_route("$connect", function)
    return bucket, api


def _build(app: App) -> None:
    ireland = Environment(**IRELAND)
    bucket, api = _parts(app, "", ireland)
    WebDistribution(
        Stack(app, "Web", env=ireland),
        "Web",
        props=WebDistributionProps(
            bucket=bucket,
            voice_api=api,
            sources=[s3_deployment.Source.data("index.html", "<!doctype html>")],
            config={"auth": "api-key"},
            connect_sources=["https://cognito-idp.eu-west-1.amazonaws.com"],
        ),
    )
    virginia = Environment(**VIRGINIA)
    bucket, api = _parts(app, "Named", virginia)
    stack = Stack(app, "Named", env=virginia)
    WebDistribution(
        stack,
        "Web",
        props=WebDistributionProps(
            bucket=bucket,
            voice_api=api,
            sources=[s3_deployment.Source.data("index.html", "<!doctype html>")],
            domain_name="assistant.example.com",
            certificate=acm.Certificate.from_certificate_arn(
                stack, "Certificate", "arn:aws:acm:us-east-1:111111111111:certificate/1"
            ),
            hosted_zone=route53.HostedZone.from_hosted_zone_attributes(
                stack, "Zone", hosted_zone_id="Z0123456789", zone_name="example.com"
            ),
            web_acl_arn="arn:aws:wafv2:us-east-1:111111111111:global/webacl/a/1",
            origin_secret=OriginSecret(
                Stack(app, "NamedSecret", env=virginia),
                "OriginSecret",
                encryption_key=kms.Key.from_key_arn(
                    stack, "Key", "arn:aws:kms:us-east-1:111111111111:key/00000000-0000-0000-0000-000000000000"
                ),
            ),
        ),
    )


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("web"), _build)


def _distribution(template: Template) -> dict[str, Any]:
    configuration: dict[str, Any] = only(template, "AWS::CloudFront::Distribution")["DistributionConfig"]
    return configuration


def test_errors_of_the_api_stay_errors(templates: dict[str, Template]) -> None:
    assert "CustomErrorResponses" not in _distribution(templates["Web"])


def test_api_and_websocket_are_behind_the_same_address_and_never_cached(templates: dict[str, Template]) -> None:
    behaviors = {each["PathPattern"]: each for each in _distribution(templates["Web"])["CacheBehaviors"]}
    assert set(behaviors) == {"/api/*", "/ws"}
    for behavior in behaviors.values():
        # AWS's own policies CachingDisabled and AllViewerExceptHostHeader.
        assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
        assert behavior["ViewerProtocolPolicy"] == "https-only"
        assert "DELETE" in behavior["AllowedMethods"]
    assert "FunctionAssociations" not in behaviors["/ws"]
    assert not [each for each in _distribution(templates["Web"])["Origins"] if each.get("OriginPath")]


def test_the_pages_bucket_is_private_and_depends_on_no_distribution(templates: dict[str, Template]) -> None:
    assert "ImportValue" not in json.dumps(templates["Data"])
    [statement] = [
        each
        for each in only(templates["Data"], "AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
        if each["Effect"] == "Allow"
    ]
    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert statement["Action"] == "s3:GetObject"
    [source] = statement["Condition"]["ArnLike"].values()
    assert source["Fn::Join"][1][-1] == ":cloudfront::111111111111:distribution/*"
    origin = next(each for each in _distribution(templates["Web"])["Origins"] if "S3OriginConfig" in each)
    assert "OriginAccessControlId" in origin


def test_pages_carry_security_headers(templates: dict[str, Template]) -> None:
    headers = only(templates["Web"], "AWS::CloudFront::ResponseHeadersPolicy")["ResponseHeadersPolicyConfig"]
    security = headers["SecurityHeadersConfig"]
    policy = security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' https://cognito-idp.eu-west-1.amazonaws.com" in policy
    assert "unsafe" not in policy
    assert security["FrameOptions"]["FrameOption"] == "DENY"
    assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] >= 31_536_000


def test_a_name_of_ones_own_brings_modern_tls_and_the_web_acl(templates: dict[str, Template]) -> None:
    distribution = _distribution(templates["Named"])
    assert distribution["Aliases"] == ["assistant.example.com"]
    assert distribution["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert distribution["WebACLId"].startswith("arn:aws:wafv2:us-east-1:")


def test_access_is_logged_without_query_strings_where_cloudfront_allows_it(templates: dict[str, Template]) -> None:
    for template in (templates["Web"], templates["Named"]):
        assert "Logging" not in _distribution(template)
    assert of_type(templates["Named"], "AWS::Logs::Delivery")
    assert not of_type(templates["Web"], "AWS::Logs::Delivery")


def test_a_name_is_answered_over_both_versions_of_ip(templates: dict[str, Template]) -> None:
    records = [each["Properties"] for each in of_type(templates["Named"], "AWS::Route53::RecordSet").values()]
    assert sorted((record["Type"], record["Name"]) for record in records) == [
        ("A", "assistant.example.com."),
        ("AAAA", "assistant.example.com."),
    ]
    assert all("WebDistribution" in json.dumps(record["AliasTarget"]["DNSName"]) for record in records)
    assert {record["HostedZoneId"] for record in records} == {"Z0123456789"}
    assert not of_type(templates["Web"], "AWS::Route53::RecordSet")


def test_the_apis_and_nobody_else_are_sent_the_origins_secret(templates: dict[str, Template]) -> None:
    for origin in _distribution(templates["Named"])["Origins"]:
        if "S3OriginConfig" in origin:
            assert "OriginCustomHeaders" not in origin
            continue
        [header] = origin["OriginCustomHeaders"]
        assert header["HeaderName"] == ORIGIN_HEADER
        reference = json.dumps(header["HeaderValue"])
        assert "{{resolve:secretsmanager:" in reference
        assert ":SecretString:current}}" in reference
    assert ORIGIN_HEADER not in json.dumps(templates["Web"])


def test_the_apis_are_told_of_the_viewer_whatever_it_says_itself(templates: dict[str, Template]) -> None:
    behaviors = {each["PathPattern"]: each for each in _distribution(templates["Named"])["CacheBehaviors"]}
    assert all(len(behavior["FunctionAssociations"]) == 1 for behavior in behaviors.values())
    for function in ("StripApiPath", "TellOfViewer"):
        source = only(templates["Named"], "AWS::CloudFront::Function", having=function)["FunctionCode"]
        headers = {"host": {"value": "talk.example.com"}, "x-parley-viewer": {"value": "forged"}}
        event = {"viewer": {"ip": "192.0.2.7"}, "request": {"uri": "/api/chat", "headers": headers}}
        script = f"{source}\nconsole.log(JSON.stringify(handler({json.dumps(event)})))"
        result = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
        told = json.loads(result.stdout)["headers"]
        assert told["x-parley-viewer"] == {"value": "192.0.2.7"}
        assert told["x-parley-host"] == {"value": "talk.example.com"}
    assert not [name for name in of_type(templates["Web"], "AWS::CloudFront::Function") if "TellOfViewer" in name]


def test_a_certificate_without_a_name_is_refused() -> None:
    app = App()
    bucket, api = _parts(app, "", Environment(**IRELAND))
    with pytest.raises(ValueError, match="give both, or neither"):
        WebDistribution(
            Stack(app, "Web", env=Environment(**IRELAND)),
            "Web",
            props=WebDistributionProps(bucket=bucket, voice_api=api, sources=[], domain_name="assistant.example.com"),
        )


@pytest.mark.parametrize(
    ("function", "path", "expected"),
    [
        ("ServePage", "/", "/index.html"),
        ("ServePage", "/conversations/7", "/index.html"),
        ("ServePage", "/assets/", "/index.html"),
        ("ServePage", "/assets/app.js", "/assets/app.js"),
        ("ServePage", "/config.json", "/config.json"),
        ("StripApiPath", "/api/chat", "/chat"),
        ("StripApiPath", "/api/conversations/a.b", "/conversations/a.b"),
        ("StripApiPath", "/api/", "/"),
    ],
)
def test_paths_are_rewritten(templates: dict[str, Template], function: str, path: str, expected: str) -> None:
    source = only(templates["Web"], "AWS::CloudFront::Function", having=function)["FunctionCode"]
    script = f"{source}\nconsole.log(handler({{request: {{uri: {json.dumps(path)}}}}}).uri)"
    result = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == expected
