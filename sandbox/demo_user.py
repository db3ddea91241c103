"""Users of the sandbox: made through Cognito's admin API, signed in with the flow that only `local` allows."""

import contextlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

USERNAME = "demo@example.com"
CURATORS = "curators"


def session(endpoint: str, region: str = "us-east-1") -> dict[str, Any]:
    """What a boto3 client needs to speak to MiniStack, which takes any credentials."""
    return {
        "endpoint_url": endpoint,
        "region_name": region,
        "aws_access_key_id": "000000000000",
        "aws_secret_access_key": "sandbox",
    }


def new_password() -> str:
    """A random password that meets any pool's policy."""
    return secrets.token_urlsafe(18) + "aA1!"


def ensure_user(
    cognito: "CognitoIdentityProviderClient",
    user_pool_id: str,
    *,
    username: str,
    password: str,
    groups: Sequence[str] = (),
) -> None:
    """A confirmed user with this password, in these groups; nothing changes when it is there already."""
    with contextlib.suppress(cognito.exceptions.UsernameExistsException):
        cognito.admin_create_user(
            UserPoolId=user_pool_id,
            Username=username,
            MessageAction="SUPPRESS",
            UserAttributes=[
                {"Name": "email", "Value": username},
                {"Name": "email_verified", "Value": "true"},
            ],
        )
    cognito.admin_set_user_password(UserPoolId=user_pool_id, Username=username, Password=password, Permanent=True)
    for group in groups:
        cognito.admin_add_user_to_group(UserPoolId=user_pool_id, Username=username, GroupName=group)


def sign_in(outputs: dict[str, Any], username: str, password: str) -> str:
    """A bearer token for the HTTP API (the ID token: it carries `sub`, groups and the client as its audience)."""
    cognito = boto3.client("cognito-idp", **session(outputs["aws_endpoint"], outputs["region"]))
    answer = cognito.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=outputs["client_id"],
        AuthParameters={"USERNAME": username, "PASSWORD": password},
    )
    return answer["AuthenticationResult"]["IdToken"]
