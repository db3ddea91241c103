"""Calls against the running sandbox, with a model that answers at once: how late Parley is, how many calls it holds.

Every frame carries a mark, by which the AI endpoint takes its turns and says when the frame arrived: one clock, since
everything runs on one machine.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import httpx
from parley_client import Audio, Ended, Interrupted, ParleyError, Problem, Reconnecting, Session

from benchmarks.report import Measurement, measurement
from benchmarks.voice_processes import Processes, Used
from operations.environment import LOCAL, OperationError, resolve
from operations.sign_in import as_demo_user
from sandbox.models.speech.cues import Cue, mark
from sandbox.state import SandboxError, State

FRAME_SECONDS, FRAME_BYTES = 0.09, 2_880

FIRST_AUDIO_MS, RELAY_MS, STOP_MS = 120.0, 50.0, 200.0
"""Medians of one call at most: from the last frame of an utterance to the answer's first audio; from a frame to the
engine; from speech during playback to the client's order to stop."""
CROWD_P99_MS, CPU_SECONDS, WORKER_MB, READY_SECONDS = 250.0, 2.0, 512.0, 5.0
"""Of many calls: the relay's 99th percentile, a frame's own 90 ms included; Parley's processor time for a minute of
speech; a worker's memory; from all of them starting at once to the last one's session.ready."""

TALK_FRAMES, LISTEN_FRAMES = 30, 45
"""An utterance, and the silence in which its answer is heard."""
ANSWER = "This is what there is to say about it, and it takes a few seconds to say all of it."
_SETTLE_SECONDS, _CATCH_UP_SECONDS, _START_SECONDS = 2.0, 15.0, 90.0


@dataclass
class Call:
    """One caller: speaks and listens in turns, and notes when everything happened."""

    number: int
    session: Session
    sent: dict[int, float] = field(default_factory=dict)
    """When each frame was said, as seconds since the epoch."""
    asked_at: float | None = None
    first_audio: list[float] = field(default_factory=list)
    """Seconds from the last frame of each utterance to the first audio of its answer."""
    broke_in_at: float | None = None
    stopped: list[float] = field(default_factory=list)
    """Seconds from speech during playback to the order to stop."""
    troubles: Counter[str] = field(default_factory=Counter)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Take what the session tells until it ends."""
        silenced: str | None = None
        async for event in self.session:
            now = time.time()
            match event:
                case Audio() if self.asked_at is not None and event.turn_id != silenced:
                    self.first_audio.append(now - self.asked_at)
                    self.asked_at = None
                    self.heard.set()
                case Interrupted():
                    silenced = event.turn_id
                    if self.broke_in_at is not None:
                        self.stopped.append(now - self.broke_in_at)
                        self.broke_in_at = None
                case Problem():
                    self.troubles[event.code] += 1
                case Reconnecting() if self.sent:
                    # Before, it is part of what it takes to be ready.
                    self.troubles["reconnection"] += 1
                case Ended() if event.reason != "ended":
                    self.troubles[f"ended: {event.reason}"] += 1

    async def say(self, frames: int, *, speech: bool) -> None:
        """So many frames at the pace of speech; `speech` begins with the first and ends with the last."""
        for position in range(frames):
            cue: Cue = ""
            if speech:
                cue = "begins" if position == 0 else "ends" if position == frames - 1 else ""
            await self._frame(cue)

    async def break_in(self) -> None:
        """Speak into the answer that is being heard."""
        self.broke_in_at = time.time() + FRAME_SECONDS
        await self.say(TALK_FRAMES, speech=True)

    async def _frame(self, cue: Cue) -> None:
        number = len(self.sent) + 1
        due = self._began + number * FRAME_SECONDS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        frame = mark(self.number, number, cue).ljust(FRAME_BYTES, b"\0")
        now = self.sent[number] = time.time()
        if cue == "begins" and self.broke_in_at is not None:
            self.broke_in_at = now
        if cue == "ends":
            self.asked_at = now
            self.heard.clear()
        await self.session.send_audio(frame)

    def begin(self) -> None:
        """The first frame is due now."""
        self._began = time.monotonic()
        self.begun.set()


@dataclass
class Outcome:
    """What a number of simultaneous calls saw."""

    calls: int
    ready: list[float] = field(default_factory=list)
    """Seconds until each call could begin, of all that started at once."""
    seconds: float = 0.0
    """From when the last caller began to when the first one stopped: so long all of them spoke."""
    spoken_seconds: float = 0.0
    """The speech of all calls in that time."""
    relay: list[float] = field(default_factory=list)
    first_audio: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    said: int = 0
    lost: int = 0
    reordered: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    used: Mapping[str, Used] = field(default_factory=dict)

    def take(self, call: Call, arrived: Sequence[tuple[int, float]]) -> None:
        """Compare what a call said with what the engine heard."""
        self.said += len(call.sent)
        self.first_audio += call.first_audio
        self.stopped += call.stopped
        self.troubles += call.troubles
        at: dict[int, float] = {}
        highest = 0
        for number, when in arrived:
            self.reordered += number <= highest
            highest = max(highest, number)
            at.setdefault(number, when)
        self.lost += len(call.sent.keys() - at.keys())
        self.relay += [at[number] - sent for number, sent in call.sent.items() if number in at]

    @property
    def broken(self) -> str | None:
        """The first promise that was not kept, if any."""
        if not self.relay:
            return "no frame reached the engine"
        if self.lost or self.reordered:
            return f"{self.lost} frames lost, {self.reordered} reordered"
        if self.troubles:
            return ", ".join(f"{count} x {trouble}" for trouble, count in self.troubles.most_common())
        if percentile(self.relay, 99) + FRAME_SECONDS > CROWD_P99_MS / 1000:
            return f"relay p99 above {CROWD_P99_MS:.0f} ms"
        return None

    @property
    def cpu_a_minute(self) -> float:
        """Processor seconds of Parley's own (workers and gateway) for a minute of speech."""
        own = self.used["workers"].cpu + self.used["gateway"].cpu
        return own / (self.spoken_seconds / 60)


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile of some values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


