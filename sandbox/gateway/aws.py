"""Calls to MiniStack from the gateway's event loop.

The gateway calls three services on every message, so it speaks their wire protocols over pooled connections rather than
through boto3, which would hold a thread for each call. DynamoDB, which is called for every audio frame, is called as
the session worker calls it: a call takes 0.1 ms of processor time where httpx takes 0.8.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.credentials import Credentials
from botocore.exceptions import EndpointConnectionError
from parley.aws.signed_http import SignedHttp

ACCOUNT = "000000000000"
REGION = "us-east-1"


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
    """MiniStack's endpoint; every call but DynamoDB's raises `httpx.HTTPError` when it does not answer in time."""

    def __init__(self, endpoint: str, *, max_connections: int = 256) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.client = httpx.AsyncClient(
            base_url=self.endpoint,
            timeout=httpx.Timeout(30, connect=5),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=64),
            trust_env=False,
        )
        # MiniStack checks no signature, and tells accounts apart by the key.
        self._dynamodb = SignedHttp(
            self.endpoint, service="dynamodb", region=REGION, credentials=Credentials(ACCOUNT, "unchecked")
        )

    async def close(self) -> None:
        """Close the pooled connections."""
        await self.client.aclose()
        self._dynamodb.close()

    async def get(self, service: str, path: str) -> dict[str, Any]:
        """A REST resource of `service`, decoded."""
        response = await self.client.get(path, headers=credentials(service), timeout=10)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body

    async def invoke(
        self, function: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Invocation:
        """Invoke a function and wait for its answer, at most `timeout` seconds."""
        response = await self.client.post(
            f"/2015-03-31/functions/{function}/invocations",
            content=payload,
            headers={**credentials("lambda"), "content-type": "application/json", **(headers or {})},
            timeout=timeout,
        )
        return Invocation(response.status_code, response.content, response.headers.get("x-amz-function-error"))

    async def dynamodb(self, action: str, payload: str, *, timeout: float) -> Answer:
        """One DynamoDB action with a JSON request as it stands. Raises `Unanswered`.

        MiniStack keeps whatever text stands for a binary; what is no base64 is refused here as DynamoDB refuses it.
        """
        if not _binaries_are_base64(payload):
            return Answer(400, '{"__type": "com.amazon.coral.service#SerializationException"}')
        headers = {"x-amz-target": f"DynamoDB_20120810.{action}", "content-type": "application/x-amz-json-1.0"}
        try:
            response = await self._dynamodb.post("/", payload.encode("utf-8", "replace"), headers, within=timeout)
        except EndpointConnectionError as error:
            raise Unanswered(str(error)) from error
        return Answer(response.status, response.body.decode())


def _binaries_are_base64(payload: str) -> bool:
    try:
        item = json.loads(payload).get("Item", {})
        for value in item.values():
            if "B" in value:
                base64.b64decode(value["B"], validate=True)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
    return True


def credentials(service: str) -> dict[str, str]:
    """The header by which MiniStack tells account, region and service apart; it checks no signature."""
    scope = f"20260101/{REGION}/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/{scope}, SignedHeaders=host, Signature=0"}
