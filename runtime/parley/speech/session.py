"""The session worker: owns one live session, from taking its lease to giving it up.

It listens (frames to the engine), answers (the engine's events to the client), posts, and watches the session's item:
where the client is, what it typed, what it played, and how long the lease and this worker last.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from parley.conversation.store import ConversationStore
from parley.errors import ParleyError, QuotaExceeded, StoreUnavailable
from parley.server_messages import EndReason, ErrorMessage, Resend, SessionEnded, SessionReady
from parley.speech.audio import AudioInvalid, check_frame, silence
from parley.speech.clock import Clock
from parley.speech.continuation import Continuing
from parley.speech.dialogue import Dialogue, Meter, Toolbox, stored_message
from parley.speech.engine import EngineFactory, EngineRequest
from parley.speech.frames import FloodGuard, Follower
from parley.speech.lease import LEASE_SECONDS, RENEW_SECONDS, Lease, LeaseLost, LiveSession, Played
from parley.speech.playback import Channel, Outbound
from parley.speech.relay import AudioFrame, AudioRelay
from parley.speech.turns import Ledger, Seal

POLL_SECONDS = 0.5
"""How often the session's item is read."""

ACK_FRAMES, ACK_SECONDS = 22, 2.0
"""Frames are acknowledged by so many, or after so long: each ack is paid for, and clients keep two minutes."""

PROGRESS_FRAMES = 55
"""Frames of silence after which they are noted as done with: five seconds, which a successor need not hear."""

DRY_SECONDS = 0.7
"""Without frames for so long the user has stopped sending: the engine hears silence, and so the utterance's end."""

DRY_LASTS_SECONDS = 2.5
"""It hears so much of it; after that only what keeps its connection."""

SILENCE_LIMIT_SECONDS = 600.0
"""A session in which nobody speaks for ten minutes is over."""

AWAY_SECONDS = 60.0
"""How long a session waits for a client that left."""

LIVENESS_SECONDS = 30.0
"""A client that sends nothing is written to so often: else nobody would notice that it is gone."""

HANDOVER_SECONDS, HANDOVER_LATEST_SECONDS = 90.0, 30.0
"""Before the worker's end it hands over: from the first at a quiet moment, at the second in any case."""

COUNT_SECONDS = 30.0
"""How often the time of a call is counted: so much of it goes uncounted when a worker is killed."""

INVALID_FRAMES = 50
"""Frames in a row that are no audio, after which the session has failed."""

FLUSH_SECONDS = 1.0
"""What the last messages get to go out."""

SESSION_FAILED = "SessionsFailed"
"""Counts sessions that end because of something other than their client."""

type Outcome = Literal["not_needed", "handed_over", "lost", "ended"]


class Archive(Protocol):
    """Keeps a session's audio. Its methods return at once; what cannot be kept is dropped."""

    def heard(self, frame: AudioFrame) -> None:
        """The next frame. Those before it are in the relay, or given up."""

    def said(self, pcm: bytes) -> None:
        """The next of what the assistant said: PCM at OUTPUT_RATE."""

    async def close(self) -> None:
        """Keep what is left."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a session worker is made of."""

    clock: Clock
    relay: AudioRelay
    channel: Channel
    store: ConversationStore
    """Its writes are refused once the lease is lost."""
    seal: Seal
    engine: EngineFactory
    tools: Toolbox
    meter: Meter
    system: str
    """The instructions for the model."""
    archive: Archive | None = None
    knowledge: bool
    """Can the model search documents?"""
    seconds_left: Callable[[], float]
    """How long this worker may still run."""
    spend_seconds: Callable[[int], Awaitable[None]] | None = None
    """Count some of the call's time. Raises QuotaExceeded when the user's minutes are used up."""
    hand_over: Callable[[float], Awaitable[None]]
    """Start the next worker; it is told for how many seconds nobody has spoken. Raises ParleyError."""


