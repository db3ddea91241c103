"""The authorizer of `$connect`: redeems the ticket in the query string, once."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from parley.aws import clients
from parley.aws.credentials import CredentialTable
from parley.errors import ParleyError
from parley.functions.admission import check_origin, client_address
from parley.functions.identity import is_subject
from parley.functions.telemetry import instrument, logger
from parley.settings import Settings


class AuthorizerSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    credentials_table: str


@cache
def credentials() -> CredentialTable:
    """This process's credential table."""
    return CredentialTable(AuthorizerSettings.load().credentials_table, clients.dynamodb())


def authorize(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """An IAM policy for this connection. Whatever goes wrong is a Deny: the client asks for a new ticket."""
    ticket = (event.get("queryStringParameters") or {}).get("ticket") or ""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    try:
        # First: whoever goes round CloudFront cannot use a ticket up either.
        check_origin(headers)
        grant = credentials().redeem_ticket(ticket) if ticket else None
    except ParleyError as error:
        logger.warning("A ticket could not be redeemed", error_code=error.code)
        grant = None
    if grant is None or not is_subject(grant.subject):
        return _policy("Deny", event["methodArn"], "refused", {})
    source_ip = event.get("requestContext", {}).get("identity", {}).get("sourceIp", "")
    granted = {
        "subject": grant.subject,
        "session_id": grant.session_id,
        "groups": grant.groups,
        # Messages have no headers: what CloudFront said of the client holds as long as the connection.
        "address": client_address(headers, source_ip),
    }
    return _policy("Allow", event["methodArn"], grant.subject, granted)


def _policy(effect: str, resource: str, principal: str, context: Mapping[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": dict(context),
    }


handler = instrument(authorize)
