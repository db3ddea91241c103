"""Many turns in one warm process, timed without their AWS calls.

Usage: warm_turns COUNT < EVENT. Prints {"turn", "bare": {"p50", "p99"} in milliseconds, "calls" a turn} as JSON.
"""

import contextlib
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.httpsession import URLLib3Session

from benchmarks.processes.lambda_context import Context
from benchmarks.processes.percentiles import percentiles

WARM_UP = 20


class AwsCalls:
    """Counts the calls that go out through botocore and the seconds spent waiting for them."""

    def __init__(self) -> None:
        self.count = 0
        self.waited = 0.0
        send = URLLib3Session.send

        def timed_send(session: URLLib3Session, request: Any) -> Any:
            started = time.perf_counter()
            try:
                return send(session, request)
            finally:
                self.waited += time.perf_counter() - started
                self.count += 1

        setattr(URLLib3Session, "send", timed_send)  # noqa: B010  (a method is replaced on purpose)

    def milliseconds_beside(self, action: Callable[[], None]) -> float:
        """Milliseconds that `action` takes beside its waiting for AWS."""
        self.waited, started = 0.0, time.perf_counter()
        action()
        return (time.perf_counter() - started - self.waited) * 1000


def main(count: int, event: dict[str, Any]) -> None:
    """Time `count` turns and as many bare `Converse` calls."""
    aws = AwsCalls()
    handler = importlib.import_module("parley.functions.chat").handler
    client = boto3.client("bedrock-runtime")

    def turn() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = handler(event, Context())
        if answer["statusCode"] >= 400:
            sys.exit(f"chat answered {answer['statusCode']}: {answer['body']}")

    def bare() -> None:
        hello = [{"role": "user", "content": [{"text": "Hello"}]}]
        client.converse(modelId="us.amazon.nova-2-lite-v1:0", messages=hello)  # type: ignore[arg-type]  # plain dicts

    for _ in range(WARM_UP):
        turn()
        bare()
    aws.count = 0
    turns = [aws.milliseconds_beside(turn) for _ in range(count)]
    calls = aws.count / count
    bares = [aws.milliseconds_beside(bare) for _ in range(count)]
    print(json.dumps({"turn": percentiles(turns), "bare": percentiles(bares), "calls": calls}))


main(int(sys.argv[1]), json.load(sys.stdin))
