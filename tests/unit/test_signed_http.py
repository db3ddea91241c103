"""Signed requests on the event loop, against a server on this machine and against botocore's own signature."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from parley.aws.http import Response
from parley.aws.signed_http import DynamoDbCalls, SignedHttp

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@dataclass
class Server:
    """Answers each request with the next of its answers, or closes the connection where that is None."""

    answers: list[bytes | None]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    piece: int = 1_000_000
    """Bytes of an answer that are sent at once."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self.requests.append((line, headers, await reader.readexactly(int(headers["content-length"]))))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for begin in range(0, len(answer), self.piece):
                    writer.write(answer[begin : begin + self.piece])
                    await asyncio.sleep(0.001 if begin + self.piece < len(answer) else 0)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def ok(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def serve(
    answers: list[bytes | None], use: Callable[[SignedHttp], Awaitable[Any]], *, piece: int = 1_000_000, **changes: Any
) -> tuple[Any, Server]:
    """What comes of using a server that gives these answers."""

    async def main() -> tuple[Any, Server]:
        server = Server(answers, piece=piece)
        listening = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        settings: dict[str, Any] = {
            "service": "dynamodb",
            "region": "eu-west-1",
            "credentials": Credentials("AK", "SK", "TOKEN"),
        }
        try:
            async with SignedHttp(f"http://127.0.0.1:{port}/live", now=NOW.timestamp, **settings | changes) as http:
                return await use(http), server
        finally:
            listening.close()

    return asyncio.run(main())


def test_requests_go_over_one_kept_connection() -> None:
    async def use(http: SignedHttp) -> list[Response]:
        return [await http.post("/", b"body", {"x-amz-target": "T"}) for _ in range(3)]

    responses, server = serve([ok(b"one"), ok(b"two"), ok(b"three")], use)
    assert [response.body for response in responses] == [b"one", b"two", b"three"]
    assert server.connections == 1
    assert [body for _, _, body in server.requests] == [b"body"] * 3


@pytest.mark.parametrize("path", ["/", "/@connections/dGVzdA%3D%3D", "/a/b~c-d_e.f"])
@pytest.mark.parametrize("token", ["TOKEN", None])
def test_the_signature_is_botocores(path: str, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials("AK", "SK", token)

    async def use(http: SignedHttp) -> str:
        await http.post(path, b"a body", {"content-type": "application/json", "x-amz-target": "T.Op"})
        return http.endpoint

    endpoint, server = serve([ok()], use, credentials=credentials, service="execute-api")
    (line, headers, body) = server.requests[0]
    request = AWSRequest(
        "POST",
        endpoint + path,
        data=body,
        headers={name: headers[name] for name in ("content-type", "x-amz-target")},
    )
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    auth.SigV4Auth(credentials, "execute-api", "eu-west-1").add_auth(request)
    assert headers["authorization"] == request.headers["Authorization"]
    assert line == f"POST /live{path} HTTP/1.1"
    assert headers.get("x-amz-security-token") == token


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async def use(http: SignedHttp) -> list[int]:
        statuses = [(await http.post("/", b"", {})).status]
        await asyncio.sleep(0.05)
        return [*statuses, (await http.post("/", b"", {})).status]

    statuses, server = serve([ok(), None, ok()], use)
    assert statuses == [200, 200]
    assert server.connections == 2


def test_a_server_that_closes_a_new_connection_is_no_endpoint() -> None:
    async def use(http: SignedHttp) -> None:
        with pytest.raises(EndpointConnectionError):
            await http.post("/", b"", {})

    serve([None], use)


def test_nobody_at_the_address_is_no_endpoint() -> None:
    async def main() -> None:
        http = SignedHttp("http://127.0.0.1:9", service="s", region="r", credentials=Credentials("AK", "SK"))
        with pytest.raises(EndpointConnectionError):
            await http.post("/", b"", {})

    asyncio.run(main())


def test_an_answer_that_does_not_come_is_given_up() -> None:
    async def use(http: SignedHttp) -> None:
        with pytest.raises(EndpointConnectionError):
            await http.post("/", b"", {}, within=0.05)

    serve([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", ok()], use)


def test_answers_in_chunks_and_connections_that_are_not_kept() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n"

    async def use(http: SignedHttp) -> list[bytes]:
        return [(await http.post("/", b"", {})).body for _ in range(3)]

    bodies, server = serve([chunked, ok(b"bye", "Connection: close"), ok(b"again")], use)
    assert bodies == [b"wikipedia", b"bye", b"again"]
    assert server.connections == 2


@pytest.mark.parametrize("piece", [1, 7, 40])
def test_answers_come_in_any_pieces(piece: int) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nA: b\r\n\r\n"

    async def use(http: SignedHttp) -> list[bytes]:
        return [(await http.post("/", b"", {})).body for _ in range(3)]

    bodies, server = serve([ok(b"one"), chunked, ok(b"three")], use, piece=piece)
    assert bodies == [b"one", b"wikipedia", b"three"]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"what?\r\n\r\n",
        b"HTTP/1.1 fine OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: long\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nwiki\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    async def use(http: SignedHttp) -> None:
        with pytest.raises(EndpointConnectionError):
            await http.post("/", b"", {}, within=5)

    _, server = serve([answer, ok()], use)
    assert len(server.requests) == 1


def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    async def use(http: SignedHttp) -> list[bytes]:
        bodies = [(await http.post("/", b"", {})).body]
        await asyncio.sleep(0.05)
        return [*bodies, (await http.post("/", b"", {})).body]

    (first, second), _ = serve([ok(b"one") + ok(b"unasked"), ok(b"two"), ok(b"two")], use, piece=len(ok(b"one")))
    assert (first, second) == (b"one", b"two")


def test_without_credentials_nothing_is_sent() -> None:
    async def use(http: SignedHttp) -> None:
        with pytest.raises(NoCredentialsError):
            await http.post("/", b"", {})

    _, server = serve([ok()], use, credentials=None)
    assert server.requests == []


def reading(answers: list[bytes | None]) -> tuple[Any, Server]:
    async def use(http: SignedHttp) -> Any:
        return await DynamoDbCalls(http).call("GetItem", {"TableName": "t"})

    return serve(answers, use)


def failure(kind: str, status: str = "400 Bad Request") -> bytes:
    return ok(b'{"__type": "com.amazonaws.dynamodb.v20120810#%s"}' % kind.encode(), status=status)


def test_a_read_is_dynamodbs_json() -> None:
    found, server = reading([ok(b'{"Item": {"seq": {"N": "1"}}}')])
    assert found == {"Item": {"seq": {"N": "1"}}}
    _, headers, body = server.requests[0]
    assert headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert body == b'{"TableName":"t"}'


@pytest.mark.parametrize(
    "trouble",
    [
        failure("ThrottlingException"),
        failure("ProvisionedThroughputExceededException"),
        ok(b"", status="503 Service Unavailable"),
        None,
    ],
)
def test_a_read_is_tried_again_when_the_service_has_trouble(trouble: bytes | None) -> None:
    found, server = reading([trouble, ok(b'{"a": 1}')])
    assert found == {"a": 1}
    assert len(server.requests) == 2


def test_trouble_that_stays_is_raised_as_botocore_does() -> None:
    with pytest.raises(ClientError) as raised:
        reading([failure("ThrottlingException")] * 3)
    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    with pytest.raises(EndpointConnectionError):
        reading([None, None, None])


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (failure("ResourceNotFoundException"), "ResourceNotFoundException"),
        (ok(b"", "x-amzn-ErrorType: AccessDeniedException:http://x", status="403 Forbidden"), "AccessDeniedException"),
        (ok(b"not JSON", status="404 Not Found"), "404"),
    ],
)
def test_a_mistake_is_not_sent_twice(answer: bytes, code: str) -> None:
    with pytest.raises(ClientError) as raised:
        reading([answer, ok()])
    assert raised.value.response["Error"]["Code"] == code
