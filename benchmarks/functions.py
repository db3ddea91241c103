"""The deployed functions as a benchmark runs them: their package, their environment, one event each."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.instant_aws import KEY_ARN
from benchmarks.samples import cdk_synth

MODELS = json.dumps(
    {
        "quick": ["us.amazon.nova-2-lite-v1:0"],
        "reasoning": ["us.amazon.nova-2-lite-v1:0"],
        "summary": ["us.amazon.nova-2-lite-v1:0"],
    }
)

SETTINGS = {
    "CONVERSATIONS_TABLE": "conversations",
    "IDEMPOTENCY_TABLE": "idempotency",
    "SESSIONS_TABLE": "sessions",
    "CONNECTIONS_TABLE": "connections",
    "CREDENTIALS_TABLE": "credentials",
    "KNOWLEDGE_TABLE": "knowledge",
    "DOCUMENTS_BUCKET": "documents",
    "CONTENT_KEY_ARN": KEY_ARN,
    "MODELS": MODELS,
    "RETENTION_DAYS": "30",
    "RETRIEVAL_FUNCTION": "retrieval",
    "USAGE_TABLE": "usage",
    "LIMITS": json.dumps(
        {"requests_per_minute": 10**6, "requests_per_minute_per_address": 10**6, "tokens_per_day": 10**9}
    ),
    "WEBSOCKET_URL": "wss://localhost/ws",
    "POWERTOOLS_METRICS_NAMESPACE": "Parley",
    "POWERTOOLS_SERVICE_NAME": "benchmark",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false",
    "POWERTOOLS_TRACER_CAPTURE_ERROR": "false",
    # What the Lambda service itself sets: with these, tracing is on and its segments go to a daemon over UDP.
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
}
"""A function's environment variables, as the stacks set them, with every feature on."""


def http_event(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """An HTTP API event (payload 2.0) of a signed-in user."""
    route = f"{method} {path}"
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "benchmark",
            "domainName": "localhost",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": ""},
            "requestId": "request",
            "routeKey": route,
            "stage": "$default",
            "timeEpoch": 0,
            "authorizer": {"jwt": {"claims": {"sub": "benchmark-subject"}, "scopes": []}},
        },
        "body": json.dumps(body) if body is not None else None,
        "isBase64Encoded": False,
    }


FIRST_REQUESTS: dict[str, dict[str, Any]] = {
    "chat": http_event("POST", "/chat", {"message": "What is a turn?"}),
    "conversations": http_event("GET", "/conversations"),
    "documents": http_event("GET", "/knowledge/documents"),
    "health": http_event("GET", "/health"),
    "tickets": http_event("POST", "/tickets", {}),
}
"""The first request of each HTTP function."""


@dataclass(frozen=True)
class Package:
    """A function's package as it is deployed: its folder, and what it weighs zipped, in megabytes of 10^6 bytes."""

    folder: Path
    zipped_megabytes: float


def core_package(scratch: Path) -> Package:
    """The package of the chat function, built by synthesizing the local environment into `scratch`."""
    return _package(scratch, "Parley-local-Assistant", "parley.functions.chat.handler")


def knowledge_package(scratch: Path) -> Package:
    """The package of the retrieval function, built in the same way."""
    return _package(scratch, "Parley-local-Knowledge", "parley.functions.retrieval.handler")


def voice_package(scratch: Path) -> Package:
    """The package of the session worker, built in the same way."""
    return _package(scratch, "Parley-local-Assistant", "parley.functions.voice_worker.handler")


def _package(scratch: Path, stack: str, handler: str) -> Package:
    assembly = scratch / "cdk.out"
    cdk_synth(assembly, "-c", "env=local")
    template = json.loads((assembly / f"{stack}.template.json").read_text())
    [key] = {
        resource["Properties"]["Code"]["S3Key"]
        for resource in template["Resources"].values()
        if resource["Properties"].get("Handler") == handler
    }
    folder = assembly / f"asset.{key.removesuffix('.zip')}"
    archive = shutil.make_archive(str(scratch / "package"), "zip", folder)
    return Package(folder, Path(archive).stat().st_size / 1e6)
