"""GET /health: can this deployment answer? Each dependency is asked briefly."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from parley.aws import clients
from parley.aws.invocations import can_invoke
from parley.functions.http import HttpApi, Reply, Request
from parley.functions.telemetry import logger
from parley.settings import Settings

api = HttpApi(counts=False)

CHECK_SECONDS = 1
"""The longest that one check waits."""


class HealthSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    retrieval_function: str | None = None


class HealthResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`degraded` (with status 503) when a check failed."""

    status: Literal["ok", "degraded"]
    checks: dict[str, Literal["ok", "failed"]]


@cache
def checks() -> Mapping[str, Callable[[], bool]]:
    """What this deployment depends on, by name."""
    settings = HealthSettings.load()
    found: dict[str, Callable[[], bool]] = {"store": lambda: _can_read(settings.conversations_table)}
    if function_name := settings.retrieval_function:
        found["retrieval"] = lambda: can_invoke(clients.lambda_(CHECK_SECONDS, 1), function_name)
    return found


@api.route(
    "GET",
    "/health",
    summary="Ask whether the assistant can answer",
    response=HealthResponse,
    also={503: HealthResponse},
    authorized=False,
)
def health(request: Request[None]) -> Reply:
    """Ask each dependency once."""
    results: dict[str, Literal["ok", "failed"]] = {
        name: "ok" if check() else "failed" for name, check in checks().items()
    }
    healthy = all(result == "ok" for result in results.values())
    return Reply(HealthResponse(status="ok" if healthy else "degraded", checks=results), 200 if healthy else 503)


def _can_read(table: str) -> bool:
    try:
        _brief_dynamodb().get_item(TableName=table, Key={"pk": {"S": "health"}, "sk": {"S": "health"}})
    except (BotoCoreError, ClientError) as error:
        logger.warning("The store does not answer", error=type(error).__name__)
        return False
    return True


@cache
def _brief_dynamodb() -> Any:
    return clients.make_client("dynamodb", read_timeout=CHECK_SECONDS, attempts=1)


handler = api.handler()