class _Over(Exception):
    """The worker is done with the session."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class SessionWorker:
    """Serves one session under a lease. `silent_seconds`: how long nobody has spoken already."""

    def __init__(self, session: LiveSession, lease: Lease, parts: Parts, *, silent_seconds: float = 0.0) -> None:
        self._session = session
        self._lease = lease
        self._parts = parts
        clock = self._clock = parts.clock
        self._outbound = Outbound(parts.channel, clock)
        self._ledger = Ledger(
            store=parts.store,
            lease=lease,
            seal=parts.seal,
            clock=clock,
            subject=session.subject,
            session_id=session.session_id,
            conversation_id=session.conversation_id,
            answered_seq=session.answered_seq,
            model=parts.engine.model,
            knowledge=parts.knowledge,
        )
        self._follower = Follower(parts.relay, clock, next_seq=session.answered_seq + 1)
        self._engine = Continuing(parts.engine, self._request, clock, mark=session.answered_seq)
        self._dialogue = Dialogue(self._engine, self._outbound, self._ledger, parts.tools, clock, parts.meter)
        if parts.archive is not None:
            self._dialogue.on_voice = parts.archive.said
        self._dialogue.active_at -= silent_seconds
        self._held_until = clock.now() + LEASE_SECONDS
        self._number = 0
        self._played: Played | None = session.played
        self._end: EndReason | None = None
        self._leaving = False
        self._invalid = 0
        self._refused_at = float("-inf")
        self._acked = session.answered_seq
        self._acked_at = clock.now()
        self._heard_at = clock.now()
        self._fed_at = clock.now()
        self._delays: list[float] = []
        self._counted_at = clock.now()

    async def run(self) -> Outcome:
        """Serve the session until it ends, is handed over, or is another worker's."""
        outcome: Outcome = "lost"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._outbound.run())
                await self._take_over()
                group.create_task(self._listen())
                group.create_task(self._answer())
        except* LeaseLost:
            self._parts.meter.count("LeaseLost")
        except* _Over as over:
            outcome = next(error for error in _leaves(over)).outcome
        finally:
            await self._engine.close()
            if self._parts.archive is not None:
                await self._parts.archive.close()
        return outcome

    async def _take_over(self) -> None:
        """Begin where the session stands: its history, and what an earlier worker left unfinished."""
        await self._patiently(self._ledger.load)
        if (pending := self._session.pending) is not None:
            recovered = await self._patiently(lambda: self._ledger.recover(pending, self._session.played))
            if recovered is not None:
                answer, request_id = recovered
                self._parts.meter.count("TurnsRecovered")
                self._outbound.send(stored_message(answer, self._ledger.conversation_id or "", request_id))

    async def _patiently[T](self, work: Callable[[], Awaitable[T]]) -> T:
        while self._clock.now() < self._held_until:
            try:
                return await work()
            except StoreUnavailable:
                await self._clock.sleep(POLL_SECONDS)
        raise LeaseLost

    def _request(self) -> EngineRequest:
        return EngineRequest(
            system=self._parts.system,
            language=self._session.language,
            voice=self._session.voice,
            history=self._ledger.history(),
            tools=self._parts.tools.specs,
        )

    async def _answer(self) -> None:
        await self._dialogue.run()
        self._end = self._end or "failed"

    async def _listen(self) -> None:
        """Frames to the engine, as they come."""
        follower, guard, archive = self._follower, FloodGuard(), self._parts.archive
        while not self._leaving:
            try:
                frames = await follower.read()
            except StoreUnavailable:
                await self._clock.sleep(POLL_SECONDS)
                continue
            for frame in frames:
                if guard.floods(frame):
                    self._end = "flood"
                    return
                pcm = self._checked(frame)
                if archive is not None:
                    archive.heard(frame)
                self._engine.hear(pcm, frame.seq)
            await self._engine.feed()
            now = self._clock.now()
            if frames:
                self._heard_at = self._fed_at = now
                self._delays.append(self._clock.time() - frames[-1].received_at)
            else:
                await self._feed_silence(now)
            if gap := follower.gap(connected=self._outbound.connection_id is not None):
                self._outbound.send(Resend(first=gap[0], last=gap[1]))
                self._parts.meter.count("Resends")
            self._acknowledge(now)

    def _checked(self, frame: AudioFrame) -> bytes:
        """The frame's audio; silence in place of what is none."""
        try:
            check_frame(frame.data)
        except AudioInvalid as error:
            self._invalid += 1
            now = self._clock.now()
            if now - self._refused_at >= 1.0:
                self._refused_at = now
                self._refuse(error)
            if self._invalid >= INVALID_FRAMES:
                self._end = "failed"
            return silence(0.09)
        self._invalid = 0
        return frame.data

    async def _feed_silence(self, now: float) -> None:
        """When nothing comes, let the engine hear that, as far as it needs to."""
        dry = now - self._heard_at
        limit = self._parts.engine.idle_seconds
        if dry < DRY_SECONDS or (self._follower.waits_for_gap and dry < DRY_LASTS_SECONDS):
            return
        if dry < DRY_SECONDS + DRY_LASTS_SECONDS or (limit is not None and now - self._fed_at > limit / 3):
            seconds = min(0.5, max(0.09, now - self._fed_at))
            self._fed_at = now
            await self._engine.send_audio(silence(seconds))

    def _acknowledge(self, now: float) -> None:
        heard = self._follower.next_seq - 1
        waiting = heard - self._acked
        if waiting >= ACK_FRAMES or (waiting and now - self._acked_at >= ACK_SECONDS):
            self._outbound.ack(heard)
            self._acked, self._acked_at = heard, now
        elif now - max(self._acked_at, self._heard_at) >= LIVENESS_SECONDS and heard:
            self._outbound.ack(heard)
            self._acked_at = now

    async def _watch(self) -> None:
        """Read the session's item, and decide what becomes of the session."""
        renewed_at = self._clock.now()
        while True:
            now = self._clock.now()
            if now > self._held_until:
                # The store does not answer: by now somebody else may own the session.
                raise LeaseLost
            try:
                if now - renewed_at >= RENEW_SECONDS:
                    await self._lease.renew()
                    renewed_at, self._held_until = now, now + LEASE_SECONDS
                    await self._tick()
                await self._look(await self._lease.session())
            except StoreUnavailable:
                pass
            if (reason := self._end or self._reason_to_end()) is not None:
                await self._finish(reason)
            left = self._parts.seconds_left()
            if left < HANDOVER_LATEST_SECONDS or (left < HANDOVER_SECONDS and self._dialogue.is_quiet):
                await self._hand_over()
            await self._clock.sleep(POLL_SECONDS)

    async def _tick(self) -> None:
        """What is done as often as the lease is renewed."""
        await self._count_time(at_least=COUNT_SECONDS)
        answered = self._dialogue.answered_seq
        if answered is not None and (
            self._dialogue.has_pending or answered - self._ledger.answered_seq >= PROGRESS_FRAMES
        ):
            await self._ledger.keep(answered)
        if self._delays:
            self._parts.meter.milliseconds("RelayLatency", statistics.median(self._delays) * 1000)
            self._delays.clear()

    async def _count_time(self, *, at_least: float = 0.0) -> None:
        seconds = int(self._clock.now() - self._counted_at)
        if self._parts.spend_seconds is None or seconds < at_least:
            return
        self._counted_at += seconds
        try:
            await self._parts.spend_seconds(seconds)
        except QuotaExceeded as error:
            if self._end is None:
                self._refuse(error)
                self._end = "limit"

    async def _look(self, session: LiveSession) -> None:
        if session.connection_id is not None and session.connection_number > self._number:
            await self._connect(session, session.connection_id)
        if (played := session.played) is not None and played != self._played:
            known, self._played = self._played, played
            # Reports may overtake one another.
            if known is None or known.turn_id != played.turn_id or known.ms < played.ms:
                self._dialogue.report(played)
            else:
                self._played = known
        for message in session.inbox:
            if message.kind == "end":
                self._end = self._end or "ended"
            elif not self._leaving:
                await self._dialogue.ask(message, self._follower.next_seq - 1)

    async def _connect(self, session: LiveSession, connection_id: str) -> None:
        """The client is at this connection now."""
        if is_new := session.announced_number < session.connection_number:
            await self._lease.announce(session.connection_number)
        self._number = session.connection_number
        self._outbound.connect(connection_id)
        self._follower.expect(session.last_seq)
        if is_new:
            ready = SessionReady(
                session_id=session.session_id,
                conversation_id=self._ledger.conversation_id,
                engine=session.engine,
                language=session.language,
                next_seq=self._follower.next_seq,
            )
            self._outbound.send(ready, urgent=True)

    def _reason_to_end(self) -> EndReason | None:
        now = self._clock.now()
        if self._outbound.gone_since is not None and now - self._outbound.gone_since > AWAY_SECONDS:
            return "ended"
        if now - self._dialogue.active_at > SILENCE_LIMIT_SECONDS:
            return "idle"
        return None

    async def _finish(self, reason: EndReason) -> None:
        """End the session: what was said is stored, and the client is told why."""
        self._leaving = True
        await self._dialogue.conclude()
        answered = max(self._follower.next_seq - 1, self._ledger.answered_seq)
        await self._ledger.keep(answered)
        connection_id = self._outbound.connection_id
        if reason == "flood":
            self._refuse(AudioFlood())
            self._parts.meter.count("AudioFloods")
        elif reason == "failed":
            self._parts.meter.count(SESSION_FAILED)
        self._outbound.send(SessionEnded(reason=reason))
        await self._outbound.flush(FLUSH_SECONDS)
        await self._count_time()
        await self._patiently(lambda: self._lease.release(state="ended"))
        if reason == "flood" and connection_id is not None:
            await self._parts.channel.disconnect(connection_id)
        raise _Over("ended")

    async def _hand_over(self) -> None:
        """Give the session to the next worker: it goes on after the last frame that needs no answer any more."""
        self._leaving = True
        await self._dialogue.conclude()
        await self._ledger.keep(self._dialogue.answered_seq or 0)
        await self._outbound.flush(FLUSH_SECONDS)
        await self._engine.close()
        await self._count_time()
        await self._patiently(lambda: self._lease.release(state="handing_over"))
        for pause in (0.1, 0.5, 1.0):
            try:
                await self._parts.hand_over(self._clock.now() - self._dialogue.active_at)
            except ParleyError:
                # The client's next ping starts one in any case.
                await self._clock.sleep(pause)
            else:
                self._parts.meter.count("SessionHandoffs")
                break
        else:
            self._parts.meter.count("HandoffFailures")
        raise _Over("handed_over")

    def _refuse(self, error: ParleyError) -> None:
        self._outbound.send(ErrorMessage.of(error))


class AudioFlood(ParleyError):
    """A client sends more audio than time passes."""

    code = "audio_flood"
    default_message = "More audio came than time passed: send it at the pace of speech."


def _leaves(group: BaseExceptionGroup[_Over]) -> list[_Over]:
    found: list[_Over] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
