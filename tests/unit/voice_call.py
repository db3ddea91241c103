"""A whole call in virtual time: a client that keeps to the protocol, workers that start, hand over and are killed."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from parley.conversation.turns import Turn
from parley.errors import Throttled
from parley.server_messages import Ack, AudioMessage, InterruptedMessage, Resend, SessionReady
from parley.speech.archive import AudioArchive, Recorder
from parley.speech.lease import InboxMessage, Played
from parley.speech.session import Outcome, Parts, SessionWorker

from tests.unit.scripted_engine import FRAME, EngineScript, frame_pcm
from tests.unit.virtual_time import VirtualClock, run_virtual
from tests.unit.voice_doubles import (
    CountingMeter,
    FencedStore,
    MemoryChannel,
    MemoryRelay,
    MemorySessions,
    PlainSeal,
    Post,
    SharedStore,
    Tools,
    turns_of,
)

WORKER_SECONDS = 900.0


@dataclass
class Call:
    """Everything of one session. Fields may be changed before and during a call."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    worker_seconds: float = WORKER_SECONDS
    drops: Callable[[int], bool] = lambda seq: False
    """Is the first try of a frame lost on its way?"""
    reports_played: bool = True
    refuses_workers: bool = False
    """Does Lambda take no more for now?"""
    archive: AudioArchive | None = None
    spend_seconds: Callable[[int], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        self.relay = MemoryRelay(self.clock)
        self.sessions = MemorySessions(self.clock)
        self.channel = MemoryChannel(self.clock, on_message=self._on_message)
        self.engine = EngineScript(self.clock)
        self.tools = Tools(self.clock)
        self.meter = CountingMeter()
        self.store = SharedStore()
        self.workers: list[asyncio.Task[Outcome | None]] = []
        self.outcomes: list[Outcome | None] = []
        self.connection = "c-1"
        self.seq = 0
        self.kept: dict[int, bytes] = {}
        self.asked_again: list[tuple[int, int]] = []
        self.voice: dict[str, float] = {}
        """Seconds of each turn's voice that have come, and when it began to play."""
        self.voice_began: dict[str, float] = {}
        self._dropped: set[int] = set()
        self._pinging: asyncio.Task[None] | None = None

    # the client

    def connect(self, connection_id: str = "c-1") -> None:
        """session.start of a new connection: a worker is started where none lives."""
        self.connection = connection_id
        self.sessions.connect(connection_id, last_seq=self.seq)
        if not self.sessions.has_live_worker:
            self.start_worker()
        if self._pinging is None:
            self._pinging = asyncio.ensure_future(self._ping())

    async def send(self, utterance: int, frames: int, *, pace: float = FRAME) -> None:
        """Frames of an utterance (0: of silence), at the pace of speech."""
        for index in range(1, frames + 1):
            self.seq += 1
            data = frame_pcm(utterance, index)
            self.kept[self.seq] = data
            self._put(self.seq, data)
            await self.clock.sleep(pace)

    async def say(self, utterance: int, *, frames: int = 12, then: float = 4.0) -> None:
        """An utterance, and silence in which it is answered."""
        await self.send(utterance, frames)
        await self.send(0, round(then / FRAME))

    def type(self, text: str, message_id: str = "m-1") -> None:
        self.sessions.leave(InboxMessage(message_id, "text", text, message_id))

    def hang_up(self) -> None:
        self.sessions.leave(InboxMessage("end", "end"))

    def _put(self, seq: int, data: bytes) -> None:
        if self.connection in self.channel.gone:
            return
        if self.drops(seq) and seq not in self._dropped:
            self._dropped.add(seq)
            return
        self.relay.put(seq, data, self.connection)

    def _on_message(self, post: Post) -> None:
        if post.connection_id != self.connection:
            return
        match post.message:
            case Ack(seq=seq):
                for old in [number for number in self.kept if number <= seq]:
                    del self.kept[old]
            case Resend(first=first, last=last):
                self.asked_again.append((first, last))
                for number in range(first, last + 1):
                    if number in self.kept:
                        self._put(number, self.kept[number])
            case SessionReady(next_seq=next_seq):
                for number in sorted(self.kept):
                    if number >= (next_seq or 1):
                        self._put(number, self.kept[number])
            case AudioMessage(turn_id=turn_id, data=data):
                began = self.voice_began.setdefault(turn_id, self.clock.now())
                self.voice[turn_id] = self.voice.get(turn_id, 0.0) + len(data) * 3 / 4 / 48_000
                ahead = self.voice[turn_id] - (self.clock.now() - began)
                assert ahead <= 1.45, "more than a second ahead of its playback"
            case InterruptedMessage(turn_id=turn_id):
                if self.reports_played:
                    self._report(turn_id)
            case _:
                pass

    def heard_ms(self, turn_id: str) -> int:
        passed = self.clock.now() - self.voice_began.get(turn_id, self.clock.now())
        return round(min(passed, self.voice.get(turn_id, 0.0)) * 1000)

    def _report(self, turn_id: str) -> None:
        self.sessions.change(played=Played(turn_id, self.heard_ms(turn_id)))

    def report_exactly(self, ms: int) -> None:
        """The client says what it has played of the last turn."""
        self.sessions.change(played=Played(list(self.voice)[-1], ms))

    async def _ping(self) -> None:
        while True:
            await self.clock.sleep(5.0)
            if not self.sessions.has_live_worker and self.sessions.session.state != "ended":
                self.start_worker()

    # workers

    def start_worker(self, silent_seconds: float = 0.0) -> None:
        self.workers.append(asyncio.ensure_future(self._work(silent_seconds)))

    async def _work(self, silent_seconds: float) -> Outcome | None:
        await self.clock.sleep(0.3)
        lease = await self.sessions.acquire("session-1", f"worker-{len(self.workers)}")
        if lease is None:
            return None
        until = self.clock.now() + self.worker_seconds
        parts = Parts(
            clock=self.clock,
            relay=self.relay,
            channel=self._own_channel(),
            store=FencedStore(sessions=self.sessions, epoch=lease.epoch, shared=self.store),
            seal=PlainSeal(),
            engine=self.engine,
            tools=self.tools,
            meter=self.meter,
            system="Be brief.",
            archive=self._recorder(),
            knowledge=True,
            spend_seconds=self.spend_seconds,
            seconds_left=lambda: until - self.clock.now(),
            hand_over=self._hand_over,
        )
        session = await lease.session()
        outcome = await SessionWorker(session, lease, parts, silent_seconds=silent_seconds).run()
        self.outcomes.append(outcome)
        return outcome

    def _recorder(self) -> Recorder | None:
        if self.archive is None:
            return None
        return Recorder("session-1", self.archive, self.relay, self.clock, self.meter, chance=lambda: 1.0)

    def _own_channel(self) -> Any:
        return self.channel

    async def _hand_over(self, silent_seconds: float) -> None:
        if self.refuses_workers:
            raise Throttled
        self.start_worker(silent_seconds)

    def kill_worker_after_write(self, number: int) -> None:
        """Of the session's item, counted from now on."""
        writes = itertools.count(1)
        self.sessions.after_write = lambda: self.kill_worker() if next(writes) == number else None

    def kill_worker(self) -> None:
        """As SIGKILL does: nothing more runs of it, no cleanup either."""
        for worker in self.workers:
            worker.cancel()
        for stream in self.engine.streams:
            stream.die()

    async def close(self) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
        for worker in self.workers:
            worker.cancel()
        for worker in self.workers:
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    # what came of it

    @property
    def turns(self) -> list[Turn]:
        return turns_of(self.store)

    def exchanges(self) -> list[tuple[str, str]]:
        texts = [turn.text for turn in self.turns]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def follower_lost(self) -> int:
        """Frames that the client still holds although later ones were acknowledged."""
        return sum(1 for seq in self.kept if seq < self.seq - 50)

    def frames_heard(self, utterance: int) -> list[int]:
        """The frames of an utterance that the stream which answered it heard."""
        last = max((stream for stream, heard, _ in self.engine.heard_frames if heard == utterance), default=0)
        return [index for stream, heard, index in self.engine.heard_frames if (stream, heard) == (last, utterance)]


def call(play: Callable[[Call], Awaitable[None]], **changes: object) -> Call:
    """Play a call to its end."""

    async def main() -> Call:
        one = Call(**changes)  # type: ignore[arg-type]  # whatever the test changes
        try:
            await play(one)
        finally:
            await one.close()
        return one

    return run_virtual(main())


def asked(one: Call) -> list[int]:
    """The utterances of all stored questions.

    What the user says while nobody answers is one question with what comes after it: nothing of it is lost.
    """
    return [int(number) for question, _ in one.exchanges() for number in re.findall(r"utterance (\d+)", question)]
