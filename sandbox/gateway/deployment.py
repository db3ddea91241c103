"""What is deployed: the HTTP and WebSocket APIs, read from MiniStack's API Gateway control plane."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from sandbox.gateway.aws import Aws

_FUNCTION = re.compile(r":function:(?P<name>[^:/]+)(?::(?P<qualifier>[^/]+))?")
_SERVICE_ACTION = re.compile(r"arn:aws[^:]*:apigateway:[^:]*:(?P<service>[a-z0-9-]+):action/(?P<action>\w+)$")


@dataclass(frozen=True)
class Throttle:
    """Requests per second and burst of a stage or route; None means that nothing was set."""

    rate: float | None = None
    burst: int | None = None


@dataclass(frozen=True)
class Integration:
    """Where a route leads: a function (`function`), or an action of a service with request templates."""

    type: str
    function: str | None = None
    service: str | None = None
    action: str | None = None
    templates: Mapping[str, str] = field(default_factory=dict)
    template_selection: str | None = None
    passthrough: str = "WHEN_NO_MATCH"
    timeout_seconds: float = 29.0


@dataclass(frozen=True)
class Authorizer:
    """A REQUEST authorizer: its function and the identity sources that must be present."""

    function: str
    identity_sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """One route of an API."""

    key: str
    integration: Integration | None
    authorizer: Authorizer | None = None
    authorization: str = "NONE"
    answers: bool = False
    throttle: Throttle = Throttle()


@dataclass(frozen=True)
class Api:
    """An API with its routes and the stage that is served."""

    id: str
    protocol: Literal["HTTP", "WEBSOCKET"]
    stage: str
    selection: str
    routes: Mapping[str, Route]
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    default_throttle: Throttle = Throttle()

    def http_route(self, method: str, path: str) -> Route | None:
        """The route of an HTTP request, the most specific first, as API Gateway chooses."""
        best: tuple[int, Route] | None = None
        for route in self.routes.values():
            route_method, _, template = route.key.partition(" ")
            if route_method not in (method, "ANY") or not _path_matches(template, path):
                continue
            rank = template.count("{") * 2 + ("+}" in template) * 100 + (route_method == "ANY")
            if best is None or rank < best[0]:
                best = (rank, route)
        return best[1] if best else self.routes.get("$default")


@dataclass(frozen=True)
class Deployment:
    """The APIs that stand behind the gateway's one address."""

    http: Api | None = None
    websocket: Api | None = None


class DeploymentReader:
    """Reads the deployment and keeps it for `max_age` seconds, so that a new `cdk deploy` is picked up by itself."""

    def __init__(self, aws: Aws, *, max_age: float = 2.0) -> None:
        self._aws = aws
        self._max_age = max_age
        self._deployment = Deployment()
        self._read_at: float | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Deployment:
        """The deployment as of at most `max_age` seconds ago; the last known one while MiniStack does not answer."""
        async with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > self._max_age:
                try:
                    self._deployment = await self._read()
                    self._read_at = time.monotonic()
                except httpx.HTTPError:
                    return self._deployment
            return self._deployment

    async def _read(self) -> Deployment:
        apis = (await self._aws.get("apigateway", "/v2/apis")).get("items", [])
        # A replaced API stands beside its successor for a moment: the newest of a kind is the deployed one.
        newest = {api["protocolType"]: api for api in sorted(apis, key=lambda api: str(api.get("createdDate", "")))}
        http, websocket = await asyncio.gather(
            *(self._read_api(newest[kind]) if kind in newest else _nothing() for kind in ("HTTP", "WEBSOCKET"))
        )
        return Deployment(http=http, websocket=websocket)

    async def _read_api(self, api: Mapping[str, Any]) -> Api | None:
        parts = ("stages", "routes", "integrations", "authorizers")
        pages = await asyncio.gather(
            *(self._aws.get("apigateway", f"/v2/apis/{api['apiId']}/{part}") for part in parts)
        )
        stages, routes, integrations, authorizers = (page.get("items", []) for page in pages)
        if not stages:
            return None
        stage = stages[0]
        settings = stage.get("routeSettings") or {}
        by_id = {item["integrationId"]: _integration(item) for item in integrations}
        authorizer_by_id = {item["authorizerId"]: _authorizer(item) for item in authorizers}
        return Api(
            id=api["apiId"],
            protocol=api["protocolType"],
            stage=stage["stageName"],
            selection=api.get("routeSelectionExpression") or "$request.body.action",
            routes={
                item["routeKey"]: Route(
                    key=item["routeKey"],
                    integration=by_id.get(str(item.get("target", "")).rpartition("/")[2]),
                    authorizer=authorizer_by_id.get(item.get("authorizerId", "")),
                    authorization=item.get("authorizationType") or "NONE",
                    answers=bool(item.get("routeResponseSelectionExpression")),
                    throttle=_throttle(settings.get(item["routeKey"]) or {}),
                )
                for item in routes
            },
            stage_variables=stage.get("stageVariables") or {},
            default_throttle=_throttle(stage.get("defaultRouteSettings") or {}),
        )


async def _nothing() -> None:
    return None


def _integration(item: Mapping[str, Any]) -> Integration:
    uri = item.get("integrationUri") or ""
    function = _FUNCTION.search(uri)
    service = _SERVICE_ACTION.match(uri)
    return Integration(
        type=item.get("integrationType", ""),
        function=function["name"] if function else None,
        service=service["service"] if service else None,
        action=service["action"] if service else None,
        templates=item.get("requestTemplates") or {},
        template_selection=item.get("templateSelectionExpression"),
        passthrough=item.get("passthroughBehavior") or "WHEN_NO_MATCH",
        timeout_seconds=float(item.get("timeoutInMillis") or 29_000) / 1000,
    )


def _authorizer(item: Mapping[str, Any]) -> Authorizer:
    function = _FUNCTION.search(item.get("authorizerUri") or "")
    sources = item.get("identitySource") or []
    return Authorizer(
        function=function["name"] if function else "",
        identity_sources=tuple([sources] if isinstance(sources, str) else sources),
    )


def _throttle(settings: Mapping[str, Any]) -> Throttle:
    # MiniStack gives back what CloudFormation gave it, in CloudFormation's spelling.
    spelled = {name[:1].lower() + name[1:]: value for name, value in settings.items()}
    rate, burst = spelled.get("throttlingRateLimit"), spelled.get("throttlingBurstLimit")
    return Throttle(rate=None if rate is None else float(rate), burst=None if burst is None else int(burst))


def _path_matches(template: str, path: str) -> bool:
    pattern = "".join(
        "(?:.+)" if part.endswith("+}") else "[^/]+" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]*\})", template)
    )
    return re.fullmatch(pattern, path) is not None
