"""Stands in for what is around a session worker beside its engine: the client, the tables, API Gateway."""

from collections.abc import Callable, Iterable, Sequence
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
from parley.speech.engine import (
    ToolRequest,
)
from parley.speech.lease import LEASE_SECONDS, InboxMessage, Lease, LeaseLost, LiveSession, SessionState
from parley.speech.playback import ClientBusy, ClientGone
from parley.speech.relay import AudioFrame

from tests.unit.conversation_doubles import Store
from tests.unit.virtual_time import VirtualClock


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


def turns_of(store: Store) -> list[Turn]:
    """All turns of all conversations."""
    return [turn for turns in store.turns_by_id.values() for turn in turns]


def questions(turns: Iterable[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "user"]


def answers(turns: Iterable[Turn]) -> list[str]:
    return [turn.text for turn in turns if turn.role == "assistant"]
