"""Spoken turns: what was said, what of the answer was heard, and how both are stored exactly once.

A turn has begun once its voice goes out. Before that, the session notes that its audio is answered, and keeps the turn
as `pending`: whoever owns the session after a crash stores that, and never answers the audio again.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from parley.conversation.citations import cited_numbers
from parley.conversation.errors import AlreadyAnswered, ConversationBusy, ConversationNotFound
from parley.conversation.models import Message
from parley.conversation.prices import cost_usd
from parley.conversation.prompts import HISTORY_MESSAGES, history_window
from parley.conversation.store import ConversationStore, Exchange
from parley.conversation.turns import Knowledge, Medium, RequestKey, Turn, Usage, new_id, timestamp, title_of
from parley.errors import ParleyError, StoreUnavailable
from parley.knowledge.passages import Citation, Passage
from parley.speech.audio import output_seconds
from parley.speech.clock import Clock
from parley.speech.lease import InboxMessage, Lease, Played

STORE_PAUSES = (0.1, 0.3, 1.0, 2.0)
"""Pauses between attempts to store a turn while the store fails; the last one repeats as long as the lease holds."""


class Spoken(msgspec.Struct):
    """A piece of the answer's text, and where its voice lies: seconds from the beginning of the turn's voice."""

    text: str
    begins: float
    ends: float | None = None
    """None while the voice of this piece is still coming."""


class SpokenTurn(msgspec.Struct, kw_only=True):
    """An utterance and its answer, as they come."""

    turn_id: str
    question_id: str
    asked_at: str
    medium: Medium = "voice"
    """Of the question: it may have been typed."""
    message_id: str | None = None
    """Of the typed message."""
    request_id: str | None = None
    """The client's own for that message."""
    heard: list[str] = []
    """What the user said, piece by piece."""
    hearing: str = ""
    """The last piece, while it may still change."""
    pieces: list[Spoken] = []
    confirmed: int = 0
    """Pieces whose voice has come."""
    voice_seconds: float = 0.0
    citations: list[Citation] = []
    """Every passage that the model was given, under its number."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    heard_ms: int | None = None
    """How much of the answer counts as heard; None for all of it."""

    @property
    def question(self) -> str:
        """What the user said."""
        return " ".join(text for text in (*self.heard, self.hearing) if text)

    @property
    def text(self) -> str:
        """All that the assistant says."""
        return _joined(piece.text for piece in self.pieces)

    def hear(self, text: str, *, final: bool) -> None:
        """What the user says; a text that is not final is replaced by the next."""
        text = text.strip()
        if final:
            if text:
                self.heard.append(text)
            self.hearing = ""
        else:
            self.hearing = text

    def say(self, text: str, *, spoken: bool) -> None:
        """A piece of the answer: its voice follows, or (`spoken`) has come."""
        if not text.strip():
            return
        if not spoken:
            self.pieces.append(Spoken(text, self.voice_seconds))
            return
        # It stands for as many of the announced pieces as it is long.
        first = last = self.confirmed
        left = _letters(text)
        while last < len(self.pieces) and left > 0:
            left -= _letters(self.pieces[last].text)
            last += 1
        before = self.pieces[first - 1].ends if first else 0.0
        begins = self.pieces[first].begins if last > first else before or 0.0
        ends = self.pieces[last].begins if last < len(self.pieces) else self.voice_seconds
        self.pieces[first:last] = [Spoken(text, begins, ends)]
        self.confirmed += 1

    def speak(self, pcm: bytes) -> None:
        """A piece of the answer's voice."""
        self.voice_seconds += output_seconds(len(pcm))

    def ask(self, message: InboxMessage) -> None:
        """The question was typed."""
        self.heard, self.hearing, self.medium = [message.text], "", "text"
        self.message_id, self.request_id = message.id, message.request_id

    def forget_answer(self) -> None:
        """Nothing was said yet: the answer begins anew."""
        self.pieces, self.confirmed, self.voice_seconds = [], 0, 0.0
        self.citations = []

    def found(self, passages: Sequence[Passage]) -> None:
        """Passages that a tool gave the model: numbered on."""
        begin = len(self.citations) + 1
        self.citations += [Citation.of(passage, number) for number, passage in enumerate(passages, start=begin)]

    def text_heard(self, milliseconds: int) -> str:
        """What of the answer was heard, when so much of its voice was: whole pieces, and words of the last."""
        seconds = milliseconds / 1000
        heard: list[str] = []
        for index, piece in enumerate(self.pieces):
            later = self.pieces[index + 1].begins if index + 1 < len(self.pieces) else self.voice_seconds
            ends = piece.ends if piece.ends is not None else max(later, piece.begins)
            if ends <= piece.begins:
                # Its voice has not come.
                continue
            if ends <= seconds:
                heard.append(piece.text)
            elif piece.begins < seconds:
                heard.append(_part(piece.text, (seconds - piece.begins) / (ends - piece.begins)))
        return _joined(heard)


