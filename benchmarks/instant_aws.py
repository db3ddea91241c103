"""AWS endpoints that answer at once, so that only the code in front of them is measured.

Run as `python -m benchmarks.instant_aws`: binds a free loopback port, prints it, and serves until its standard input
closes.
"""

import base64
import json
import socket
import subprocess
import sys
import threading
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

DATA_KEY = bytes(range(32))
WRAPPED_KEY = b"wrapped-data-key"
KEY_ARN = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"

DYNAMODB: dict[str, dict[str, Any]] = {
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
    "UpdateItem": {"Attributes": {"used": {"N": "1"}, "tokens": {"N": "1"}}},
    "BatchGetItem": {"Responses": {"usage": []}},
}
KMS: dict[str, dict[str, Any]] = {
    "GenerateDataKey": {
        "Plaintext": base64.b64encode(DATA_KEY).decode(),
        "CiphertextBlob": base64.b64encode(WRAPPED_KEY).decode(),
        "KeyId": KEY_ARN,
    },
    "Encrypt": {"CiphertextBlob": base64.b64encode(WRAPPED_KEY).decode(), "KeyId": KEY_ARN},
    "Decrypt": {"Plaintext": base64.b64encode(DATA_KEY).decode(), "KeyId": KEY_ARN},
}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "An answer."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 10, "outputTokens": 3, "totalTokens": 13},
    "metrics": {"latencyMs": 1},
}


async def answer(request: Request) -> Response:
    """The shortest valid answer to whatever AWS call this is."""
    await request.body()
    service, _, operation = request.headers.get("x-amz-target", "").partition(".")
    if service.startswith("DynamoDB"):
        return JSONResponse(DYNAMODB.get(operation, {}), media_type="application/x-amz-json-1.0")
    if service == "TrentService":
        return JSONResponse(KMS[operation], media_type="application/x-amz-json-1.1")
    if request.url.path.endswith("/converse"):
        return JSONResponse(CONVERSE)
    if request.url.path.endswith("/invocations"):
        return JSONResponse({"passages": []})
    return Response(b"<ok/>", media_type="application/xml")


class InstantAws:
    """The endpoints as a child process: `url` is where they listen; `close()` ends them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.instant_aws"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        port = self._process.stdout.readline().strip() if self._process.stdout else ""
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> "InstantAws":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.communicate(timeout=10)


def serve() -> None:
    """Serve on a free loopback port until standard input closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PUT", "POST", "HEAD", "DELETE"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))

    def stop_when_the_parent_is_gone() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_when_the_parent_is_gone, daemon=True).start()
    print(json.dumps(listener.getsockname()[1]), flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    serve()
