"""The calls of counters: what goes out, what comes back, and an end to every wait."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from parley.aws.quick_dynamodb import QuickDynamoDb
from parley.aws.signed_http import SignedHttp
from parley.aws.usage_table import UsageTable


class Server(http.server.ThreadingHTTPServer):
    """Counts, as the table would; or fails, or says nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.count = 0
        self.status = 200
        self.error = "ThrottlingException"
        self.silent_seconds = 0.0
        self.requests: list[tuple[str, Any]] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Nobody reads an answer that comes too late."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append((self.headers["x-amz-target"], request))
            self.server.count += 1
            answer: Any = {"Attributes": {"used": {"N": str(self.server.count)}}}
        time.sleep(self.server.silent_seconds)
        if self.server.status != 200:
            answer = {"__type": f"com.amazonaws.dynamodb#{self.server.error}"}
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client(port: int, seconds: float = 30.0) -> QuickDynamoDb:
    endpoint = f"http://127.0.0.1:{port}"
    return QuickDynamoDb(
        lambda: SignedHttp(endpoint, service="dynamodb", region="us-east-1", credentials=Credentials("key", "secret")),
        seconds=seconds,
    )


def test_a_table_counts_by_it(server: Server) -> None:
    table = UsageTable("usage", client(server.server_port))
    assert [table.count_request("ada#requests", "minute") for _ in range(3)] == [1, 2, 3]
    target, request = server.requests[0]
    assert target == "DynamoDB_20120810.UpdateItem"
    assert request["Key"] == {"pk": {"S": "ada#requests"}, "sk": {"S": "minute"}}
    assert request["UpdateExpression"].startswith("ADD ")


def test_calls_of_several_threads_run_side_by_side(server: Server) -> None:
    quick = client(server.server_port)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: quick.update_item(TableName="usage"), range(20)))
    assert sorted(int(answer["Attributes"]["used"]["N"]) for answer in answers) == list(range(1, 21))


def test_an_error_is_botocores_and_is_not_tried_again(server: Server) -> None:
    server.status = 400
    with pytest.raises(ClientError) as failed:
        client(server.server_port).batch_get_item(RequestItems={})
    assert failed.value.response["Error"]["Code"] == "ThrottlingException"
    assert len(server.requests) == 1


def test_a_silent_table_is_waited_for_no_longer_than_that(server: Server) -> None:
    server.silent_seconds = 2.0
    with pytest.raises(ReadTimeoutError):
        client(server.server_port, seconds=0.1).update_item(TableName="usage")


def test_nobody_there_is_an_error_at_once(server: Server) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(EndpointConnectionError):
        client(port).update_item(TableName="usage")
