"""How many people can ask at the same time: WebSocket sessions against the running sandbox, step by step."""

import asyncio
import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import httpx
import websockets

from benchmarks.report import Measurement, measurement
from sandbox.demo_user import sign_in
from sandbox.state import SandboxError, State

QUESTION = "How long is a ticket valid?"
ANSWER_WITHIN = 60.0
"""Seconds that one session waits for its answer before it counts as lost."""


@dataclass
class Outcome:
    """What `sessions` simultaneous sessions saw: seconds to each full answer, and failures by their first cause."""

    sessions: int
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def p50(self) -> float:
        """Median seconds to a full answer."""
        return median(self.seconds)

    @property
    def p99(self) -> float:
        """The 99th percentile of the seconds to a full answer."""
        return quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else self.seconds[0]


async def one_session(addresses: dict[str, Any], http: httpx.AsyncClient, outcome: Outcome) -> None:
    """Connect with a ticket of its own, ask once, and keep the time to the whole answer or the reason it never came."""
    # A request id that was used before would be answered from the store.
    request_id = str(uuid.uuid4())
    try:
        ticket = (await http.post("/tickets", json={})).raise_for_status().json()["ticket"]
        async with (
            asyncio.timeout(ANSWER_WITHIN),
            websockets.connect(f"{addresses['websocket_url']}?ticket={ticket}", open_timeout=ANSWER_WITHIN) as socket,
        ):
            started = time.perf_counter()
            await socket.send(json.dumps({"action": "text", "message": QUESTION, "request_id": request_id}))
            async for frame in socket:
                message = json.loads(frame)
                if message.get("request_id", request_id) != request_id:
                    outcome.failures["an answer of another session"] += 1
                    return
                if message["type"] == "error":
                    outcome.failures[message["code"]] += 1
                    return
                if message["type"] == "message.done":
                    outcome.seconds.append(time.perf_counter() - started)
                    return
            outcome.failures["connection closed"] += 1
    except httpx.HTTPStatusError as error:
        outcome.failures[f"HTTP {error.response.status_code} for a ticket"] += 1
    except TimeoutError:
        outcome.failures["no answer in time"] += 1
    except (OSError, httpx.HTTPError, websockets.WebSocketException) as error:
        outcome.failures[type(error).__name__] += 1


async def step(sessions: int, addresses: dict[str, Any], token: str) -> Outcome:
    """`sessions` sessions at once, all begun in the same moment."""
    outcome = Outcome(sessions)
    limits = httpx.Limits(max_connections=sessions)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=addresses["http_url"], headers=headers, limits=limits, timeout=ANSWER_WITHIN
    ) as http:
        await asyncio.gather(*(one_session(addresses, http, outcome) for _ in range(sessions)))
    return outcome


def measure(steps: list[int]) -> dict[str, Measurement]:
    """Measure each step until one fails; the baseline is one session alone, warm.

    A step that failed is the last: its note says how many sessions went without an answer and what broke first.
    """
    try:
        addresses = State.locate().outputs()
    except SandboxError as error:
        raise SystemExit(str(error)) from error
    token = sign_in(addresses, addresses["username"], addresses["password"])
    asyncio.run(step(1, addresses, token))
    alone = asyncio.run(step(1, addresses, token))
    if not alone.seconds:
        raise SystemExit(f"One session alone got no answer: {dict(alone.failures)}.")
    measured: dict[str, Measurement] = {}
    for sessions in steps:
        outcome = asyncio.run(step(sessions, addresses, token))
        failures = ", ".join(f"{count} x {cause}" for cause, count in outcome.failures.most_common())
        note = f"p99 {outcome.p99:.2f} s" if outcome.seconds else "no session was answered"
        measured[f"{sessions} sessions"] = measurement(
            outcome.p50 if outcome.seconds else ANSWER_WITHIN,
            "s",
            baseline=alone.p50,
            note=f"{note}; {failures or 'none lost, none crossed'}",
        )
        if outcome.failures:
            break
    return measured
