"""Signed requests to an OpenSearch Serverless collection, tried again while the collection cannot answer.

botocore signs and sends them: it is there already, while importing opensearch-py would add 0.1 s to a cold start.
"""

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError, NoCredentialsError
from botocore.httpsession import URLLib3Session

from parley.errors import StoreUnavailable

SERVICE = "aoss"
CONNECT_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.2
PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses, of a request or of one item in it, of a collection that is busy or scaling."""

_CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take: `attempts`, each waiting `read_seconds` for the next bytes of an answer.

    Between them the pauses double, up to `longest_pause` seconds, and each is a random part of that. No attempt begins
    after `total_seconds`.
    """

    attempts: int
    read_seconds: float
    longest_pause: float
    total_seconds: float

    def pause_before(self, attempt: int) -> float:
        """Seconds to wait before this attempt, counted from 0."""
        if attempt == 0:
            return 0.0
        longest = min(FIRST_PAUSE_SECONDS * 2**attempt, self.longest_pause)
        return random.uniform(0, longest)  # noqa: S311 - jitter, no secret


class OpenSearchRefused(Exception):
    """The collection refused a request for good: it is wrong, or not allowed. Holds no content of documents."""

    def __init__(self, status: int, kind: str = "") -> None:
        self.status = status
        super().__init__(f"OpenSearch refused a request: {status} {kind}".rstrip())


class Collection:
    """One collection's HTTP API. Thread-safe."""

    def __init__(
        self,
        endpoint: str,
        *,
        credentials: Credentials | None,
        region: str,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if credentials is None:
            raise NoCredentialsError
        self._endpoint = endpoint.rstrip("/")
        self._credentials = credentials
        self._region = region
        self._pause = pause
        self._clock = clock
        self._sessions: dict[float, URLLib3Session] = {}

    def post(
        self, path: str, body: bytes, patience: Patience, *, remaining: Callable[[bytes], bytes] = lambda answer: b""
    ) -> bytes:
        """The answer to `body` posted to `path`.

        `remaining` tells from an answer what of the request is to be sent again, if not everything succeeded.
        Raises StoreUnavailable when the collection stays busy or out of reach, OpenSearchRefused for other errors.
        """
        end = self._clock() + patience.total_seconds
        for attempt in range(patience.attempts):
            self._pause(patience.pause_before(attempt))
            if self._clock() > end:
                break
            try:
                status, answer = self._send(path, body, patience.read_seconds)
            except (NoConnection, HTTPClientError):
                continue
            if status in PASSING:
                continue
            if status >= 400:
                raise OpenSearchRefused(status)
            body = remaining(answer)
            if not body:
                return answer
        raise StoreUnavailable

    def _send(self, path: str, body: bytes, read_seconds: float) -> tuple[int, bytes]:
        # The service wants the payload's hash as a header too; Content-Length, which it must not find signed, is set
        # after signing.
        headers = {"Content-Type": _CONTENT_TYPE, "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
        request = AWSRequest(method="POST", url=f"{self._endpoint}{path}", data=body, headers=headers)
        SigV4Auth(self._credentials.get_frozen_credentials(), SERVICE, self._region).add_auth(request)
        response = self._session(read_seconds).send(request.prepare())
        return response.status_code, response.content

    def _session(self, read_seconds: float) -> URLLib3Session:
        # Its timeouts belong to a session, and its open connections.
        session = self._sessions.get(read_seconds)
        if session is None:
            timeout: Any = (CONNECT_SECONDS, read_seconds)  # The stubs know whole seconds only; botocore passes pairs.
            session = self._sessions.setdefault(read_seconds, URLLib3Session(timeout=timeout))
        return session