class Stage:
    """The running sandbox, its model told to answer at once."""

    def __init__(self) -> None:
        try:
            self._outputs = State.locate().outputs()
            self._environment = resolve(LOCAL)
        except (SandboxError, OperationError) as error:
            raise SystemExit(str(error)) from error
        self._who = as_demo_user(self._environment)
        self._http = httpx.AsyncClient(base_url=self._outputs["models_url"], trust_env=False, timeout=30)
        self.processes = Processes(self._outputs["pids"])

    @asynccontextmanager
    async def instant_model(self) -> AsyncIterator[None]:
        """While it lasts, Nova Sonic takes its turns from the marks and says ANSWER."""
        before = (await self._http.get("/_speech")).raise_for_status().json()["settings"]
        wanted = {"cues": True, "transcript": "What is there to say?", "answer": ANSWER}
        (await self._http.post("/_speech", json=wanted)).raise_for_status()
        try:
            yield
        finally:
            await self._http.post("/_speech", json={name: before[name] for name in wanted})
            await self._http.aclose()

    def session(self) -> Session:
        """A session of the demo user."""
        where = self._environment
        return Session(where.api_url, token=self._who.token, websocket_url=where.websocket_url, trust_env=False)

    async def calls(self, count: int, *, seconds: float, interrupt: bool = False) -> Outcome:
        """`count` calls at once for so long, all measured from when the last has begun."""
        outcome = Outcome(count)
        await self._http.delete("/_speech/arrivals")
        calls = [Call(number, self.session()) for number in range(1, count + 1)]
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await asyncio.gather(*(_enter(stack, call, outcome.ready) for call in calls))
            except (ParleyError, TimeoutError) as error:
                outcome.troubles[f"no session: {error or 'too slow'}"] += 1
                return outcome
            watching = [asyncio.create_task(call.watch()) for call in calls]
            await asyncio.sleep(_SETTLE_SECONDS)
            talking = [asyncio.create_task(_converse(call, seconds, interrupt=interrupt)) for call in calls]
            await asyncio.gather(*(call.begun.wait() for call in calls))
            self.processes.begin()
            started, said = time.monotonic(), sum(len(call.sent) for call in calls)
            await asyncio.wait(talking, return_when=asyncio.FIRST_COMPLETED)
            outcome.used, outcome.seconds = self.processes.used(), time.monotonic() - started
            outcome.spoken_seconds = (sum(len(call.sent) for call in calls) - said) * FRAME_SECONDS
            await asyncio.gather(*talking)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CATCH_UP_SECONDS):
                    while any(call.session.unacknowledged for call in calls):
                        await asyncio.sleep(0.1)
            arrived: dict[str, Any] = (await self._http.get("/_speech/arrivals")).raise_for_status().json()
        for call, watch in zip(calls, watching, strict=True):
            with contextlib.suppress(ParleyError):
                await watch
            outcome.take(call, arrived.get(str(call.number), []))
        return outcome


async def _converse(call: Call, seconds: float, *, interrupt: bool) -> None:
    # Callers do not speak in step.
    await asyncio.sleep(call.number * 0.37 % ((TALK_FRAMES + LISTEN_FRAMES) * FRAME_SECONDS))
    call.begin()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await call.say(TALK_FRAMES, speech=True)
        if interrupt:
            await call.say(round(1.5 / FRAME_SECONDS), speech=False)
            await call.break_in()
        await call.say(LISTEN_FRAMES, speech=False)


