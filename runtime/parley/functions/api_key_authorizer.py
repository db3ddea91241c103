"""The HTTP API's authorizer where `auth` is `api-key`: a key names its owner."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from parley.aws import clients
from parley.aws.credentials import CredentialTable
from parley.errors import ParleyError
from parley.functions.identity import is_subject
from parley.functions.telemetry import instrument, logger
from parley.settings import Settings

SCHEME = "bearer"
REFUSED: Mapping[str, Any] = {"isAuthorized": False}


class AuthorizerSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    credentials_table: str


@cache
def credentials() -> CredentialTable:
    """This process's credential table."""
    return CredentialTable(AuthorizerSettings.load().credentials_table, clients.dynamodb())


def authorize(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """A simple response: authorized or not, and for whom. Why not is nobody's business."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    scheme, _, api_key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME:
        return REFUSED
    try:
        grant = credentials().check_api_key(api_key.strip())
    except ParleyError as error:
        logger.warning("A key could not be checked", error_code=error.code)
        return REFUSED
    if grant is None or not is_subject(grant.subject):
        return REFUSED
    return {"isAuthorized": True, "context": {"subject": grant.subject, "groups": grant.groups}}


handler = instrument(authorize)
