"""The events that API Gateway sends to the functions of a WebSocket API."""

import base64
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers

from sandbox.gateway.connections import Connection
from sandbox.gateway.deployment import Api


def request_context(
    api: Api, connection: Connection, *, event_type: str, route_key: str, domain: str, **more: Any
) -> dict[str, Any]:
    """The `requestContext` of one event."""
    now = time.time()
    request_id = message_id()
    context: dict[str, Any] = {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": _request_time(int(now)),
        "messageDirection": "IN",
        "stage": api.stage,
        "connectedAt": int(connection.connected_at * 1000),
        "requestTimeEpoch": int(now * 1000),
        "identity": {"userAgent": connection.user_agent, "sourceIp": connection.source_ip},
        "requestId": request_id,
        "domainName": domain,
        "connectionId": connection.id,
        "apiId": api.id,
        **more,
    }
    if connection.authorizer is not None:
        context["authorizer"] = dict(connection.authorizer)
    return context


@lru_cache(maxsize=1)
def _request_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def handshake_fields(headers: Headers, query_string: str) -> dict[str, Any]:
    """Headers and query string as `$connect` and its authorizer see them."""
    fields: dict[str, Any] = {
        "headers": {name.title(): headers.getlist(name)[-1] for name in headers},
        "multiValueHeaders": {name.title(): headers.getlist(name) for name in headers},
    }
    query = parse_qs(query_string, keep_blank_values=True)
    if query:
        fields["queryStringParameters"] = {name: values[-1] for name, values in query.items()}
        fields["multiValueQueryStringParameters"] = query
    return fields


def authorizer_event(
    api: Api, context: Mapping[str, Any], handshake: Mapping[str, Any], method_arn: str
) -> dict[str, Any]:
    """What a REQUEST authorizer of `$connect` receives."""
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        **handshake,
        "stageVariables": dict(api.stage_variables),
        "requestContext": dict(context),
    }


def message_event(context: Mapping[str, Any], *, body: str | None = None) -> dict[str, Any]:
    """What a function integration receives."""
    event: dict[str, Any] = {"requestContext": dict(context), "isBase64Encoded": False}
    if body is not None:
        event["body"] = body
    return event


def message_id() -> str:
    """A message's id, as opaque as API Gateway's."""
    return base64.urlsafe_b64encode(random.randbytes(11)).decode()  # noqa: S311 - guards nothing
