"""GitHubDeployment: whose jobs may take the role, and what it may do."""

import json
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_iam as iam
from parley_constructs.github import GitHubDeployment

from tests.infrastructure.construct_apps import VIRGINIA, Template, actions, of_type, only, statements, synthesize


def _build(app: App) -> None:
    stack = Stack(app, "Account", env=VIRGINIA)
    GitHubDeployment(
        stack, "GitHub", repository="acme/parley", environments=["dev", "prod"], regions=["eu-west-1", "us-east-1"]
    )
    other = Stack(app, "Other", env=VIRGINIA)
    arn = "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"
    GitHubDeployment(
        other,
        "GitHub",
        repository="acme/parley",
        environments=["dev"],
        provider=iam.OidcProviderNative.from_oidc_provider_arn(other, "Provider", arn),
    )


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("github"), _build)


def _trust(template: Template) -> dict[str, Any]:
    [statement] = only(template, "AWS::IAM::Role")["AssumeRolePolicyDocument"]["Statement"]
    found: dict[str, Any] = statement
    return found


def test_only_jobs_of_the_repository_in_its_environments_take_the_role(templates: dict[str, Template]) -> None:
    trust = _trust(templates["Account"])
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": [
                "repo:acme/parley:environment:dev",
                "repo:acme/parley:environment:prod",
            ],
        }
    }


def test_it_may_take_the_roles_of_cdk_bootstrap_and_nothing_else(templates: dict[str, Template]) -> None:
    template = templates["Account"]
    assert actions(template, "GitHub") == {"sts:AssumeRole"}
    [statement] = statements(template, "GitHub")
    resources = json.dumps(statement["Resource"])
    assert "*" not in resources
    for region in ("eu-west-1", "us-east-1"):
        assert f"role/cdk-hnb659fds-deploy-role-111111111111-{region}" in resources


def test_a_provider_that_the_account_has_is_used(templates: dict[str, Template]) -> None:
    assert of_type(templates["Account"], "AWS::IAM::OIDCProvider")
    assert not of_type(templates["Other"], "AWS::IAM::OIDCProvider")
    assert "oidc-provider/token.actions.githubusercontent.com" in json.dumps(_trust(templates["Other"])["Principal"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"repository": "acme/*"},
        {"repository": "parley"},
        {"environments": []},
        {"environments": ["*"]},
        {"environments": ["prod:x"]},
    ],
)
def test_what_would_admit_others_is_refused(arguments: dict[str, Any]) -> None:
    stack = Stack(App(), "Account")
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GitHubDeployment(stack, "GitHub", **{"repository": "acme/parley", "environments": ["dev"], **arguments})
