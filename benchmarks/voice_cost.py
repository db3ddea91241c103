"""What a minute of a call costs beside the models, and how many calls an account's default quotas allow.

Derived, not billed: the requests that Parley's own constants make in a minute, and their sizes, times the prices of
`operations.prices`.
"""

import asyncio
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parley.speech import lease, playback, session
from parley.speech.audio import FRAME_SECONDS, input_bytes
from parley.speech.frames import Follower
from parley.speech.relay import AudioFrame
from parley_client.outgoing import audio_message
from parley_client.timing import Timing

from benchmarks.report import Measurement, measurement
from operations import prices
from operations.prices import CONNECTION_MINUTE, GB_SECOND, INVOCATION, MESSAGE, READ_UNIT, WRITE_UNIT, Price
from operations.quotas import API_CONNECTIONS, API_RATE, LAMBDA_CONCURRENCY, SPEECH_STREAMS, TABLE_WRITES
from stacks.sizes import Sizes

LIMIT_USD = 0.003
"""What the transport of a minute may cost."""

ASSISTANT_SHARE = 0.5
"""How much of the minute the assistant speaks. The user's microphone is open all the time, also while it is silent."""

TURNS = 4
"""Turns in a minute: each some 15 s of question and answer."""

SPEECH_TOKENS = 25
"""Of a second, an assumption: Amazon documents no number. Each turn's usage says what it really was."""

FRAME_UNITS = frozenset({"write units of audio", "read units"})
"""Lines of the table of audio frames, which is paid for by the request in every environment."""

_SESSION_ITEM_UNITS = 2
"""Writes to the session's item: 1 KB of fields, and while a turn is being spoken its encrypted text."""
_STORING_UNITS = 20
"""A turn's transaction, at twice the units: two messages, the conversation, the check of the session's epoch."""
_FUNCTION_LOG_BYTES = 500
"""START, END and REPORT of an invocation, with the 26 bytes that CloudWatch adds to each line."""
ROUTE_SECONDS = 0.02
"""A warm invocation of the `websocket` function that makes one or two calls to DynamoDB."""
_SMALL_MESSAGES_A_TURN = 10
"""Transcripts of both, a tool's two notices, the answer and its usage."""
ACCESS_LOG_BYTES = 209
"""A line of the WebSocket API's access log (`WEBSOCKET_FIELDS` of the construct, with a frame's values), and 26 B."""


@dataclass(frozen=True)
class Line:
    """One line of the bill: what it is, and how many of it a minute needs."""

    name: str
    count: float
    price: Price

    @property
    def usd(self) -> float:
        """What it costs."""
        return self.count * self.price.usd


def frame_message_bytes() -> int:
    """A frame as it is sent: JSON with the audio in base64."""
    return len(json.dumps(audio_message(100_000, bytes(input_bytes(FRAME_SECONDS)))))


def frame_item_bytes() -> int:
    """A frame as DynamoDB counts its item: names, strings and binaries by the byte, numbers by half their digits."""
    attributes = {
        "session_id": 32,
        "seq": math.ceil(6 / 2) + 1,
        "data": input_bytes(FRAME_SECONDS),
        "connection_id": 16,
        "received_at": math.ceil(13 / 2) + 1,
        "expires_at": math.ceil(10 / 2) + 1,
    }
    return sum(len(name) + size for name, size in attributes.items())


def reads_a_frame(*, frames: int = 2000, jitter: float = 0.01, read_seconds: float = 0.005) -> float:
    """How many frames the worker's follower asks for, for each that comes, when they arrive with a network's jitter."""
    clock = _Clock()
    generator = random.Random(1)  # noqa: S311 - repeatable, no secret
    due = [number * FRAME_SECONDS + abs(generator.gauss(0, jitter)) for number in range(frames)]
    relay = _Relay(clock, due, read_seconds)

    async def follow() -> None:
        follower = Follower(relay, clock, next_seq=1)
        while follower.next_seq <= frames:
            await follower.read()

    asyncio.run(follow())
    return relay.asked / frames


def lines(*, memory_mb: int, share: float = ASSISTANT_SHARE) -> list[Line]:
    """A minute's bill, without the models."""
    timing = Timing()
    frames = 60 / FRAME_SECONDS
    pings, reports = 60 / timing.ping_every, 60 * share / timing.report_every
    voice, acks = 60 * share / 0.4, frames / session.ACK_FRAMES
    small = TURNS * _SMALL_MESSAGES_A_TURN
    renewals, polls = 60 / lease.RENEW_SECONDS, 60 / session.POLL_SECONDS
    routed = pings + reports
    frame_units = math.ceil(frame_item_bytes() / 1024)
    voice_bytes = voice * (playback.CHUNK_BYTES * 4 / 3 + 60)
    return [
        Line("messages of audio in", frames, MESSAGE),
        Line("other messages", pings + reports + voice + acks + small, MESSAGE),
        Line("connection minutes", 1, CONNECTION_MINUTE),
        Line("write units of audio", frames * frame_units, WRITE_UNIT),
        Line(
            "other write units",
            (2 * renewals + reports) * _SESSION_ITEM_UNITS + TURNS * (_STORING_UNITS + _SESSION_ITEM_UNITS),
            WRITE_UNIT,
        ),
        Line("read units", frames * reads_a_frame() + polls + pings, READ_UNIT),
        Line("GB-seconds of the worker", 60 * memory_mb / 1024, GB_SECOND),
        Line("GB-seconds of the routes", routed * ROUTE_SECONDS * Sizes().function_memory_mb / 1024, GB_SECOND),
        Line("invocations", routed, INVOCATION),
        Line("GB of logs", ((frames + routed) * ACCESS_LOG_BYTES + routed * _FUNCTION_LOG_BYTES) / 1e9, prices.LOG_GB),
        Line("GB to the client", (voice_bytes + acks * 40 + small * 300) / 1e9, prices.OUT_GB),
    ]


