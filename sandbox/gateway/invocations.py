"""Lambda's side of the gateway: how many invocations run at once, and the queue of asynchronous ones.

MiniStack starts one more process for every concurrent invocation and drops an asynchronous one that finds no room. A
hundred sessions would start hundreds of processes on a laptop. Here at most `concurrency` invocations of one function
run at once; others wait for their turn, and asynchronous ones wait as long as their event age allows, as on AWS. A
function that may run for many minutes, such as the worker of a voice session, mostly waits itself, and no call may wait
until another has ended: these share one larger limit. And a function that a client still waits for after `WAITS`
seconds waits itself, as the route that starts a call waits for its worker: its place goes to the next, up to `WAITING`
times.
"""

import asyncio
import logging
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.gateway.aws import Aws, Invocation, Unanswered

logger = logging.getLogger(__name__)

# Lambda's own limit on a function's run time, in seconds.
LONGEST_RUN = 900.0
# A function with at least this time limit (in seconds) is one that accompanies something, such as a call.
LONG_RUN = 600.0
# As many of these run at once: each is a process of about 100 MB.
LONG_RUNNING = 100
# A request that a client waits for and that takes longer (in seconds) is waiting itself.
WAITS = 1.5
# So many of them for each function beside those that hold a place: each is one more process.
WAITING = 16
# MiniStack ends a function at its time limit and says so: this much later nothing comes any more.
GRACE = 30.0
# The payload limits of Invoke, in bytes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SYNCHRONOUS_PAYLOAD = 6 * 1024 * 1024
ASYNCHRONOUS_PAYLOAD = 1024 * 1024


@dataclass(frozen=True)
class EventPolicy:
    """What happens to an asynchronous invocation that fails."""

    retries: int = 2
    max_age: float = 21_600.0