async def _enter(stack: contextlib.AsyncExitStack, call: Call, ready: list[float]) -> None:
    started = time.monotonic()
    await stack.enter_async_context(call.session)
    ready.append(time.monotonic() - started)


def latency(*, seconds: float) -> Mapping[str, Measurement]:
    """One call that is interrupted in each answer: the three medians beside their limits."""

    async def run() -> Outcome:
        stage = Stage()
        async with stage.instant_model():
            return await stage.calls(1, seconds=seconds, interrupt=True)

    outcome = asyncio.run(run())
    if not (outcome.first_audio and outcome.stopped and outcome.relay):
        raise SystemExit(f"The call got no answer to measure: {dict(outcome.troubles) or outcome.broken}.")

    def row(values: Sequence[float], limit: float) -> Measurement:
        p90, p99 = (percentile(values, percent) * 1000 for percent in (90, 99))
        note = f"p90 {p90:.0f} ms, p99 {p99:.0f} ms, {len(values)} times"
        return measurement(median(values) * 1000, "ms", baseline=limit, note=note)

    return {
        "last frame of an utterance to first audio, p50": row(outcome.first_audio, FIRST_AUDIO_MS),
        "frame to the engine, p50": row(outcome.relay, RELAY_MS),
        "speech during playback to playback stopped, p50": row(outcome.stopped, STOP_MS),
    }


def crowd(steps: Sequence[int], *, seconds: float) -> Mapping[str, Measurement]:
    """Calls at once, rising until a promise breaks; the last step says what broke, and who was busiest then."""
    outcomes = asyncio.run(_crowd(steps, seconds=seconds))
    measured: dict[str, Measurement] = {}
    for outcome in outcomes:
        p99 = percentile(outcome.relay, 99) + FRAME_SECONDS if outcome.relay else 0.0
        measured[f"{outcome.calls} calls: relay p99, the frame included"] = measurement(
            p99 * 1000, "ms", baseline=CROWD_P99_MS, note=note(outcome)
        )
        if len(outcome.ready) == outcome.calls:
            measured[f"{outcome.calls} calls: the last is ready after"] = measurement(
                max(outcome.ready),
                "s",
                baseline=READY_SECONDS,
                note=f"all started at once; half were ready after {median(outcome.ready):.1f} s; those beyond the step "
                "before found no worker running",
            )
        if outcome.used and outcome.relay:
            measured[f"{outcome.calls} calls: Parley's CPU a minute of speech"] = measurement(
                outcome.cpu_a_minute, "s", baseline=CPU_SECONDS, note=_busy(outcome)
            )
            measured[f"{outcome.calls} calls: largest worker"] = measurement(
                outcome.used["workers"].largest_mb, "MB", baseline=WORKER_MB, note="resident memory"
            )
    return measured


async def _crowd(steps: Sequence[int], *, seconds: float) -> list[Outcome]:
    stage = Stage()
    outcomes: list[Outcome] = []
    async with stage.instant_model():
        for count in steps:
            outcomes.append(await stage.calls(count, seconds=seconds))
            if outcomes[-1].broken:
                break
    return outcomes


def note(outcome: Outcome) -> str:
    """What is to be said of a number of calls; of the one that broke, also what did, and who was busiest."""
    parts = []
    if outcome.relay:
        parts.append(f"relay p50 {(median(outcome.relay) + FRAME_SECONDS) * 1000:.0f} ms")
    if outcome.first_audio:
        parts.append(f"first audio p50 {median(outcome.first_audio) * 1000:.0f} ms")
    parts.append(f"{outcome.said:,} frames, {outcome.lost} lost, {outcome.reordered} reordered")
    if outcome.broken:
        parts.append(f"BROKE: {outcome.broken}")
        if outcome.used:
            parts.append(f"busiest then: {_busiest(outcome)}")
    return "; ".join(parts)


def _busiest(outcome: Outcome) -> str:
    """Who used most of a processor when a promise broke, and whose that is."""
    name, used = max(outcome.used.items(), key=lambda item: item[1].cpu)
    owner = {"ministack": "an emulator", "models": "an emulator", "callers": "the benchmark's own"}.get(
        name, "Parley's"
    )
    return f"{name} ({owner}), {used.cpu / outcome.seconds:.2f} cores"


def _busy(outcome: Outcome) -> str:
    shares = sorted(outcome.used.items(), key=lambda item: -item[1].cpu)
    return "cores busy: " + ", ".join(f"{name} {used.cpu / outcome.seconds:.2f}" for name, used in shares)