def model_usd(*, share: float = ASSISTANT_SHARE) -> float:
    """What Nova 2 Sonic's speech costs in the same minute, without the text of prompt and history."""
    return 60 * SPEECH_TOKENS * (prices.SPEECH_TOKEN_IN.usd + share * prices.SPEECH_TOKEN_OUT.usd)


@dataclass(frozen=True)
class Quota:
    """A default quota, and how many calls at once it allows."""

    name: str
    calls: int
    source: str


def quotas(*, memory_mb: int, voice_calls: int, share: float = ASSISTANT_SHARE) -> Sequence[Quota]:
    """What each default quota of an account allows, fewest first."""
    bill = {line.name: line.count for line in lines(memory_mb=memory_mb, share=share)}
    messages = (bill["messages of audio in"] + bill["other messages"]) / 60
    found = [
        Quota(
            f"concurrent streams of Nova Sonic, {SPEECH_STREAMS.value:g}",
            round(SPEECH_STREAMS.value),
            f"{SPEECH_STREAMS.source}; read second-hand: look into Service Quotas",
        ),
        Quota(
            "concurrent Lambda executions, 1,000 (10 in a new account)",
            # One worker; the routes' short invocations take less than a hundredth of it.
            round(LAMBDA_CONCURRENCY.value / (1 + bill["invocations"] / 60 * ROUTE_SECONDS)),
            LAMBDA_CONCURRENCY.source,
        ),
        Quota(
            "API Gateway, 10,000 requests a second, posts to connections included",
            int(API_RATE.value / messages),
            API_RATE.source,
        ),
        Quota(
            "DynamoDB, 40,000 write units a second in a table",
            int(TABLE_WRITES.value / (bill["write units of audio"] / 60)),
            TABLE_WRITES.source,
        ),
        Quota(
            "API Gateway, 500 new connections a second: calls of ten minutes",
            round(API_CONNECTIONS.value * 600),
            API_CONNECTIONS.source,
        ),
        Quota("this environment's own sizes.voiceCalls", voice_calls, "docs/configuration.md"),
    ]
    return sorted(found, key=lambda quota: quota.calls)


def measure(*, memory_mb: int | None = None) -> Mapping[str, Measurement]:
    """The bill of a minute beside its limit and the model's price; and the calls that quotas allow."""
    memory = memory_mb or Sizes().voice_memory_mb
    bill = lines(memory_mb=memory)
    total = sum(line.usd for line in bill)
    measured = {f"cost: {line.name}": _thousand(line.usd, f"{line.count:,.6g} a minute") for line in bill}
    measured["cost of transport"] = _thousand(
        total,
        f"{prices.READ}; frames of {frame_message_bytes():,} B sent, {frame_item_bytes():,} B stored; "
        f"the assistant speaks {ASSISTANT_SHARE:.0%} of it",
    )
    measured["cost of Nova 2 Sonic"] = _thousand(
        model_usd(), f"speech alone, at an assumed {SPEECH_TOKENS} tokens a second"
    )
    allowed = quotas(memory_mb=memory, voice_calls=Sizes().voice_calls)
    for quota in allowed:
        measured[f"calls: {quota.name}"] = measurement(
            quota.calls, "calls", baseline=allowed[0].calls, note=quota.source
        )
    return measured


def _thousand(usd: float, note: str) -> Measurement:
    return measurement(usd * 1000, "$ per 1,000 min", baseline=LIMIT_USD * 1000, note=note)


class _Clock:
    """Time that passes only where somebody sleeps: one task follows the frames."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)


class _Relay:
    def __init__(self, clock: _Clock, due: Sequence[float], read_seconds: float) -> None:
        self._clock = clock
        self._due = due
        self._read_seconds = read_seconds
        self.asked = 0

    async def read(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        self.asked += len(seqs)
        await self._clock.sleep(self._read_seconds)
        now, data = self._clock.now(), bytes(input_bytes(FRAME_SECONDS))
        return {
            seq: AudioFrame(seq, data, "connection", self._due[seq - 1])
            for seq in seqs
            if seq <= len(self._due) and self._due[seq - 1] <= now
        }
