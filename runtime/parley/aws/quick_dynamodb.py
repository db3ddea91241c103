"""The two DynamoDB calls that every request makes for its limits, at a tenth of what botocore takes for them.

botocore takes 1.4 ms of CPU for a call, and a turn makes four of these: more than all else that a turn does. They go
over connections of their own, from an event loop in a thread of its own, so that those of one request run side by side.
"""

import asyncio
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec
from botocore.exceptions import ReadTimeoutError

from parley.aws.signed_http import SignedHttp, client_error

SECONDS = 0.3
"""For an answer, which takes milliseconds. There is no second attempt: counters must not hold up what they count."""


class QuickDynamoDb:
    """`update_item` and `batch_get_item` as botocore's client has them. `http` gives what makes connections."""

    def __init__(self, http: Callable[[], SignedHttp], *, seconds: float = SECONDS) -> None:
        self._make = http
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="usage", daemon=True).start()

    def update_item(self, **request: Any) -> Any:
        """See botocore. Raises ClientError and BotoCoreError."""
        return self._call("UpdateItem", request)

    def batch_get_item(self, **request: Any) -> Any:
        """See botocore. Raises ClientError and BotoCoreError."""
        return self._call("BatchGetItem", request)

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(self._post(operation, request), self._loop).result()

    async def _post(self, operation: str, request: dict[str, Any]) -> Any:
        headers = {"x-amz-target": f"DynamoDB_20120810.{operation}", "content-type": "application/x-amz-json-1.0"}
        http = self._http
        try:
            # All of it: connecting, a second connection where a kept one was closed, and the answer.
            async with asyncio.timeout(self._seconds):
                response = await http.post("/", msgspec.json.encode(request), headers, within=2 * self._seconds)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=http.endpoint) from error
        if response.status != 200:
            raise client_error(response, operation)
        return msgspec.json.decode(response.body)

    @cached_property
    def _http(self) -> SignedHttp:
        return self._make()