class Seal(Protocol):
    """Encrypts what is kept on the session. Methods block, and raise StoreUnavailable."""

    def seal(self, content: bytes) -> bytes:
        """The ciphertext, bound to this session."""

    def open(self, sealed: bytes) -> bytes:
        """The content. Raises a ParleyError when it cannot be read."""


class Ledger:
    """Keeps one session's turns: what is pending on the session, what is finished in its conversation.

    Every method but `history` raises LeaseLost when another worker owns the session.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        lease: Lease,
        seal: Seal,
        clock: Clock,
        subject: str,
        session_id: str,
        conversation_id: str | None,
        answered_seq: int,
        model: str,
        knowledge: bool,
    ) -> None:
        self._store = store
        self._lease = lease
        self._seal = seal
        self._clock = clock
        self._subject = subject
        self._session_id = session_id
        self._model = model
        self._without_passages: Knowledge = "none" if knowledge else "off"
        self._turns: list[Turn] = []
        self._count = 0
        self._pending: SpokenTurn | None = None
        self._lock = asyncio.Lock()
        self.conversation_id = conversation_id
        """Of the turns; None until the first one begins."""
        self.answered_seq = answered_seq
        """Up to here no audio needs an answer any more."""

    async def load(self) -> None:
        """Read the history that the conversation has. Raises StoreUnavailable."""
        if self.conversation_id is None:
            return
        try:
            history = await asyncio.to_thread(
                self._store.history, self._subject, self.conversation_id, HISTORY_MESSAGES
            )
        except ConversationNotFound:
            # Chosen by an earlier worker, and nothing stored yet; or deleted: it begins.
            return
        self._turns, self._count = list(history.turns), history.turn_count

    async def recover(self, sealed: bytes, played: Played | None) -> tuple[Turn, str | None] | None:
        """Store the turn that an earlier owner had begun, as far as it is known; None when it cannot be read.

        Its answer, and the request id of its question if that was typed.
        """
        try:
            turn = msgspec.json.decode(await asyncio.to_thread(self._seal.open, sealed), type=SpokenTurn)
        except StoreUnavailable:
            raise
        except (ParleyError, msgspec.DecodeError):
            # It was damaged, or written by another version: nothing can be made of it.
            await self._save(None, ())
            return None
        turn.heard_ms = played.ms if played is not None and played.turn_id == turn.turn_id else None
        if turn.heard_ms is None or not turn.text_heard(turn.heard_ms):
            # Nobody can tell what was heard: what was said stands.
            turn.heard_ms = None
        return await self.finish(turn), turn.request_id

    def history(self) -> list[Message]:
        """The last turns, for a model."""
        return history_window(self._turns)

    def new_turn(self) -> SpokenTurn:
        """A turn that begins now."""
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return SpokenTurn(turn_id=new_id(now), question_id=new_id(now), asked_at=timestamp(now))

    async def begin(self, turn: SpokenTurn, answered_seq: int, taken: Sequence[str] = ()) -> None:
        """The turn is about to be heard: from now on its audio, and the `taken` messages, are answered."""
        async with self._lock:
            if self.conversation_id is None:
                self.conversation_id = new_id(datetime.fromtimestamp(self._clock.time(), UTC))
            self.answered_seq = max(self.answered_seq, answered_seq)
            self._pending = turn
            await self._persist(lambda: self._save(turn, taken))

    async def keep(self, answered_seq: int) -> None:
        """Note what is pending as it is now, and how far audio needs no answer. A store that fails is asked later."""
        async with self._lock:
            self.answered_seq = max(self.answered_seq, answered_seq)
            with contextlib.suppress(StoreUnavailable):
                await self._save(self._pending, ())

    async def finish(self, turn: SpokenTurn) -> Turn:
        """Store a turn that has begun; tries until the store takes it. Returns the answer as it is stored."""
        async with self._lock:
            question, answer = self._stored(turn)
            request = self._request(turn.message_id or turn.turn_id)
            exchange = Exchange(question=question, answer=answer, title=title_of(question.text) or "…", request=request)
            await self._persist(lambda: self._append(exchange))
            self._turns = [*self._turns, question, answer][-HISTORY_MESSAGES:]
            self._pending = None
            await self._persist(lambda: self._save(None, ()))
            return answer

    async def answer_to(self, message_id: str) -> Turn | None:
        """The stored answer to a typed message, which its client has sent again. Raises StoreUnavailable."""
        request = self._request(message_id)
        try:
            stored = await asyncio.to_thread(self._store.answer_to, self._subject, request)
        except ConversationNotFound:
            return None
        return stored.turn if stored else None

    async def take(self, message_id: str) -> None:
        """Remove the inbox's first message, which needs no answer any more. Raises StoreUnavailable."""
        async with self._lock:
            await self._save(self._pending, [message_id])

    def _request(self, id_: str) -> RequestKey:
        key = f"{self._session_id}:{id_}"
        return RequestKey(key=key, fingerprint=hashlib.sha256(key.encode()).hexdigest())

    async def _append(self, exchange: Exchange) -> None:
        if self.conversation_id is None:
            self.conversation_id = new_id(datetime.fromtimestamp(self._clock.time(), UTC))
        try:
            await asyncio.to_thread(
                self._store.append, self._subject, self.conversation_id, exchange, turn_count=self._count
            )
        except AlreadyAnswered:
            # An earlier owner stored it, and died before it could say so.
            return
        except ConversationNotFound:
            # The user deleted the conversation during the call: what is said from now on begins another.
            self.conversation_id, self._count = None, 0
            raise StoreUnavailable from None
        self._count += 2

    async def _save(self, turn: SpokenTurn | None, taken: Sequence[str]) -> None:
        pending = await asyncio.to_thread(self._seal.seal, msgspec.json.encode(turn)) if turn else None
        await self._lease.save_progress(
            answered_seq=self.answered_seq, pending=pending, conversation_id=self.conversation_id, taken=taken
        )

    async def _persist(self, write: Callable[[], Awaitable[None]]) -> None:
        attempt = 0
        while True:
            try:
                return await write()
            except (StoreUnavailable, ConversationBusy):
                # The session ends by its lease when this lasts.
                await self._clock.sleep(STORE_PAUSES[min(attempt, len(STORE_PAUSES) - 1)])
                attempt += 1

    def _stored(self, turn: SpokenTurn) -> tuple[Turn, Turn]:
        text = turn.text if turn.heard_ms is None else turn.text_heard(turn.heard_ms)
        numbers = cited_numbers(text)
        cited = [turn.citations[number - 1] for number in numbers if 1 <= number <= len(turn.citations)]
        usage = None
        if turn.input_tokens is not None and turn.output_tokens is not None:
            usage = Usage(
                input_tokens=turn.input_tokens,
                output_tokens=turn.output_tokens,
                cost_usd=cost_usd(self._model, turn.input_tokens, turn.output_tokens),
            )
        question = Turn(
            turn_id=turn.question_id, role="user", text=turn.question, created_at=turn.asked_at, medium=turn.medium
        )
        answer = Turn(
            turn_id=turn.turn_id,
            role="assistant",
            text=text,
            created_at=timestamp(datetime.fromtimestamp(self._clock.time(), UTC)),
            medium="voice",
            # A voice seldom says numbers: without any, it is the passages that it answers from.
            citations=tuple(cited or turn.citations),
            knowledge="used" if turn.citations else self._without_passages,
            model=self._model,
            usage=usage,
        )
        return question, answer


def _joined(texts: Iterable[str]) -> str:
    joined = ""
    for text in texts:
        glued = not joined or joined[-1].isspace() or text[:1].isspace() or ord(joined[-1]) >= _NO_SPACES
        joined += text if glued else f" {text}"
    return joined.strip()


def _letters(text: str) -> int:
    return sum(map(len, text.split()))


def _part(text: str, fraction: float) -> str:
    """The beginning of a text, cut between words; where a script has no spaces, between characters."""
    text = text.rstrip()
    words = list(_WORD.finditer(text))
    if len(words) > 2:
        whole = int(len(words) * fraction)
        return text[: words[whole - 1].end()] if whole else ""
    return text[: int(len(text) * fraction)] if text and ord(text[-1]) >= _NO_SPACES else ""


_WORD = re.compile(r"\S+")

_NO_SPACES = 0x2E80
"""From here on, Unicode's scripts put no spaces between sentences: Chinese, Japanese."""
