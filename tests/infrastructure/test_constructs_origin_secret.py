"""OriginSecret, its rotation, and Guardrail: what they may do, and that the product uses them where it must."""

import json
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from parley.functions.admission import HOST_HEADER, VIEWER_HEADER
from parley.functions.admission import ORIGIN_HEADER as EXPECTED_HEADER
from parley_constructs.guardrail import MASKED, Guardrail
from parley_constructs.origin_secret import ORIGIN_HEADER, OriginSecret, OriginSecretRotation
from parley_constructs.web import _TELL_OF_VIEWER

from tests.infrastructure.assemblies import Synth
from tests.infrastructure.construct_apps import IRELAND, Template, actions, code, of_type, only, statements, synthesize
from tests.infrastructure.test_pairwise import REGION, ROWS

EXISTING = "gr1abc2def3"


def _build(app: App) -> None:
    ireland = Environment(**IRELAND)
    data = Stack(app, "Data", env=ireland)
    secret = OriginSecret(data, "OriginSecret", encryption_key=kms.Key(data, "Key", enable_key_rotation=True))
    web = Stack(app, "Web", env=ireland)
    OriginSecretRotation(
        web,
        "Rotation",
        secret=secret,
        distribution=cloudfront.Distribution.from_distribution_attributes(
            web, "Distribution", distribution_id="E1", domain_name="d1.cloudfront.net"
        ),
        api_url="https://api.example.com",
        code=code(),
        handler="index.handler",
    )
    models = Stack(app, "Models", env=ireland)
    for name, guardrail in {
        "New": Guardrail.create(models, "New"),
        "Known": Guardrail.from_id(models, "Known", guardrail_id=EXISTING, version="3"),
    }.items():
        role = iam.Role(models, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        guardrail.grant_apply(role)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("origin"), _build)


def test_the_secret_is_random_encrypted_and_in_no_template(templates: dict[str, Template]) -> None:
    secret = only(templates["Data"], "AWS::SecretsManager::Secret")
    assert secret["GenerateSecretString"]["GenerateStringKey"] == "current"
    assert secret["GenerateSecretString"]["PasswordLength"] >= 32
    assert "KmsKeyId" in secret
    assert "SecretString" not in secret


def test_it_rotates_by_a_function_that_only_its_own_secret_may_start(templates: dict[str, Template]) -> None:
    schedule = only(templates["Web"], "AWS::SecretsManager::RotationSchedule")
    assert schedule["RotationRules"] == {"ScheduleExpression": "rate(30 days)"}
    permission = only(templates["Web"], "AWS::Lambda::Permission")
    assert permission["Principal"] == "secretsmanager.amazonaws.com"
    assert permission["SourceArn"] == schedule["SecretId"]
    assert only(templates["Web"], "AWS::Lambda::Function")["Timeout"] == 900


def test_the_rotation_may_change_one_distribution_and_one_secret(templates: dict[str, Template]) -> None:
    assert actions(templates["Web"], "Rotation") == {
        "cloudfront:GetDistribution",
        "cloudfront:GetDistributionConfig",
        "cloudfront:UpdateDistribution",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    }
    for statement in statements(templates["Web"], "Rotation"):
        assert statement["Resource"] != "*"
        if "kms:Decrypt" in statement["Action"]:
            service = statement["Condition"]["StringEquals"]["kms:ViaService"]
            assert "secretsmanager.eu-west-1." in json.dumps(service)


def test_a_guardrail_blocks_attacks_and_masks_what_nobody_should_read(templates: dict[str, Template]) -> None:
    guardrail = only(templates["Models"], "AWS::Bedrock::Guardrail")
    filters = {each["Type"]: each for each in guardrail["ContentPolicyConfig"]["FiltersConfig"]}
    assert filters["PROMPT_ATTACK"]["InputStrength"] == "HIGH"
    # The service takes no other for attacks.
    assert filters["PROMPT_ATTACK"]["OutputStrength"] == "NONE"
    assert {"HATE", "VIOLENCE"} < set(filters)
    masks = guardrail["SensitiveInformationPolicyConfig"]["PiiEntitiesConfig"]
    assert {mask["Type"] for mask in masks} == set(MASKED)
    assert {mask["Action"] for mask in masks} == {"ANONYMIZE"}


