"""The REQUEST authorizer of `$connect`."""

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from sandbox.gateway.aws import ACCOUNT, REGION, Unanswered
from sandbox.gateway.connections import Connection
from sandbox.gateway.deployment import Api, Authorizer
from sandbox.gateway.events import authorizer_event
from sandbox.gateway.invocations import Functions

_SOURCE = re.compile(r"(?:route|integration)\.request\.(?P<kind>querystring|header)\.(?P<name>.+)")


class Refused(Exception):
    """The handshake ends with this HTTP status; the message is API Gateway's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def authorize(
    functions: Functions,
    api: Api,
    authorizer: Authorizer,
    connection: Connection,
    context: Mapping[str, Any],
    handshake: Mapping[str, Any],
) -> None:
    """Ask the authorizer and keep its context with the connection; raises `Refused`."""
    if not all(_present(source, api, handshake) for source in authorizer.identity_sources):
        raise Refused(401, "Unauthorized")
    method_arn = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api.id}/{api.stage}/$connect"
    event = authorizer_event(api, context, handshake, method_arn)
    try:
        result = await functions.invoke(authorizer.function, json.dumps(event).encode(), timeout=29)
    except (TimeoutError, Unanswered):
        raise Refused(500, "Internal Server Error") from None
    answer = result.json()
    if result.failed or not isinstance(answer, dict) or not isinstance(answer.get("policyDocument"), dict):
        # A function that raises exactly "Unauthorized" asks for 401; everything else is its own fault.
        if isinstance(answer, dict) and answer.get("errorMessage") == "Unauthorized":
            raise Refused(401, "Unauthorized")
        raise Refused(500, "Internal Server Error")
    if not _allows(answer["policyDocument"], method_arn):
        raise Refused(403, "Forbidden")
    connection.authorizer = {
        "principalId": str(answer.get("principalId", "")),
        **{name: _text(value) for name, value in (answer.get("context") or {}).items()},
    }


def _present(source: str, api: Api, handshake: Mapping[str, Any]) -> bool:
    match = _SOURCE.fullmatch(source)
    if match is None:
        return source.startswith("context.") or bool(api.stage_variables.get(source.removeprefix("stageVariables.")))
    if match["kind"] == "querystring":
        return bool((handshake.get("queryStringParameters") or {}).get(match["name"]))
    return any(name.lower() == match["name"].lower() and value for name, value in handshake["headers"].items())


def _allows(policy: Mapping[str, Any], arn: str) -> bool:
    allowed = False
    statements = policy.get("Statement") or []
    for statement in [statements] if isinstance(statements, dict) else statements:
        if not any(fnmatchcase("execute-api:Invoke", action) for action in _list(statement.get("Action"))):
            continue
        if not any(fnmatchcase(arn, resource) for resource in _list(statement.get("Resource"))):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)
