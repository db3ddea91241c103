"""The HTTP API: MiniStack runs it, the gateway adds API Gateway's limits and its own error bodies."""

import asyncio
import json
import logging
import uuid
from contextlib import AsyncExitStack

import httpx
from starlette.requests import Request
from starlette.responses import Response

from sandbox.gateway.aws import Aws
from sandbox.gateway.deployment import DeploymentReader
from sandbox.gateway.invocations import Functions
from sandbox.gateway.throttle import Throttler

logger = logging.getLogger(__name__)

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
PAYLOAD_LIMIT = 10 * 1024 * 1024
INTEGRATION_TIMEOUT = 29.0
_HOP_BY_HOP = {
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class HttpApi:
    """Passes requests on to the deployed HTTP API."""

    def __init__(
        self, aws: Aws, functions: Functions, deployment: DeploymentReader, *, timeout: float = INTEGRATION_TIMEOUT
    ) -> None:
        self._aws = aws
        self._functions = functions
        self._deployment = deployment
        self._timeout = timeout
        self._throttler = Throttler()

    async def handle(self, request: Request) -> Response:
        """Answer one request under `/api`."""
        api = (await self._deployment.current()).http
        if api is None:
            return _message(503, "Service Unavailable")
        path = request.scope["raw_path"].decode().removeprefix("/api") or "/"
        route = api.http_route(request.method, "/" + request.path_params["path"])
        throttle = route.throttle if route and route.throttle.rate is not None else api.default_throttle
        if not self._throttler.admit((api.id, route.key if route else ""), throttle):
            return _message(429, "Too Many Requests")
        body = await _read(request)
        if body is None:
            return _message(413, "Request Entity Too Large")
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name not in _HOP_BY_HOP and name not in ("host", "x-forwarded-for", "x-forwarded-proto")
        ]
        client = request.client.host if request.client else "127.0.0.1"
        headers += [("x-forwarded-for", client), ("x-forwarded-proto", request.url.scheme)]
        try:
            async with asyncio.timeout(self._timeout), AsyncExitStack() as held:
                if route and route.integration and route.integration.function:
                    await held.enter_async_context(self._functions.slot(route.integration.function))
                answer = await self._aws.client.request(
                    request.method,
                    # Addressed by path: by host, MiniStack would take `/health` for its own.
                    f"/_aws/execute-api/{api.id}/{api.stage}{path}",
                    params=request.url.query or None,
                    content=body,
                    headers=headers,
                    timeout=self._timeout,
                )
        except (TimeoutError, httpx.HTTPError) as error:
            logger.warning("%s %s did not answer: %s", request.method, path, error or "timeout")
            return _message(503, "Service Unavailable")
        if answer.status_code == 502:
            # MiniStack's answer for a function that failed; an HTTP API says 500 for that.
            logger.warning("%s %s failed: %s", request.method, path, answer.text[:2000])
            return _message(500, "Internal Server Error")
        response = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in _HOP_BY_HOP and not (name.lower() == "content-type" and not answer.content):
                response.headers.append(name, value)
        response.headers.setdefault("x-request-id", answer.headers.get("apigw-requestid", str(uuid.uuid4())))
        return response


async def _read(request: Request) -> bytes | None:
    """The body, or None when it is larger than API Gateway takes."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > PAYLOAD_LIMIT:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _message(status: int, message: str) -> Response:
    headers = {"content-type": "application/json", "x-request-id": str(uuid.uuid4())}
    return Response(json.dumps({"message": message}), status, headers)
