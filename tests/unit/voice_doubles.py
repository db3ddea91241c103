"""Stands in for everything around a session worker: time, the client, the tables, the engine, API Gateway.

Utterances are told apart by their samples, so that the engine can say which frames it heard, and in what order.
"""

import asyncio
import selectors
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec
from parley.conversation.errors import AlreadyAnswered, ConversationNotFound
from parley.conversation.store import Exchange, History, StoredAnswer
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.conversation.turns import RequestKey, Turn, Usage
from parley.errors import ParleyError, StoreUnavailable
from parley.knowledge.passages import Passage
from parley.server_messages import FromServer, MessageDone, SessionEnded
from parley.speech.audio import output_bytes
from parley.speech.engine import (
    AssistantAudio,
    AssistantTranscript,
    EngineClosed,
    EngineEvent,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    ToolRequest,
    TurnEnded,
    TurnStarted,
    UserTranscript,
)
from parley.speech.lease import LEASE_SECONDS, InboxMessage, Lease, LeaseLost, LiveSession, SessionState
from parley.speech.playback import ClientBusy, ClientGone
from parley.speech.relay import AudioFrame
from parley.speech.voices import NOVA_SONIC, SpeechEngineVoices

from tests.unit.conversation_doubles import Store

EPOCH = 1_800_000_000.0
FRAME_SAMPLES = 1440
FRAME = 0.09
LOUD = 1000


