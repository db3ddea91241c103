"""Signed HTTP requests on the event loop, for the few that a session worker makes many times a second.

A frame is read, and a message posted, about twenty times a second in each call. botocore takes 1.4 ms of CPU for such a
request, and a thread besides; this takes 0.12 ms, and does nothing but POST over connections that are kept.
Everything else goes through botocore.
"""

import asyncio
import hashlib
import hmac
import os
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self
from urllib.parse import quote, urlsplit

import msgspec
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from parley.aws.failures import THROTTLED, note_store_answer

CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
"""A whole answer, which takes milliseconds."""

ATTEMPTS = 3
PAUSE_SECONDS = 0.03
"""Before the second attempt, at random up to this; before each further one twice as long."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_fresh: bool = True


class SignedHttp:
    """POST requests to one endpoint. Belongs to the event loop that uses it first."""

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        region: str,
        credentials: Credentials | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self._base_path = url.path.rstrip("/")
        self._host = url.hostname or ""
        self._is_secure = url.scheme == "https"
        self._port = url.port or (443 if self._is_secure else 80)
        self._host_header = url.netloc
        self._service = service
        self._region = region
        self._credentials = credentials
        self._now = now
        self._idle: list[_Connection] = []
        self._key: tuple[str, str, bytes] = ("", "", b"")

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], *, within: float = READ_SECONDS
    ) -> Response:
        """POST to a path, of which each part is quoted already, for an answer `within` seconds.

        Raises EndpointConnectionError.
        """
        path = self._base_path + path
        request = b"".join(
            [f"POST {path} HTTP/1.1\r\n".encode(), self._header_lines(path, body, headers), b"\r\n", body]
        )
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                async with asyncio.timeout(within):
                    return await self._exchange(connection, request)
            except (OSError, EOFError, ValueError) as error:
                connection.writer.close()
                # One that was kept may have been closed meanwhile, and says so only now.
                if connection.is_fresh or isinstance(error, TimeoutError):
                    raise EndpointConnectionError(endpoint_url=self.endpoint) from error
            except BaseException:
                connection.writer.close()
                raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *outcome: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().writer.close()

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._tls if self._is_secure else None, limit=1024 * 1024
                )
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self.endpoint) from error
        return _Connection(reader, writer)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # The variable by which the other SDKs of AWS are told of further authorities.
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))

    async def _exchange(self, connection: _Connection, request: bytes) -> Response:
        connection.writer.write(request)
        head = await connection.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(connection.reader)
        else:
            body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            connection.writer.close()
        else:
            connection.is_fresh = False
            self._idle.append(connection)
        return Response(int(status_line.split(" ", 2)[1]), headers, body)

    def _header_lines(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The headers with their signature, version 4."""
        credentials = self._credentials.get_frozen_credentials() if self._credentials else None
        if credentials is None or not credentials.secret_key:
            raise NoCredentialsError
        moment = self._now().strftime("%Y%m%dT%H%M%SZ")
        day = moment[:8]
        signed = {"host": self._host_header, "x-amz-date": moment, **headers}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = sorted(signed)
        lines = "".join(f"{name}:{signed[name]}\n" for name in names)
        listed = ";".join(names)
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"POST\n{quote(path, safe='/-_.~')}\n\n{lines}\n{listed}\n{digest}"
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = self._signing_key(credentials.secret_key, day)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        return (
            "".join(f"{name}: {signed[name]}\r\n" for name in names)
            + f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            + f"SignedHeaders={listed}, Signature={signature}\r\ncontent-length: {len(body)}\r\n"
        ).encode()

    def _signing_key(self, secret: str, day: str) -> bytes:
        if self._key[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (secret, day, key)
        return self._key[2]


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return bytes(body)


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
