"""The WebSocket API: handshake, routes, limits and the end of a connection, as API Gateway handles them."""

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from sandbox.gateway.authorization import Refused, authorize
from sandbox.gateway.aws import Aws, Unanswered
from sandbox.gateway.connections import Connection, Connections
from sandbox.gateway.deployment import Api, DeploymentReader, Integration, Route
from sandbox.gateway.events import handshake_fields, message_event, message_id, request_context
from sandbox.gateway.invocations import Functions
from sandbox.gateway.templates import Message, json_path, render, select_template
from sandbox.gateway.throttle import Throttler
from sandbox.gateway.velocity import TemplateFailure

logger = logging.getLogger(__name__)

# How many messages of one connection are handled at once before the gateway stops reading from it.
IN_FLIGHT = 16


@dataclass(frozen=True)
class Durations:
    """API Gateway's time limits, in seconds."""

    integration: float = 29.0
    idle: float = 600.0
    connection: float = 7200.0


class IntegrationFailure(Exception):
    """The integration failed, timed out or answered nonsense."""


class WebSocketApi:
    """Serves the deployed WebSocket API as an ASGI application."""

    def __init__(
        self,
        aws: Aws,
        functions: Functions,
        deployment: DeploymentReader,
        connections: Connections,
        *,
        durations: Durations | None = None,
    ) -> None:
        self._aws = aws
        self._functions = functions
        self._deployment = deployment
        self._connections = connections
        self._durations = durations or Durations()
        self._throttler = Throttler()
        self._handling: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from its handshake to its `$disconnect`."""
        await receive()
        headers = Headers(scope=scope)
        connection = Connection(
            source_ip=(scope.get("client") or ("127.0.0.1",))[0], user_agent=headers.get("user-agent", "")
        )
        try:
            api = await self._connect(scope, headers, connection)
        except Refused as refusal:
            await _refuse(send, refusal, connection)
            return
        domain = headers.get("host", "127.0.0.1")
        self._connections.add(connection)
        code, reason = 1006, ""
        try:
            await send({"type": "websocket.accept"})
            code, reason = await self._converse(api, connection, domain, receive, send)
        finally:
            self._connections.remove(connection)
            await self._disconnect(api, connection, domain, code, reason)

    async def _connect(self, scope: Scope, headers: Headers, connection: Connection) -> Api:
        api = (await self._deployment.current()).websocket
        if api is None:
            raise Refused(403, "Forbidden")
        route = api.routes.get("$connect")
        if route is None:
            return api
        if not self._admitted(api, route):
            raise Refused(429, "Too Many Requests")
        domain = headers.get("host", "127.0.0.1")
        context = request_context(api, connection, event_type="CONNECT", route_key="$connect", domain=domain)
        handshake = handshake_fields(headers, scope.get("query_string", b"").decode())
        if route.authorizer is not None:
            await authorize(self._functions, api, route.authorizer, connection, context, handshake)
            context["authorizer"] = dict(connection.authorizer or {})
        elif route.authorization not in ("", "NONE"):
            raise Refused(500, "Internal Server Error")
        if route.integration is not None and route.integration.function:
            event = {**message_event(context), **handshake}
            try:
                answer = await self._call_function(route.integration, event)
            except IntegrationFailure:
                raise Refused(502, "Internal server error") from None
            status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
            if not 200 <= int(status) < 300:
                raise Refused(int(status), "Forbidden" if int(status) == 403 else "Refused by the $connect route")
        return api

    async def _converse(
        self, api: Api, connection: Connection, domain: str, receive: Receive, send: Send
    ) -> tuple[int, str]:
        """Carry messages both ways until one side closes; returns the close code and reason."""
        reading = asyncio.create_task(self._read(api, connection, domain, receive))
        writing = asyncio.create_task(self._write(connection, send))
        ageing = asyncio.create_task(self._age(connection))
        tasks = (reading, writing, ageing)
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and reading.exception() is None:
                return reading.result()
            return connection.closing or (1006, "")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, api: Api, connection: Connection, domain: str, receive: Receive) -> tuple[int, str]:
        places = asyncio.Semaphore(IN_FLIGHT)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 1005), str(message.get("reason") or "")
            connection.touch()
            if message.get("text") is None:
                connection.close(1003, "Binary frames are not supported")
                continue
            await places.acquire()
            # API Gateway handles a connection's messages side by side (nothing may rely on their order), and what
            # has begun runs to its end when the client leaves.
            task = asyncio.create_task(self._handle(api, connection, domain, Message(message["text"])))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
            task.add_done_callback(lambda _: places.release())

    async def _write(self, connection: Connection, send: Send) -> None:
        while (text := await connection.next_message()) is not None:
            await send({"type": "websocket.send", "text": text})
            connection.written(text)
        code, reason = connection.closing or (1000, "")
        await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _age(self, connection: Connection) -> None:
        end = connection.connected_at + self._durations.connection
        while (now := time.time()) < end:
            idle_end = connection.last_active_at + self._durations.idle
            if now >= idle_end:
                break
            await asyncio.sleep(min(idle_end, end) - now)
        connection.close(1001, "Going away")

    async def _handle(self, api: Api, connection: Connection, domain: str, message: Message) -> None:
        route = _select_route(api, message)
        key = route.key if route else "$default"
        context = request_context(
            api, connection, event_type="MESSAGE", route_key=key, domain=domain, messageId=message_id()
        )
        if route is None or route.integration is None:
            _answer_error(connection, context, "Forbidden")
            return
        one_way = route.integration.type == "AWS" and not route.answers
        if not self._admitted(api, route):
            if not one_way:
                _answer_error(connection, context, "Too Many Requests")
            return
        try:
            body = await self._integrate(api, route, context, message)
        except IntegrationFailure as failure:
            logger.warning("route %s failed: %s", route.key, failure)
            if not one_way:
                _answer_error(connection, context, "Internal server error")
            return
        if body and route.answers:
            connection.send(body)

    async def _integrate(self, api: Api, route: Route, context: dict[str, object], message: Message) -> str | None:
        integration = route.integration
        if integration is None or integration.type == "MOCK":
            return None
        if integration.function:
            answer = await self._call_function(integration, message_event(context, body=message.text))
            if isinstance(answer, dict) and "body" in answer:
                body = answer["body"]
                return body if isinstance(body, str) or body is None else json.dumps(body)
            return None
        if integration.service == "dynamodb" and integration.action:
            return await self._call_dynamodb(api, integration, context, message)
        raise IntegrationFailure(f"the sandbox has no {integration.type} integration with {integration.service}")

    async def _call_function(self, integration: Integration, event: dict[str, object]) -> object:
        timeout = min(integration.timeout_seconds, self._durations.integration)
        try:
            result = await self._functions.invoke(
                integration.function or "", json.dumps(event).encode(), timeout=timeout
            )
        except TimeoutError:
            raise IntegrationFailure(f"{integration.function} did not answer within {timeout:g} s") from None
        except Unanswered as error:
            raise IntegrationFailure(str(error)) from error
        if result.failed:
            raise IntegrationFailure(result.payload[:1000].decode(errors="replace"))
        return result.json()

    async def _call_dynamodb(
        self, api: Api, integration: Integration, context: dict[str, object], message: Message
    ) -> str:
        template = select_template(integration.templates, integration.template_selection, message)
        if template is None and integration.passthrough == "NEVER":
            raise IntegrationFailure("no request template fits and passthrough is NEVER")
        try:
            payload = (
                message.text
                if template is None
                else render(template, message, context=context, stage_variables=api.stage_variables)
            )
            timeout = min(integration.timeout_seconds, self._durations.integration)
            response = await self._aws.dynamodb(integration.action or "", payload, timeout=timeout)
        except (TemplateFailure, ValueError, Unanswered) as error:
            raise IntegrationFailure(str(error)) from error
        if response.status >= 400:
            raise IntegrationFailure(f"{integration.action}: {response.text[:500]}")
        return response.text

    async def _disconnect(self, api: Api, connection: Connection, domain: str, code: int, reason: str) -> None:
        route = api.routes.get("$disconnect")
        if route is None or route.integration is None or not route.integration.function:
            return
        context = request_context(
            api,
            connection,
            event_type="DISCONNECT",
            route_key="$disconnect",
            domain=domain,
            disconnectStatusCode=code,
            disconnectReason=reason,
        )
        event = message_event(context) | {"headers": {"Host": domain}, "multiValueHeaders": {"Host": [domain]}}
        try:
            await self._call_function(route.integration, event)
        except IntegrationFailure as failure:
            logger.warning("route $disconnect failed: %s", failure)

    def _admitted(self, api: Api, route: Route) -> bool:
        throttle = route.throttle if route.throttle.rate is not None else api.default_throttle
        return self._throttler.admit((api.id, route.key), throttle)


def _select_route(api: Api, message: Message) -> Route | None:
    expression = api.selection.strip().removeprefix("${").removeprefix("$").removesuffix("}")
    key: object = None
    if expression.startswith("request.body.") and isinstance(message.document, dict):
        with contextlib.suppress(ValueError):
            key = json_path(message.document, "$." + expression.removeprefix("request.body."))
    # The keys with a $ are API Gateway's own: a client that sends one of them as its action gets $default.
    if isinstance(key, str) and not key.startswith("$") and key in api.routes:
        return api.routes[key]
    return api.routes.get("$default")


def _answer_error(connection: Connection, context: dict[str, object], message: str) -> None:
    body = {"message": message, "connectionId": connection.id, "requestId": context["requestId"]}
    connection.send(json.dumps(body))


async def _refuse(send: Send, refusal: Refused, connection: Connection) -> None:
    body = {"message": refusal.message, "connectionId": connection.id, "requestId": message_id()}
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": [(b"content-type", b"application/json")],
        }
    )
    await send({"type": "websocket.http.response.body", "body": json.dumps(body).encode()})
