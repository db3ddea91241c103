"""The gateway: one address for the page, the HTTP API, the WebSocket API and what functions call back."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from sandbox.gateway.aws import Aws, credentials
from sandbox.gateway.connections import Connections, management_routes
from sandbox.gateway.deployment import DeploymentReader
from sandbox.gateway.http_api import INTEGRATION_TIMEOUT, HttpApi
from sandbox.gateway.invocations import Functions, lambda_routes
from sandbox.gateway.page import Page
from sandbox.gateway.websocket import Durations, WebSocketApi

logger = logging.getLogger(__name__)


class _AnyPath(PathConvertor):
    """Starlette's own ends at a line break, which an id in a path may hold, encoded."""

    regex = "(?s:.*)"


register_url_convertor("any", _AnyPath())

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class GatewaySettings:
    """Where the gateway's neighbours are, and the time limits that tests shorten."""

    aws_endpoint: str
    models_url: str
    page: Path
    outputs: Path
    durations: Durations = field(default_factory=Durations)
    http_timeout: float = INTEGRATION_TIMEOUT
    concurrency: int | None = None


def create_gateway(settings: GatewaySettings) -> Starlette:
    """The gateway as an ASGI application."""
    aws = Aws(settings.aws_endpoint)
    functions = Functions(aws, concurrency=settings.concurrency)
    deployment = DeploymentReader(aws)
    connections = Connections()
    http_api = HttpApi(aws, functions, deployment, timeout=settings.http_timeout)
    websocket_api = WebSocketApi(aws, functions, deployment, connections, durations=settings.durations)
    page = Page(settings.page, settings.outputs, settings.models_url)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "connections": len(connections)})

    async def cognito(request: Request) -> Response:
        answer = await aws.client.post(
            "/",
            content=await request.body(),
            headers={
                **credentials("cognito-idp"),
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": request.headers.get("x-amz-target", ""),
            },
        )
        return Response(answer.content, answer.status_code, {"content-type": "application/x-amz-json-1.1"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        connections.close_all(1001, "Going away")
        await functions.close()
        await aws.close()

    return Starlette(
        routes=[
            *management_routes(connections),
            *lambda_routes(aws, functions),
            Route("/@aws/cognito", cognito, methods=["POST"]),
            Route("/@sandbox/health", health),
            Route("/api", http_api.handle, methods=_METHODS),
            Route("/api/{path:any}", http_api.handle, methods=_METHODS),
            Route("/config.json", page.configuration),
            WebSocketRoute("/ws", websocket_api),
            Route("/{path:any}", page.handle),
        ],
        lifespan=lifespan,
    )