class Functions:
    """Invokes functions, `concurrency` at once for each of them; the rest wait."""

    def __init__(
        self, aws: Aws, *, concurrency: int | None = None, retry_delays: tuple[float, ...] = (60.0, 120.0)
    ) -> None:
        self._aws = aws
        # Each slot is a process that starts first: the more of them a burst fills, the longer its first answer takes.
        limit = concurrency or max(4, 2 * (os.cpu_count() or 1))
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limit))
        self._waiting: Counter[str] = Counter()
        self._long_running = asyncio.Semaphore(LONG_RUNNING)
        self._time_limits: dict[str, float] = {}
        self._retry_delays = retry_delays
        self._queued: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def slot(self, function: str, *, waits: float | None = None) -> AsyncIterator[None]:
        """Hold one of the function's execution slots; after `waits` seconds it may be another's as well."""
        is_long = await self._time_limit(function) >= LONG_RUN
        place = self._long_running if is_long else self._slots[function]
        await place.acquire()
        lent = False

        def lend() -> None:
            nonlocal lent
            if self._waiting[function] < WAITING:
                self._waiting[function] += 1
                place.release()
                lent = True

        timer = None if waits is None else asyncio.get_running_loop().call_later(waits, lend)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            if lent:
                self._waiting[function] -= 1
            else:
                place.release()

    async def invoke(
        self, function: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Invocation:
        """Invoke and wait. Raises `Unanswered`, and `TimeoutError` after `timeout` seconds, the wait for a slot
        included.
        """
        async with asyncio.timeout(timeout), self.slot(function, waits=WAITS):
            return await self._aws.invoke(function, payload, timeout=timeout, headers=headers)

    def enqueue(self, function: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Accept an asynchronous invocation; it runs when a slot is free."""
        task = asyncio.create_task(self._run_queued(function, payload, dict(headers or {})))
        self._queued.add(task)
        task.add_done_callback(self._queued.discard)

    async def close(self) -> None:
        """Drop what still waits in the queue."""
        for task in self._queued:
            task.cancel()
        await asyncio.gather(*self._queued, return_exceptions=True)

    async def _run_queued(self, function: str, payload: bytes, headers: Mapping[str, str]) -> None:
        accepted = time.monotonic()
        policy = await self._policy(function)
        failures = 0
        while True:
            async with self.slot(function):
                if time.monotonic() - accepted > policy.max_age:
                    logger.warning(
                        "%s: an asynchronous event of more than %.0f s was dropped", function, policy.max_age
                    )
                    return
                try:
                    result = await self._aws.invoke(function, payload, timeout=LONGEST_RUN + GRACE, headers=headers)
                except Unanswered as error:
                    logger.warning("%s: asynchronous invocation failed: %s", function, error)
                    return
            if not result.failed:
                return
            if result.status == 429:
                # A throttled event stays in the queue and uses up none of its retries.
                await asyncio.sleep(1)
                continue
            failures += 1
            if failures > policy.retries:
                logger.warning(
                    "%s: gave up an asynchronous event: %s", function, result.payload[:500].decode(errors="replace")
                )
                return
            await asyncio.sleep(self._retry_delays[min(failures, len(self._retry_delays)) - 1])

    async def _time_limit(self, function: str) -> float:
        """The function's own, in seconds: read once, because a new deployment of a function seldom changes it."""
        if function not in self._time_limits:
            try:
                configuration = await self._aws.get("lambda", f"/2015-03-31/functions/{function}/configuration")
            except httpx.HTTPError:
                return 0.0
            self._time_limits[function] = float(configuration.get("Timeout", 3))
        return self._time_limits[function]

    async def _policy(self, function: str) -> EventPolicy:
        try:
            config = await self._aws.get("lambda", f"/2019-09-25/functions/{function}/event-invoke-config")
        except httpx.HTTPError:
            return EventPolicy()
        return EventPolicy(
            retries=int(config.get("MaximumRetryAttempts", EventPolicy.retries)),
            max_age=float(config.get("MaximumEventAgeInSeconds", EventPolicy.max_age)),
        )


def lambda_routes(aws: Aws, functions: Functions) -> list[Route]:
    """The Lambda endpoint that the deployed functions call: Invoke is queued here, the rest goes to MiniStack."""

    async def invoke(request: Request) -> Response:
        function = request.path_params["function"].rpartition(":function:")[2].partition(":")[0]
        payload = await request.body()
        passed_on = {
            name: value for name, value in request.headers.items() if name.startswith(("x-amz-client", "x-amzn-trace"))
        }
        if request.headers.get("x-amz-invocation-type") == "Event":
            if len(payload) > ASYNCHRONOUS_PAYLOAD:
                return _too_large(len(payload), ASYNCHRONOUS_PAYLOAD)
            functions.enqueue(function, payload, passed_on)
            return Response(status_code=202, headers={"x-amzn-requestid": str(uuid.uuid4())})
        if len(payload) > SYNCHRONOUS_PAYLOAD:
            return _too_large(len(payload), SYNCHRONOUS_PAYLOAD)
        result = await functions.invoke(function, payload, timeout=LONGEST_RUN, headers=passed_on)
        headers = {"content-type": "application/json", "x-amzn-requestid": str(uuid.uuid4())}
        if result.error:
            headers["x-amz-function-error"] = result.error
        return Response(result.payload, result.status, headers)

    async def pass_on(request: Request) -> Response:
        response = await aws.client.request(
            request.method,
            "/" + request.path_params["path"],
            params=request.query_params,
            headers={name: value for name, value in request.headers.items() if name not in ("host", "content-length")},
            content=await request.body(),
        )
        return Response(response.content, response.status_code, {"content-type": "application/json"})

    return [
        Route("/@aws/lambda/2015-03-31/functions/{function}/invocations", invoke, methods=["POST"]),
        Route("/@aws/lambda/{path:path}", pass_on, methods=["GET", "POST", "PUT", "DELETE"]),
    ]


def _too_large(size: int, limit: int) -> Response:
    return Response(
        f'{{"Type":"User","message":"{size} byte payload is too large for the limit of {limit} bytes"}}',
        413,
        {"content-type": "application/json", "x-amzn-errortype": "RequestTooLargeException"},
    )
