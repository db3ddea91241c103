"""Calls to MiniStack from the gateway's event loop.

The gateway calls functions and DynamoDB on every message, so it speaks their wire protocols over kept connections, as
the session worker does: boto3 would hold a thread for each call, and httpx takes eight times the processor time.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx
from botocore.exceptions import EndpointConnectionError
from parley.aws.http import Http, Response

ACCOUNT = "000000000000"
REGION = "us-east-1"
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Invocation:
    """A function's answer. `error` is Lambda's `X-Amz-Function-Error`; status 429 means that it was throttled."""

    status: int
    payload: bytes
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the function raised, timed out or did not run at all."""
        return self.error is not None or self.status >= 300

    def json(self) -> Any:
        """The decoded payload, or None when it is no JSON."""
        try:
            return json.loads(self.payload)
        except ValueError:
            return None


@dataclass(frozen=True)
class Answer:
    """A service's answer as it stands."""

    status: int
    text: str


class Unanswered(Exception):
    """A service did not answer, or not in time."""


class Aws:
    """MiniStack's endpoint. Where it does not answer in time, `invoke` and `dynamodb` raise `Unanswered`, and all else
    `httpx.HTTPError`.
    """

    def __init__(self, endpoint: str, *, max_connections: int = 256) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.client = httpx.AsyncClient(
            base_url=self.endpoint,
            timeout=httpx.Timeout(30, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=64),
            trust_env=False,
        )
        self._http = Http(self.endpoint, connect_within=_CONNECT_SECONDS)

    async def close(self) -> None:
        """Close the pooled connections."""
        await self.client.aclose()
        self._http.close()

    async def get(self, service: str, path: str) -> dict[str, Any]:
        """A REST resource of `service`, decoded."""
        response = await self.client.get(path, headers=credentials(service), timeout=10)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body

    async def invoke(
        self, function: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Invocation:
        """Invoke a function and wait for its answer, at most `timeout` seconds. Raises `Unanswered`."""
        path = f"/2015-03-31/functions/{quote(function)}/invocations"
        all_headers = {"content-type": "application/json", **(headers or {})}
        response = await self._post("lambda", path, payload, all_headers, timeout)
        return Invocation(response.status, response.body, response.headers.get("x-amz-function-error"))

    async def dynamodb(self, action: str, payload: str, *, timeout: float) -> Answer:
        """One DynamoDB action with a JSON request as it stands. Raises `Unanswered`.

        MiniStack keeps whatever text stands for a binary; what is no base64 is refused here as DynamoDB refuses it.
        """
        if not _binaries_are_base64(payload):
            return Answer(400, '{"__type": "com.amazon.coral.service#SerializationException"}')
        headers = {"x-amz-target": f"DynamoDB_20120810.{action}", "content-type": "application/x-amz-json-1.0"}
        response = await self._post("dynamodb", "/", payload.encode("utf-8", "replace"), headers, timeout)
        return Answer(response.status, response.body.decode())

    async def _post(self, service: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Response:
        try:
            return await self._http.post(path, body, {**credentials(service), **headers}, within=timeout)
        except EndpointConnectionError as error:
            raise Unanswered(str(error)) from error


def _binaries_are_base64(payload: str) -> bool:
    try:
        item = json.loads(payload).get("Item", {})
        for value in item.values():
            if "B" in value:
                base64.b64decode(value["B"], validate=True)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
    return True


@cache
def credentials(service: str) -> Mapping[str, str]:
    """The header by which MiniStack tells account, region and service apart; it checks no signature."""
    scope = f"20260101/{REGION}/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/{scope}, SignedHeaders=host, Signature=0"}
