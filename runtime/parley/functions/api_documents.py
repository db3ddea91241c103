"""Generates the OpenAPI and AsyncAPI documents from the routes and message types.

python -m parley.functions.api_documents docs
"""

import sys
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from parley.functions import chat, conversations, documents, health, personal_data, recordings, retrieval, tickets
from parley.functions.http import STATUS_BY_CODE, ErrorResponse, Parameter, Route
from parley.functions.messages import FromClient
from parley.server_messages import FromServer

VERSION = "1.0.0"
"""Of the interfaces: a breaking change counts up the first number."""

MODULES = (health, chat, conversations, tickets, retrieval, documents, recordings, personal_data)

REF = "#/components/schemas/{name}"

GATEWAY_ERROR_SCHEMA = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}

GATEWAY_ERROR = {
    "description": "API Gateway's own answer, before any function runs: the token is missing or expired (401), the key "
    "is not valid (403), the route does not exist (404), the body is above 10 MB (413), too many requests (429), or an "
    "integration that fails or takes longer than 29 s (500, 503).",
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/GatewayError"}},
    },
}

GATEWAY_STATUSES = frozenset({401, 403, 404, 413, 429, 500, 503})
"""Statuses that API Gateway answers by itself, too."""


def routes() -> list[Route]:
    """Every HTTP operation of the product."""
    return [route for module in MODULES for route in module.api.routes]


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    declared = routes()
    types = {kind for route in declared for kind in (route.request, route.response, *route.also.values()) if kind}
    ordered = sorted(types, key=lambda kind: str(kind.__name__))
    schemas, components = msgspec.json.schema_components([*ordered, ErrorResponse], ref_template=REF)
    by_type = dict(zip([*ordered, ErrorResponse], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in declared:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Parley",
            "version": VERSION,
            "description": "Ask, and be answered from your documents. Errors have one shape; API Gateway's own "
            "errors, answered before a function runs, have another: see the response `GatewayError`.",
        },
        "servers": [{"url": "/api"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components | {"GatewayError": GATEWAY_ERROR_SCHEMA},
            "responses": {"GatewayError": GATEWAY_ERROR},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access or id token of the user pool, or an API key (`parley_...`).",
                }
            },
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    sent, received = typing.get_args(FromServer.__value__), typing.get_args(FromClient.__value__)
    schemas, components = msgspec.json.schema_components([*received, *sent], ref_template=REF)
    by_type = dict(zip([*received, *sent], schemas, strict=True))
    messages = {
        kind.__name__: {
            "name": kind.__struct_config__.tag,
            "summary": _first_line(kind.__doc__),
            "contentType": "application/json",
            "payload": by_type[kind],
        }
        for kind in (*received, *sent)
    }
    channel = {"$ref": "#/channels/session"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley's WebSocket API",
            "version": VERSION,
            "description": "JSON text frames of at most 32 KB. Binary frames close the connection with 1003, larger "
            "ones with 1009. A refused ticket shows as close code 1006: ask for a new ticket and try again. A message "
            "above 32 KB goes by HTTP. Malformed JSON and unknown actions are answered with `error`. API Gateway's own "
            'errors have its own shape: `{"message", "connectionId", "requestId"}`.',
        },
        "channels": {
            "session": {
                "address": "/ws?ticket={ticket}",
                "parameters": {"ticket": {"description": "From `POST /tickets`: 60 seconds, one connection."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "send": _messages_operation("receive", channel, received, "What a client may send."),
            "receive": _messages_operation("send", channel, sent, "What the server sends."),
        },
        "components": {"messages": messages, "schemas": components},
    }


def _operation(route: Route, by_type: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.function.__name__,
        "summary": route.summary,
        "responses": {str(route.status): _success(route, by_type)},
    }
    for status, kind in route.also.items():
        operation["responses"][str(status)] = {
            "description": _first_line(kind.__doc__),
            "content": _json(by_type[kind]),
        }
    if not route.authorized:
        operation["security"] = []
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [_path_parameter(name) for name in names] + [_parameter(given) for given in route.parameters]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        operation["requestBody"] = {"required": not route.optional_body, "content": _json(by_type[route.request])}
    for status, codes in _errors(route).items():
        listed = ", ".join(f"`{code}`" for code in codes)
        either = [by_type[ErrorResponse], {"$ref": "#/components/schemas/GatewayError"}]
        schema = {"anyOf": either} if status in GATEWAY_STATUSES else by_type[ErrorResponse]
        operation["responses"].setdefault(str(status), {"description": f"Error {listed}.", "content": _json(schema)})
    operation["responses"]["default"] = {"$ref": "#/components/responses/GatewayError"}
    return operation


def _success(route: Route, by_type: dict[Any, Any]) -> dict[str, Any]:
    if route.response is None:
        return {"description": "Done."}
    return {"description": _first_line(route.response.__doc__), "content": _json(by_type[route.response])}


def _errors(route: Route) -> dict[int, list[str]]:
    # Every request is counted, and none is answered that went round CloudFront, where that is asked for.
    codes = {*route.errors, "forbidden", "internal", "throttled"}
    if route.authorized:
        codes.add("unauthorized")
    if route.request is not None:
        codes |= {"invalid_json", "validation_failed"}
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(STATUS_BY_CODE[code], []).append(code)
    return dict(sorted(by_status.items()))


def _parameter(given: Parameter) -> dict[str, Any]:
    return {"name": given.name, "in": given.location, "description": given.description, "schema": given.schema}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _messages_operation(action: str, channel: dict[str, str], kinds: Iterable[Any], summary: str) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/session/messages/{kind.__name__}"} for kind in kinds]
    return {"action": action, "channel": channel, "summary": summary, "messages": messages}


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def render(document: dict[str, Any]) -> str:
    """A document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def write(folder: Path) -> None:
    """Write both documents into `folder`."""
    (folder / "openapi.json").write_text(render(openapi()), encoding="utf-8")
    (folder / "asyncapi.json").write_text(render(asyncapi()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
