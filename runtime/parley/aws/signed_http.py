"""Signed requests on the event loop, for the few that a session worker makes many times a second.

A frame is read, and a message posted, about twenty times a second in each call. Everything else goes through botocore.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from parley.aws.failures import THROTTLED, note_store_answer
from parley.aws.http import Http, Response
from parley.aws.signatures import moment, signature

ATTEMPTS = 3
PAUSE_SECONDS = 0.03
"""Before the second attempt, at random up to this; before each further one twice as long."""


class SignedHttp(Http):
    """See Http; each request is signed for a service."""

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        region: str,
        credentials: Credentials | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(endpoint)
        self._service = service
        self._region = region
        self._credentials = credentials
        self._now = now

    def complete(self, path: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers with their signature, version 4. Raises NoCredentialsError."""
        credentials = self._credentials.get_frozen_credentials() if self._credentials else None
        if credentials is None or not credentials.secret_key:
            raise NoCredentialsError
        stamp = moment(self._now())
        day = stamp[:8]
        signed = {"host": self.host, "x-amz-date": stamp, **headers}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        lines = "".join(f"{name}:{signed[name]}\n" for name in names)
        listed = ";".join(names)
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"POST\n{_quoted(path)}\n\n{lines}\n{listed}\n{digest}"
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signed_by = signature(
            to_sign, secret=credentials.secret_key, day=day, region=self._region, service=self._service
        )
        authorization = f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        return signed | {"authorization": f"{authorization}SignedHeaders={listed}, Signature={signed_by.hex()}"}


@lru_cache(maxsize=16)
def _quoted(path: str) -> str:
    return quote(path, safe="/-_.~")


class DynamoDbCalls:
    """Calls of DynamoDB, as its JSON: binary values of answers are base64 here."""

    def __init__(self, http: SignedHttp) -> None:
        self._http = http

    async def call(self, operation: str, request: Mapping[str, Any]) -> Any:
        """The answer of an operation that may be sent again: what it writes is conditional, or the same again.

        Raises what botocore's client does.
        """
        body = msgspec.json.encode(request)
        headers = {"x-amz-target": f"DynamoDB_20120810.{operation}", "content-type": "application/x-amz-json-1.0"}
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))  # noqa: S311 - guards nothing
            last = attempt == ATTEMPTS - 1
            try:
                response = await self._http.post("/", body, headers)
            except EndpointConnectionError:
                if last:
                    raise
                continue
            if response.status == 200:
                return msgspec.json.decode(response.body)
            error = client_error(response, operation)
            note_store_answer(error.response["Error"]["Code"])
            if last or not (response.status >= 500 or error.response["Error"]["Code"] in THROTTLED):
                raise error
        raise AssertionError("unreachable")


def client_error(response: Response, operation: str) -> ClientError:
    """botocore's error for an answer that is none: code and status, no text."""
    code = response.headers.get("x-amzn-errortype", "").partition(":")[0]
    if not code:
        try:
            kind = msgspec.json.decode(response.body).get("__type", "")
        except (msgspec.DecodeError, AttributeError):
            kind = ""
        code = kind.rpartition("#")[2] or str(response.status)
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": response.status}},  # type: ignore[typeddict-item]  # what this code reads of it
        operation,
    )
