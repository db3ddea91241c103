"""Identity: passwords stay in the browser, accounts stay secret, and both kinds give an authorizer."""

import pytest
from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigwv2
from parley_constructs.identity import ApiKeyIdentity, CognitoIdentity, Identity
from parley_constructs.python_function import PythonFunction
from parley_constructs.voice_api import VoiceApi, VoiceApiProps

from tests.infrastructure.construct_apps import Template, code, of_type, only, synthesize


def _build(app: App) -> None:
    for name in ("Cognito", "Laptop", "Plus", "Keys"):
        stack = Stack(app, name)
        function = PythonFunction(stack, "Function", code=code(), handler="index.handler", service="function")
        identity: Identity
        match name:
            case "Keys":
                identity = ApiKeyIdentity(stack, "Identity", authorizer_function=function)
            case "Laptop":
                identity = CognitoIdentity(
                    stack, "Identity", allow_password_auth=True, removal_policy=RemovalPolicy.DESTROY
                )
            case _:
                identity = CognitoIdentity(stack, "Identity", threat_protection=name == "Plus")
        api = VoiceApi(
            stack,
            "Api",
            props=VoiceApiProps(http_authorizer=identity.http_authorizer(), ticket_authorizer=function),
        )
        api.add_http_route("/chat", [apigwv2.HttpMethod.POST], function)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesize(tmp_path_factory.mktemp("identity"), _build)


def test_the_plain_password_flow_exists_only_where_it_is_asked_for(templates: dict[str, Template]) -> None:
    flows = {
        name: set(only(templates[name], "AWS::Cognito::UserPoolClient")["ExplicitAuthFlows"])
        for name in ("Cognito", "Laptop", "Plus")
    }
    assert flows["Cognito"] == flows["Plus"] == {"ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}
    assert flows["Laptop"] == flows["Cognito"] | {"ALLOW_USER_PASSWORD_AUTH"}


def test_the_client_tells_nobody_who_has_an_account_and_holds_no_secret(templates: dict[str, Template]) -> None:
    client = only(templates["Cognito"], "AWS::Cognito::UserPoolClient")
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["GenerateSecret"] is False
    assert client["EnableTokenRevocation"] is True
    assert (client["AccessTokenValidity"], client["RefreshTokenValidity"]) == (60, 10080)


def test_the_pool_survives_its_stack_unless_told_otherwise(templates: dict[str, Template]) -> None:
    [pool] = of_type(templates["Cognito"], "AWS::Cognito::UserPool").values()
    assert pool["DeletionPolicy"] == "Retain"
    assert pool["Properties"]["DeletionProtection"] == "ACTIVE"
    [laptop] = of_type(templates["Laptop"], "AWS::Cognito::UserPool").values()
    assert laptop["DeletionPolicy"] == "Delete"
    assert laptop["Properties"]["DeletionProtection"] == "INACTIVE"


def test_users_are_invited_and_passwords_strong(templates: dict[str, Template]) -> None:
    pool = only(templates["Cognito"], "AWS::Cognito::UserPool")
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    policy = pool["Policies"]["PasswordPolicy"]
    assert policy["MinimumLength"] >= 12
    assert all(policy[f"Require{kind}"] for kind in ("Lowercase", "Uppercase", "Numbers", "Symbols"))
    assert pool["MfaConfiguration"] == "OPTIONAL"
    assert pool["EnabledMfas"] == ["SOFTWARE_TOKEN_MFA"]


def test_the_dearer_plan_is_a_choice(templates: dict[str, Template]) -> None:
    plus = only(templates["Plus"], "AWS::Cognito::UserPool")
    assert plus["UserPoolTier"] == "PLUS"
    assert plus["UserPoolAddOns"]["AdvancedSecurityMode"] == "ENFORCED"
    assert only(templates["Cognito"], "AWS::Cognito::UserPool")["UserPoolTier"] == "ESSENTIALS"


def test_curators_are_a_group(templates: dict[str, Template]) -> None:
    assert only(templates["Cognito"], "AWS::Cognito::UserPoolGroup")["GroupName"] == "curators"


def test_tokens_of_this_client_alone_are_admitted(templates: dict[str, Template]) -> None:
    authorizer = only(templates["Cognito"], "AWS::ApiGatewayV2::Authorizer")
    [client] = of_type(templates["Cognito"], "AWS::Cognito::UserPoolClient")
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["JwtConfiguration"]["Audience"] == [{"Ref": client}]


def test_a_revoked_key_is_refused_at_once(templates: dict[str, Template]) -> None:
    authorizer = only(templates["Keys"], "AWS::ApiGatewayV2::Authorizer")
    assert authorizer["AuthorizerResultTtlInSeconds"] == 0
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    assert authorizer["EnableSimpleResponses"] is True
