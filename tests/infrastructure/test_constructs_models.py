from datetime import date
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template
from parley_constructs.models import BedrockModels, retired_on

ACCOUNT = "123456789012"


def statements(region: str, *model_ids: str) -> list[dict[str, Any]]:
    stack = Stack(App(), "Stack", env=Environment(account=ACCOUNT, region=region))
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    grants = BedrockModels(stack).grant_invoke(role, model_ids)
    assert all(grant.success for grant in grants)
    [policy] = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    found: list[dict[str, Any]] = policy["Properties"]["PolicyDocument"]["Statement"]
    return found


def arns(statement: dict[str, Any]) -> set[str]:
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    return {_text(resource) for resource in resources}


def _text(value: str | dict[str, Any]) -> str:
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return {"AWS::Partition": "aws"}[value["Ref"]]
    separator, parts = value["Fn::Join"]
    return str(separator.join(_text(part) for part in parts))


def test_a_foundation_model_is_granted_in_its_region_alone() -> None:
    [statement] = statements("eu-west-1", "amazon.titan-embed-text-v2:0")

    assert statement["Action"] == ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
    assert arns(statement) == {"arn:aws:bedrock:eu-west-1::foundation-model/amazon.titan-embed-text-v2:0"}


def test_an_inference_profile_is_granted_with_its_model_wherever_it_routes() -> None:
    model = "anthropic.claude-haiku-4-5-20251001-v1:0"

    profile, models = statements("us-east-1", f"us.{model}")

    profile_arn = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{model}"
    assert arns(profile) == {profile_arn}
    assert arns(models) >= {
        f"arn:aws:bedrock:{region}::foundation-model/{model}" for region in ("us-east-1", "us-east-2", "us-west-2")
    }
    [condition] = models["Condition"]["StringEquals"].items()
    assert (condition[0], _text(condition[1])) == ("bedrock:InferenceProfileArn", profile_arn)


def test_a_global_profile_is_granted_without_a_region() -> None:
    _, models = statements("eu-west-1", "global.amazon.nova-2-lite-v1:0")

    assert arns(models) == {
        "arn:aws:bedrock:::foundation-model/amazon.nova-2-lite-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-2-lite-v1:0",
    }


@pytest.mark.parametrize(
    ("geography", "here", "elsewhere"),
    [
        ("us", "us-east-1", "us-west-2"),
        ("us", "ca-central-1", "us-east-1"),
        ("us-gov", "us-gov-west-1", "us-gov-east-1"),
        ("ca", "ca-central-1", "ca-west-1"),
        ("eu", "eu-west-1", "eu-north-1"),
        ("jp", "ap-northeast-1", "ap-northeast-3"),
        ("au", "ap-southeast-2", "ap-southeast-4"),
        ("apac", "ap-south-1", "me-central-1"),
    ],
)
def test_a_profile_reaches_its_model_here_and_in_its_geography(geography: str, here: str, elsewhere: str) -> None:
    _, models = statements(here, f"{geography}.amazon.nova-2-lite-v1:0")

    regions = {arn.split(":")[3] for arn in arns(models)}
    assert {here, elsewhere} <= regions
    assert "sa-east-1" not in regions


def test_no_grant_is_a_wildcard_and_none_is_given_twice() -> None:
    found = statements("us-east-1", "amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0", "us.amazon.nova-2-lite-v1:0")

    assert len(found) == 3
    assert not [arn for statement in found for arn in arns(statement) if "*" in arn]


@pytest.mark.parametrize(
    ("model_id", "day"),
    [
        ("amazon.nova-sonic-v1:0", date(2026, 9, 14)),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", date(2026, 4, 28)),
        ("anthropic.claude-3-haiku-20240307-v1:0:48k", date(2026, 4, 30)),
        ("us.amazon.nova-premier-v1:0", date(2026, 9, 14)),
        ("amazon.nova-2-sonic-v1:0", None),
        ("amazon.titan-embed-text-v2:0", None),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", None),
    ],
)
def test_knows_which_models_are_past_their_end(model_id: str, day: date | None) -> None:
    assert retired_on(model_id) == day
