"""The HTTP side of a function: routes declared once, and used for routing, validation and the OpenAPI document.

A function's module makes one `HttpApi`, declares its routes, and exports `handler = api.handler()`. A route takes one
`Request` and returns its response's body (a msgspec Struct), or a `Reply` when it needs another status or headers.
Errors become responses here and nowhere else.
"""

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from parley import correlation
from parley.errors import BadRequest, InvalidJson, NotFound, ParleyError, ValidationFailed
from parley.functions import admission, service_levels
from parley.functions.identity import Caller, http_caller
from parley.functions.telemetry import Handler, instrument, logger

STATUS_BY_CODE: Mapping[str, int] = {
    "bad_request": 400,
    "invalid_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "payload_too_large": 413,
    "validation_failed": 422,
    "quota_exceeded": 429,
    "throttled": 429,
    "internal": 500,
    "knowledge_unavailable": 503,
    "model_unavailable": 503,
    "store_unavailable": 503,
    "deadline_exceeded": 504,
}


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong: `code` for programs, `message` for people, `request_id` for the logs."""

    code: str
    message: str
    request_id: str


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error that a function answers."""

    error: ErrorDetail


class Request[BodyT](msgspec.Struct, frozen=True):
    """One request, verified and validated. Header names are in lower case."""

    caller: Caller
    body: BodyT
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str
    context: Any

    def query_int(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """A whole number from the query string. Raises ValidationFailed outside `minimum`..`maximum`."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and minimum <= int(text) <= maximum):
            raise ValidationFailed(f"`{name}` is a whole number from {minimum} to {maximum}.")
        return int(text)


class Reply(msgspec.Struct, frozen=True):
    """A response that is more than a body: another status, headers, or no body at all (`body=None`)."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Route(msgspec.Struct, frozen=True):
    """One operation as it was declared; the OpenAPI document is made from these."""

    method: str
    path: str
    function: Callable[[Request[Any]], Any]
    summary: str
    request: Any
    response: Any
    status: int
    errors: tuple[str, ...]
    parameters: tuple["Parameter", ...]
    authorized: bool
    optional_body: bool
    also: Mapping[int, Any]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter or header that a route reads, for the OpenAPI document. `schema` is JSON Schema."""

    name: str
    location: str
    description: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})


def page_parameters(length: int, *, longest: int) -> tuple[Parameter, ...]:
    """`limit` and `cursor` of a list that gives `length` items at once, and at most `longest`."""
    schema = {"type": "integer", "minimum": 1, "maximum": longest, "default": length}
    return (
        Parameter("limit", "query", "How many at most.", schema),
        Parameter("cursor", "query", "Where to go on: the `cursor` of the page before."),
    )


class HttpApi:
    """The routes of one function behind Powertools' event handler.

    `counts` says whether requests count towards the service levels: a health check's caller is no user.
    """

    def __init__(self, *, counts: bool = True) -> None:
        self.routes: list[Route] = []
        self._counts = counts
        self._resolver = APIGatewayHttpResolver(serializer=_serialize)
        self._resolver.exception_handler(ParleyError)(self._refused)
        self._resolver.exception_handler(NotFoundError)(self._no_route)
        self._resolver.exception_handler(Exception)(self._crashed)

    def route(
        self,
        method: str,
        path: str,
        *,
        summary: str,
        response: Any = None,
        request: Any = None,
        status: int = 200,
        errors: tuple[str, ...] = (),
        parameters: tuple[Parameter, ...] = (),
        authorized: bool = True,
        optional_body: bool = False,
        also: Mapping[int, Any] | None = None,
    ) -> Callable[[Callable[[Request[Any]], Any]], Callable[[Request[Any]], Any]]:
        """Declare an operation.

        `path` is written as in OpenAPI (`/conversations/{id}`). `request` is the msgspec type of the body, or None
        when there is no body to read. `errors` names the codes this operation can answer beside `unauthorized`,
        `internal` and, with a body, `invalid_json` and `validation_failed`; `also` gives the body
        of a status that is no error. With `optional_body` a missing body is `{}`.
        """

        def register(function: Callable[[Request[Any]], Any]) -> Callable[[Request[Any]], Any]:
            route = Route(
                method,
                path,
                function,
                summary,
                request,
                response,
                status,
                errors,
                parameters,
                authorized,
                optional_body,
                also or {},
            )
            self.routes.append(route)
            rule = path.replace("{", "<").replace("}", ">")
            self._resolver.route(rule, method)(lambda **keys: self._run(route, keys))
            return function

        return register

    def handler(self) -> Handler:
        """The Lambda entry point."""
        return instrument(self._resolve)

    def _resolve(self, event: Any, context: Any) -> Any:
        request = event.get("requestContext", {})
        began = service_levels.seconds_since_epoch(request.get("timeEpoch"))
        service_levels.model_time.begin()
        response = self._resolver.resolve(event, context)
        status: int = response["statusCode"]
        response["headers"][correlation.HEADER] = self._request_id()
        if self._counts and status < 500:
            service_levels.served(began)
        elif self._counts:
            service_levels.failed()
        milliseconds = round((time.time() - began) * 1000)
        # The route as it was declared: a path holds ids.
        logger.info("Served", route=request.get("routeKey"), status=status, milliseconds=milliseconds)
        return response

    def _run(self, route: Route, keys: dict[str, str]) -> Response[Any]:
        event: dict[str, Any] = self._resolver.current_event.raw_event
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        admission.check_origin(headers)
        caller = http_caller(event) if route.authorized else Caller("")
        source_ip = event["requestContext"].get("http", {}).get("sourceIp", "")
        admission.admit(caller.subject or None, admission.client_address(headers, source_ip))
        request = Request(
            caller=caller,
            body=_body(event, route) if route.request is not None else None,
            path=keys,
            query=event.get("queryStringParameters") or {},
            headers=headers,
            request_id=self._request_id(),
            context=self._resolver.lambda_context,
        )
        result = route.function(request)
        reply = result if isinstance(result, Reply) else Reply(result, route.status)
        return _response(reply)

    def _request_id(self) -> str:
        return correlation.current() or ""

    def _refused(self, error: ParleyError) -> Response[Any]:
        logger.info("Refused", error_code=error.code)
        return _response(error_reply(error, self._request_id()))

    def _no_route(self, _: Exception) -> Response[Any]:
        return self._refused(NotFound("There is no such path or method here."))

    def _crashed(self, error: Exception) -> Response[Any]:
        logger.exception("Unexpected error", exc_info=error)
        return _response(error_reply(ParleyError(), self._request_id()))


def decode_body[T](event: Mapping[str, Any], kind: type[T]) -> T:
    """The event's JSON body as `kind`. Raises InvalidJson or ValidationFailed (which names the field)."""
    body = event.get("body")
    if not body:
        raise InvalidJson("The request has no body; send a JSON object.")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest("The body is not valid base64.") from error
    return decode_json(body, kind)


def decode_json[T](body: str | bytes, kind: type[T]) -> T:
    """JSON text as `kind`. Raises InvalidJson or ValidationFailed (which names the field)."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"{error}.") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidJson from error


def error_reply(error: ParleyError, request_id: str) -> Reply:
    """The documented response to an error."""
    detail = ErrorDetail(code=error.code, message=error.message, request_id=request_id)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return Reply(ErrorResponse(error=detail), STATUS_BY_CODE[error.code], headers)


def _body(event: Mapping[str, Any], route: Route) -> Any:
    if route.optional_body and not event.get("body"):
        return decode_json("{}", route.request)
    return decode_body(event, route.request)


def _response(reply: Reply) -> Response[Any]:
    headers: dict[str, str | list[str]] = {"Cache-Control": "no-store", **reply.headers}
    if reply.body is None:
        return Response(reply.status, body="", headers=headers)
    return Response(reply.status, "application/json", reply.body, headers)


def _serialize(body: Any) -> str:
    return msgspec.json.encode(body).decode()
