"""The edge: attacks are blocked, questions are not, refusals speak the API's language, and the region is right."""

import json
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from parley_constructs.edge import DistributionAccessLog, DomainCertificate, WebAcl

from tests.infrastructure.construct_apps import IRELAND, VIRGINIA, Template, of_type, only, synthesize


def _build(app: App) -> None:
    stack = Stack(app, "Edge", env=Environment(**VIRGINIA))
    WebAcl(stack, "WebAcl", rate_limit=500, max_body_bytes=40_000, unlimited_paths=["/api/knowledge/documents"])
    DomainCertificate(stack, "Certificate", domain_name="assistant.example.com")
    DistributionAccessLog(stack, "Log", distribution_arn="arn:aws:cloudfront::111111111111:distribution/E1")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return synthesize(tmp_path_factory.mktemp("edge"), _build)["Edge"]


def _rules(template: Template) -> dict[str, dict[str, Any]]:
    return {rule["Name"]: rule for rule in only(template, "AWS::WAFv2::WebACL")["Rules"]}


def test_one_address_has_a_rate_and_a_body_a_length(template: Template) -> None:
    rules = _rules(template)
    assert rules["RateLimit"]["Statement"]["RateBasedStatement"]["Limit"] == 500
    longer, elsewhere = rules["BodyLimit"]["Statement"]["AndStatement"]["Statements"]
    assert longer["SizeConstraintStatement"]["Size"] == 40_000
    assert longer["SizeConstraintStatement"]["FieldToMatch"]["Body"]["OversizeHandling"] == "MATCH"
    path = elsewhere["NotStatement"]["Statement"]["ByteMatchStatement"]
    assert path["SearchString"] == "/api/knowledge/documents"


def test_refusals_are_the_apis_own_errors(template: Template) -> None:
    bodies = only(template, "AWS::WAFv2::WebACL")["CustomResponseBodies"]
    for name, status in (("RateLimit", 429), ("BodyLimit", 413)):
        response = _rules(template)[name]["Action"]["Block"]["CustomResponse"]
        assert response["ResponseCode"] == status
        error = json.loads(bodies[response["CustomResponseBodyKey"]]["Content"])["error"]
        assert error["code"] == response["CustomResponseBodyKey"]


def test_what_people_write_is_no_attack(template: Template) -> None:
    group = _rules(template)["CommonRuleSet"]["Statement"]["ManagedRuleGroupStatement"]
    counted = {each["Name"] for each in group["RuleActionOverrides"] if "Count" in each["ActionToUse"]}
    assert {"SizeRestrictions_BODY", "CrossSiteScripting_BODY"} <= counted
    assert all(name.endswith("_BODY") for name in counted)


def test_logs_leave_out_credentials(template: Template) -> None:
    logging = only(template, "AWS::WAFv2::LoggingConfiguration")
    assert {"QueryString": {}} in logging["RedactedFields"]
    assert {"SingleHeader": {"Name": "authorization"}} in logging["RedactedFields"]
    [group] = [
        each["Properties"]["LogGroupName"]
        for each in of_type(template, "AWS::Logs::LogGroup").values()
        if "LogGroupName" in each["Properties"]
    ]
    assert group.startswith("aws-waf-logs-")
    fields = only(template, "AWS::Logs::Delivery")["RecordFields"]
    assert "cs-uri-stem" in fields
    assert not [field for field in fields if "query" in field or "cookie" in field.lower()]


def test_the_certificate_is_proved_by_dns(template: Template) -> None:
    certificate = only(template, "AWS::CertificateManager::Certificate")
    assert (certificate["DomainName"], certificate["ValidationMethod"]) == ("assistant.example.com", "DNS")


def test_elsewhere_than_us_east_1_is_refused_in_one_sentence() -> None:
    stack = Stack(App(), "Elsewhere", env=Environment(**IRELAND))
    with pytest.raises(ValueError, match="must be in a stack of us-east-1; this stack's region is eu-west-1"):
        WebAcl(stack, "WebAcl")
    with pytest.raises(ValueError, match="A certificate for CloudFront must be in a stack of us-east-1"):
        DomainCertificate(stack, "Certificate", domain_name="assistant.example.com")


def test_a_body_limit_that_cloudfront_cannot_see_is_refused() -> None:
    stack = Stack(App(), "Edge", env=Environment(**VIRGINIA))
    with pytest.raises(ValueError, match=r"max_body_bytes was 100000; .* allowed are 1 to 65535"):
        WebAcl(stack, "WebAcl", max_body_bytes=100_000)