def test_models_are_called_through_that_guardrail_alone(templates: dict[str, Template]) -> None:
    [new] = statements(templates["Models"], "New")
    [known] = statements(templates["Models"], "Known")
    assert new["Action"] == known["Action"] == "bedrock:ApplyGuardrail"
    assert list(of_type(templates["Models"], "AWS::Bedrock::Guardrail")) == new["Resource"]["Fn::GetAtt"][:1]
    assert json.dumps(known["Resource"]).endswith(f':guardrail/{EXISTING}"]]}}')


def test_a_changed_guardrail_has_another_version() -> None:
    def version(**changes: Any) -> list[str]:
        stack = Stack(App(), "Stack")
        guardrail = Guardrail.create(stack, "Guardrail", **changes)
        return [child.node.id for child in guardrail.node.children if child.node.id.startswith("Version")]

    assert version() == version()
    assert version(strength="HIGH") != version()
    assert version(masked=["PIN"]) != version()


# The product


def test_both_sides_name_the_headers_alike() -> None:
    assert ORIGIN_HEADER == EXPECTED_HEADER
    assert f"'{VIEWER_HEADER}'" in _TELL_OF_VIEWER
    assert f"'{HOST_HEADER}'" in _TELL_OF_VIEWER


def _handlers_with(synth: Synth, env: str, variable: str) -> set[str]:
    return {
        resource["Properties"]["Handler"].split(".")[-2]
        for _, resource in synth(env).resources("AWS::Lambda::Function")
        if variable in resource["Properties"].get("Environment", {}).get("Variables", {})
    }


BEHIND_THE_API = {
    "health",
    "chat",
    "conversations",
    "tickets",
    "documents",
    "recordings",
    "retrieval",
    "personal_data",
}


def test_every_function_that_answers_a_route_demands_the_secret_where_there_is_a_web_acl(synth: Synth) -> None:
    routed = {
        name
        for _, route in synth("prod").resources("AWS::ApiGatewayV2::Route", part="Assistant")
        for name in BEHIND_THE_API
        if f"/{name}" in route["Properties"]["RouteKey"]
    }
    assert routed >= {"health", "chat", "conversations", "tickets", "recordings"}
    assert _handlers_with(synth, "prod", "ORIGIN_SECRET_ARN") >= BEHIND_THE_API | {"ticket_authorizer"}
    assert _handlers_with(synth, "dev", "ORIGIN_SECRET_ARN") == set()


def test_requests_are_counted_in_every_environment_with_finite_limits(synth: Synth) -> None:
    for env in ("local", "dev", "prod"):
        counting = _handlers_with(synth, env, "USAGE_TABLE") & _handlers_with(synth, env, "LIMITS")
        assert counting >= BEHIND_THE_API | {"turn", "websocket", "voice_worker"}
        for _, resource in synth(env).resources("AWS::Lambda::Function"):
            limits = resource["Properties"].get("Environment", {}).get("Variables", {}).get("LIMITS")
            assert limits is None or all(json.loads(limits).values())


def test_another_regions_access_log_is_delivered_in_us_east_1(synth: Synth) -> None:
    # One of the rows that are synthesized anyway.
    row = next(row for row in ROWS if row["enableWaf"])
    assembly = synth("dev", **REGION, **row)
    log = next(artifact for name, artifact in assembly.manifest["artifacts"].items() if name.endswith("-EdgeLog"))
    assert log["environment"].endswith("/us-east-1")
    [(_, source)] = assembly.resources("AWS::Logs::DeliverySource")
    assert source["Properties"]["LogType"] == "ACCESS_LOGS"
    assert len(list(assembly.resources("AWS::Logs::Delivery", part="EdgeLog"))) == 1
