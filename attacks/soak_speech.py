"""Spoken calls of the soak: marked audio, which the stand-in for the speech model hears without a recogniser."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from parley_client import Answer, ParleyError, Session

from attacks.soak_clients import Client, GivenUp, voice_session
from sandbox.models.speech.cues import Cue, mark

FRAME_SECONDS, FRAME_BYTES = 0.09, 2_880
TALK_FRAMES = 25
UTTERANCES_A_CALL = 5
UNTOLD_AFTER = 60.0
"""Seconds without an answer, after which it is only looked for in the conversation."""
HEARD = "What is there to say?"
SAID = "This is what there is to say."

_calls = itertools.count(1)


@contextmanager
def marked_speech(models_url: str) -> Iterator[None]:
    """While it lasts, the stand-in takes its turns from the marks: it hears HEARD, and says SAID."""
    with httpx.Client(base_url=models_url, trust_env=False, timeout=30) as models:
        before = models.get("/_speech").raise_for_status().json()["settings"]
        wanted = {"cues": True, "transcript": HEARD, "answer": SAID}
        models.post("/_speech", json=wanted).raise_for_status()
        try:
            yield
        finally:
            models.post("/_speech", json={name: before[name] for name in wanted}).raise_for_status()


class Speaker(Client):
    """Speaks in calls, one utterance after the other's answer. Silence is sent in between, as microphones do."""

    kind = "spoken calls"

    def once(self) -> None:
        """One call: each of its utterances is acknowledged, and answered."""
        asyncio.run(self._call())

    async def _call(self) -> None:
        number = next(_calls)
        try:
            async with voice_session(self.person) as session:
                microphone = _Microphone(session, number)
                sending = asyncio.create_task(microphone.run())
                try:
                    for _ in range(UTTERANCES_A_CALL):
                        await self._utterance(session, microphone)
                        if time.monotonic() > self.end:
                            break
                        # Who speaks into an answer interrupts it.
                        await asyncio.sleep(session.speaking_for + 0.5)
                finally:
                    sending.cancel()
                    conversation = session.conversation_id
                    if conversation is not None:
                        with self.ledger.lock:
                            self.ledger.spoken[conversation] += microphone.said
        except ParleyError as error:
            raise GivenUp(str(error)) from error

    async def _utterance(self, session: Session, microphone: "_Microphone") -> None:
        """Speak, and listen for the answer.

        An answer that was stored and not told, because its worker ended in between, cannot be asked for again: it
        counts like the others, and must be in the conversation.
        """
        await microphone.say()
        since = time.monotonic()
        try:
            async with asyncio.timeout(UNTOLD_AFTER):
                async for event in session:
                    if isinstance(event, Answer):
                        self.ledger.took(self.kind, since)
                        return
        except TimeoutError:
            if session.conversation_id is None:
                raise GivenUp(f"the first utterance of a call was not answered within {UNTOLD_AFTER:g} s") from None
            self.ledger.again(f"{self.kind}, untold")
            return
        raise ParleyError("ended", "The call ended before an utterance was answered.")


class _Microphone:
    """Frames at the pace of speech: silence, and an utterance when it is asked for."""

    def __init__(self, session: Session, call: int) -> None:
        self._session = session
        self._call = call
        self._left = 0
        self._said = asyncio.Event()
        self.said = 0
        """Utterances."""

    async def say(self) -> None:
        """An utterance; returns when its last frame was sent."""
        self._said.clear()
        self._left = TALK_FRAMES
        await self._said.wait()

    async def run(self) -> None:
        """Until it is cancelled, or the call is over."""
        with contextlib.suppress(ParleyError):
            await self._run()
        # Whoever waits for an utterance to be said sees what the session tells of its end.
        self._said.set()

    async def _run(self) -> None:
        began = time.monotonic()
        for number in itertools.count(1):
            await asyncio.sleep(max(0.0, began + number * FRAME_SECONDS - time.monotonic()))
            cue: Cue = "begins" if self._left == TALK_FRAMES else "ends" if self._left == 1 else ""
            await self._session.send_audio(mark(self._call, number, cue).ljust(FRAME_BYTES, b"\0"))
            if self._left:
                self._left -= 1
                if self._left == 0:
                    self.said += 1
                    self._said.set()