class _IdleSelector(selectors.SelectSelector):
    """Never waits: it tells the loop how long it would have."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("every task waits for ever")
        self.waited += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing to do; work for threads is done at once."""

    def __init__(self) -> None:
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return 100.0 + self._idle.waited

    def run_in_executor[*A, T](
        self, executor: Executor | None, func: Callable[[*A], T], *args: *A
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run_virtual[T](main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class VirtualClock:
    """The Clock protocol on the running virtual loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return EPOCH + self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def frame_pcm(utterance: int, index: int) -> bytes:
    """Frame `index` of an utterance from 1 on; utterance 0 is silence."""
    level = LOUD + utterance if utterance else 0
    # Where the worker's measure of loudness does not look, so that silence stays silent.
    return struct.pack("<h", level) + struct.pack("<h", index) + struct.pack("<h", level) * (FRAME_SAMPLES - 2)


@dataclass
class MemoryRelay:
    """The audio-frames table: a frame is written once."""

    clock: VirtualClock
    delay: float = 0.002
    frames: dict[int, AudioFrame] = field(default_factory=dict)
    reads: int = 0
    fails: int = 0

    def put(self, seq: int, data: bytes, connection_id: str = "c-1") -> None:
        self.frames.setdefault(seq, AudioFrame(seq, data, connection_id, self.clock.time()))

    async def read(self, seqs: Sequence[int]) -> dict[int, AudioFrame]:
        self.reads += 1
        await self.clock.sleep(self.delay)
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable
        return {seq: self.frames[seq] for seq in seqs if seq in self.frames}


@dataclass
class MemorySessions:
    """One session's item, with its lease: what the worker and the routes see of it."""

    clock: VirtualClock
    delay: float = 0.003
    lease_until: float = 0.0
    after_write: Callable[[], None] = lambda: None
    """Is called when a write of a worker has arrived, before the worker knows."""
    fails: bool = False
    session: LiveSession = field(
        default_factory=lambda: LiveSession(
            session_id="session-1",
            subject="ada",
            epoch=0,
            state="starting",
            connection_id=None,
            connection_number=0,
            announced_number=0,
            conversation_id=None,
            engine="nova-sonic",
            language="en-US",
            voice=None,
            answered_seq=0,
            last_seq=0,
            pending=None,
            played=None,
            inbox=(),
        )
    )

    def change(self, **changes: Any) -> None:
        self.session = replace(self.session, **changes)

    @property
    def has_live_worker(self) -> bool:
        return self.lease_until > self.clock.time()

    def connect(self, connection_id: str, last_seq: int = 0) -> None:
        state: SessionState = "starting" if self.session.state == "ended" else self.session.state
        number = self.session.connection_number + 1
        self.change(connection_id=connection_id, connection_number=number, last_seq=last_seq, state=state)

    def leave(self, message: InboxMessage) -> None:
        self.change(inbox=(*self.session.inbox, message))

    async def acquire(self, session_id: str, owner: str) -> Lease | None:
        await self.clock.sleep(self.delay)
        if self.has_live_worker or self.session.state == "ended":
            return None
        self.change(epoch=self.session.epoch + 1, state="live")
        self.lease_until = self.clock.time() + LEASE_SECONDS
        return cast(Lease, MemoryLease(self, self.session.epoch))


@dataclass
class MemoryLease:
    """The Lease protocol."""

    sessions: MemorySessions
    epoch: int

    async def _check(self) -> None:
        await self.sessions.clock.sleep(self.sessions.delay)
        if self.sessions.fails:
            raise StoreUnavailable
        if self.sessions.session.epoch != self.epoch or self.sessions.session.state == "ended":
            raise LeaseLost

    async def renew(self) -> None:
        await self._check()
        self.sessions.lease_until = self.sessions.clock.time() + LEASE_SECONDS

    async def session(self) -> LiveSession:
        await self._check()
        return self.sessions.session

    async def announce(self, connection_number: int) -> None:
        await self._check()
        self.sessions.change(announced_number=connection_number)

    async def save_progress(
        self, *, answered_seq: int, pending: bytes | None, conversation_id: str | None, taken: Sequence[str] = ()
    ) -> None:
        await self._check()
        inbox = tuple(message for message in self.sessions.session.inbox if message.id not in taken)
        assert answered_seq >= self.sessions.session.answered_seq
        self.sessions.change(answered_seq=answered_seq, pending=pending, conversation_id=conversation_id, inbox=inbox)
        self.sessions.after_write()
        await self.sessions.clock.sleep(0)

    async def release(self, *, state: SessionState) -> None:
        await self._check()
        self.sessions.lease_until = 0.0
        self.sessions.change(state=state, inbox=() if state == "ended" else self.sessions.session.inbox)


@dataclass
class SharedStore(Store):
    """The conversations of all workers. Those that were deleted are not there for anybody."""

    deleted: set[str] = field(default_factory=set)


@dataclass
class FencedStore(Store):
    """Conversations in memory, for the worker of one epoch."""

    sessions: MemorySessions | None = None
    epoch: int = 0
    shared: SharedStore = field(default_factory=SharedStore)
    fails: int = 0

    def history(self, subject: str, conversation_id: str, limit: int) -> History:
        return self.shared.history(subject, conversation_id, limit)

    def answer_to(self, subject: str, request: RequestKey) -> StoredAnswer | None:
        return self.shared.answer_to(subject, request)

    def append(self, subject: str, conversation_id: str, exchange: Exchange, *, turn_count: int) -> None:
        assert self.sessions is not None
        if self.sessions.session.epoch != self.epoch:
            raise LeaseLost
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable
        if conversation_id in self.shared.deleted:
            raise ConversationNotFound
        if exchange.request and self.shared.answer_to(subject, exchange.request):
            raise AlreadyAnswered
        # The place among other turns is the table's to find.
        count = len(self.shared.turns_by_id.get((subject, conversation_id), []))
        self.shared.append(subject, conversation_id, exchange, turn_count=count)
        self.sessions.after_write()


class PlainSeal:
    """Shows that what is kept was sealed, without hiding it."""

    def seal(self, content: bytes) -> bytes:
        return b"sealed:" + content

    def open(self, sealed: bytes) -> bytes:
        if not sealed.startswith(b"sealed:"):
            raise ParleyError
        return sealed.removeprefix(b"sealed:")


@dataclass
class Post:
    """A message as a client got it."""

    at: float
    connection_id: str
    message: FromServer


@dataclass
class MemoryChannel:
    """API Gateway's connections, and what their clients got."""

    clock: VirtualClock
    delay: float = 0.004
    posts: list[Post] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    busy: int = 0
    disconnected: list[str] = field(default_factory=list)
    on_message: Callable[[Post], None] = lambda post: None
    in_flight: int = 0

    async def post(self, connection_id: str, data: bytes) -> None:
        assert len(data) <= 32 * 1024
        assert self.in_flight == 0, "posts are serial"
        self.in_flight += 1
        try:
            await self.clock.sleep(self.delay)
        finally:
            self.in_flight = 0
        if connection_id in self.gone:
            raise ClientGone
        if self.busy:
            self.busy -= 1
            raise ClientBusy
        post = Post(self.clock.now(), connection_id, msgspec.json.decode(data, type=FromServer))
        self.posts.append(post)
        self.on_message(post)

    async def disconnect(self, connection_id: str) -> None:
        self.disconnected.append(connection_id)
        self.gone.add(connection_id)

    def of[M](self, kind: type[M]) -> list[M]:
        return [post.message for post in self.posts if isinstance(post.message, kind)]

    def ended(self) -> str | None:
        return next((message.reason for message in self.of(SessionEnded)), None)

    def done(self) -> list[MessageDone]:
        return self.of(MessageDone)


@dataclass
class CountingMeter:
    """Counts."""

    counts: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def count(self, name: str, value: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value

    def milliseconds(self, name: str, value: float) -> None:
        self.times.setdefault(name, []).append(value)

    def usage(self, usage: Usage) -> None:
        self.count("Tokens", usage.input_tokens + usage.output_tokens)


@dataclass
class Tools:
    """A toolbox whose tools take `seconds`."""

    clock: VirtualClock
    seconds: float = 0.0
    result: ToolResult = field(default_factory=lambda: ToolResult(content={"found": 1}))
    used: list[str] = field(default_factory=list)

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return (ToolSpec("search_knowledge", "Searches.", {"type": "object"}),)

    async def use(
        self, request: ToolRequest, *, conversation_id: str | None, passages: Sequence[Passage]
    ) -> ToolResult:
        self.used.append(request.name)
        await self.clock.sleep(self.seconds)
        return self.result


@dataclass
class EngineScript:
    """How every stream of an engine behaves, and what they all heard."""

    clock: VirtualClock
    voices: SpeechEngineVoices = NOVA_SONIC
    lifetime_seconds: float | None = None
    idle_seconds: float | None = 55.0
    model: str = "scripted"
    think_seconds: float = 0.3
    answer_seconds: float = 2.0
    """Of the answer's voice, which is given out at once in pieces of half a second."""
    tells_position: bool = True
    uses_tool: bool = False
    refuses: int = 0
    opened: int = 0
    requests: list[EngineRequest] = field(default_factory=list)
    heard_frames: list[tuple[int, int, int]] = field(default_factory=list)
    """Stream, utterance, and frame of it, in the order they were heard."""
    heard_texts: list[str] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    """Utterances whose answers' voice began."""
    silences: int = 0
    pieces: list[float] = field(default_factory=list)
    """Seconds of audio that came at once."""
    streams: "list[ScriptedEngine]" = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)

    async def open(self, request: EngineRequest) -> "ScriptedEngine":
        await self.clock.sleep(0.2)
        if self.refuses:
            self.refuses -= 1
            raise EngineUnavailable
        self.requests.append(request)
        self.opened += 1
        stream = ScriptedEngine(self, self.opened)
        self.streams.append(stream)
        return stream


def _frames_in(pcm: bytes) -> Iterator[bytes]:
    """The frames of utterances, each by itself, and the silences between them, of at most a frame each."""
    samples = memoryview(pcm).cast("h")
    while samples:
        begins = next((at for at, sample in enumerate(samples[:FRAME_SAMPLES]) if sample >= LOUD), 0)
        length = begins or FRAME_SAMPLES
        yield bytes(samples[:length])
        samples = samples[length:]


class ScriptedEngine:
    """A stream that answers an utterance after four silent frames, and stops when it is spoken to."""

    def __init__(self, script: EngineScript, number: int) -> None:
        self._script = script
        self._number = number
        self._queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._utterance = 0
        self._silent = 0
        self._sent = 0.0
        self._answer: asyncio.Task[None] | None = None
        self._speaks_until = 0.0
        self._tool_done = asyncio.Event()
        self._alive = True
        self._life = (
            asyncio.get_running_loop().call_later(script.lifetime_seconds, self.die, "limit")
            if script.lifetime_seconds
            else None
        )

    def die(self, reason: Any = "failed", retryable: bool = True) -> None:
        if self._alive:
            self._alive = False
            if self._answer is not None:
                self._answer.cancel()
            self._queue.put_nowait(EngineClosed(reason, retryable))

    def emit(self, *events: EngineEvent) -> None:
        for event in events:
            self._queue.put_nowait(event)

    async def send_audio(self, pcm: bytes) -> None:
        if not self._alive:
            raise EngineUnavailable
        self._sent += len(pcm) / 32_000
        self._script.pieces.append(len(pcm) / 32_000)
        for frame in _frames_in(pcm):
            self._hear(frame)

    def _hear(self, frame: bytes) -> None:
        level, index = struct.unpack_from("<hh", frame)
        utterance = level - LOUD if level else 0
        if not utterance:
            self._script.silences += 1
            self._silent += 1
            if self._utterance and self._silent >= 4:
                self._reply(f"utterance {self._utterance}", self._utterance)
            return
        self._silent = 0
        self._script.heard_frames.append((self._number, utterance, index))
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
            self._answer = None
            self._queue.put_nowait(Interrupted())
        elif self._speaks_until > self._script.clock.now():
            self._queue.put_nowait(Interrupted())
        self._speaks_until = 0.0
        if utterance != self._utterance:
            self._utterance = utterance
            self._queue.put_nowait(UserTranscript(f"utterance {utterance}", final=False))

    def _reply(self, question: str, utterance: int) -> None:
        self._utterance = 0
        self._queue.put_nowait(UserTranscript(question, final=True))
        self._answer = asyncio.ensure_future(self._say(question, utterance, self._sent))

    async def _say(self, question: str, utterance: int, position: float) -> None:
        script = self._script
        self._queue.put_nowait(TurnStarted(position if script.tells_position else None))
        if script.uses_tool:
            self._tool_done.clear()
            self._queue.put_nowait(
                ToolRequest(f"tool-{self._number}-{utterance}", "search_knowledge", {"query": question})
            )
            await self._tool_done.wait()
        await script.clock.sleep(script.think_seconds)
        script.answered.append(utterance)
        pieces = round(script.answer_seconds / 0.5)
        self._speaks_until = script.clock.now() + script.answer_seconds
        for number in range(1, pieces + 1):
            text = f"Answer {utterance}." if number == 1 else f"Part {number} of it."
            self._queue.put_nowait(AssistantTranscript(text, spoken=False))
            self._queue.put_nowait(AssistantAudio(bytes(output_bytes(0.5))))
            await script.clock.sleep(0.05)
        self._queue.put_nowait(TurnEnded(100, 20))

    async def send_text(self, text: str) -> None:
        if not self._alive:
            raise EngineUnavailable
        self._script.heard_texts.append(text)
        self._answer = asyncio.ensure_future(self._say(text, -len(self._script.heard_texts), self._sent))

    async def send_tool_result(self, request_id: str, result: ToolResult) -> None:
        self._script.results.append(result)
        self._tool_done.set()

    async def heard(self, text: str) -> None:
        self._script.heard_texts.append(f"heard: {text}")

    async def events(self) -> AsyncIterator[EngineEvent]:
        while True:
            event = await self._queue.get()
            yield event
            if isinstance(event, EngineClosed):
                return

    async def close(self) -> None:
        if self._life is not None:
            self._life.cancel()
        self.die("ended")


def turns_of(store: Store) -> list[Turn]:
    """All turns of all conversations."""
    return [turn for turns in store.turns_by_id.values() for turn in turns]


def questions(turns: Iterable[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "user"]


def answers(turns: Iterable[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "assistant"]
