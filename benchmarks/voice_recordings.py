"""Word error rate of each way to a transcript, on recordings whose transcripts stand beside them."""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import jiwer
from parley_client import Ended, ParleyError, Session, Transcript

from benchmarks.report import Measurement, measurement
from operations import sound
from operations.api import Api, Refused
from operations.environment import LOCAL, Environment, OperationError, resolve
from operations.sign_in import SignIn, as_demo_user
from sandbox.models.speech.recogniser import Recogniser

BASELINE = "open recogniser"
"""What the others are compared with: this machine's recogniser, which expects nothing in particular."""

_ENDINGS = frozenset({".wav", ".flac", ".ogg", ".mp3"})
_SETTLED, _PATIENCE = 4.0, 30.0
_JOB_SECONDS, _JOB_LOOK = 300.0, 2.0
_NOT_WORDS = re.compile(r"[^\w'\s]|_")

type Hear = Callable[["Sample"], Awaitable[str]]


@dataclass(frozen=True)
class Sample:
    """A recording, and what is said in it."""

    path: Path
    said: str


def samples(folder: Path) -> list[Sample]:
    """The recordings of a folder that have a `.txt` of the same name. Raises OperationError when there are none."""
    found = [
        Sample(path, path.with_suffix(".txt").read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _ENDINGS and path.with_suffix(".txt").is_file()
    ]
    if not found:
        raise OperationError(f"{folder} holds no recording with a transcript beside it: call.wav and call.txt.")
    return found


def words(text: str) -> str:
    """A text as it is compared: words in lower case, without punctuation. Numbers stay as they are written."""
    return " ".join(_NOT_WORDS.sub(" ", text.lower().replace("\u2019", "'")).split())


@dataclass(frozen=True)
class Errors:
    """What was heard wrong, in all recordings together."""

    rate: float
    substitutions: int
    deletions: int
    insertions: int
    words: int


def errors(said: Sequence[str], heard: Sequence[str]) -> Errors:
    """Word errors of transcripts: their number as a share of the words that were said."""
    counted = jiwer.process_words([words(text) for text in said], [words(text) for text in heard])
    wrong = counted.substitutions + counted.deletions
    return Errors(counted.wer, counted.substitutions, counted.deletions, counted.insertions, wrong + counted.hits)


def measure(folder: Path, *, environment: str | None, language: str | None) -> Mapping[str, Measurement]:
    """Every path's word error rate. With an environment, calls and uploads are heard by what is deployed there."""
    try:
        return asyncio.run(_measure(samples(folder), environment=environment, language=language))
    except OperationError as error:
        raise SystemExit(str(error)) from error


async def _measure(
    recordings: Sequence[Sample], *, environment: str | None, language: str | None
) -> Mapping[str, Measurement]:
    rates: dict[str, Errors] = {}
    async with AsyncExitStack() as open_:
        for name, hear in (await _paths(open_, recordings, environment=environment, language=language)).items():
            heard: list[str] = []
            try:
                for number, sample in enumerate(recordings, start=1):
                    heard.append(await hear(sample))
                    print(f"{name}: {number} of {len(recordings)}", end="\r", file=sys.stderr)
            except (OperationError, ParleyError, Refused) as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            rates[name] = errors([sample.said for sample in recordings], heard)
    if BASELINE not in rates:
        raise OperationError("This machine's recogniser does not work.")
    return {
        name: measurement(
            found.rate * 100,
            "%",
            # A recogniser that errs nowhere is no number to divide by.
            baseline=max(rates[BASELINE].rate * 100, 0.01),
            note=f"{found.words:,} words in {len(recordings)} recordings: {found.substitutions} wrong, "
            f"{found.deletions} missing, {found.insertions} too many",
        )
        for name, found in rates.items()
    }


async def _paths(
    open_: AsyncExitStack, recordings: Sequence[Sample], *, environment: str | None, language: str | None
) -> dict[str, Hear]:
    paths = {
        BASELINE: await _alone(open_, language=language),
        "recogniser that knows the words": await _alone(open_, language=language, texts=recordings),
        "recogniser that knows the sentences": await _alone(open_, language=language, sentences=recordings),
    }
    if environment is None:
        return paths
    where = resolve(environment)
    who = as_demo_user(where)
    api = await open_.enter_async_context(Api(where.api_url, who, trust_env=environment != LOCAL))
    return paths | {
        f"calls in {environment}": _calls(where, who, language=language),
        f"uploads to {environment}": _uploads(api, language=language),
    }


async def _alone(
    open_: AsyncExitStack, *, language: str | None, texts: Sequence[Sample] = (), sentences: Sequence[Sample] = ()
) -> Hear:
    """The sandbox's recogniser by itself. Knowing the sentences is a closed set: it hears only these."""
    recogniser = Recogniser()
    open_.callback(recogniser.close)
    if texts or sentences:
        await recogniser.learn([sample.said for sample in texts], [], [words(sample.said) for sample in sentences])

    async def hear(sample: Sample) -> str:
        return (await recogniser.hear(b"".join(sound.read(sample.path)), language)).text

    return hear


def _calls(where: Environment, who: SignIn, *, language: str | None) -> Hear:
    """A call for each recording: what the session's engine understood."""

    async def hear(sample: Sample) -> str:
        said: list[str] = []
        session = Session(
            where.api_url,
            token=who.token,
            websocket_url=where.websocket_url,
            language=language,
            trust_env=where.name != LOCAL,
        )
        async with session as call:
            spoken = asyncio.Event()
            call.listen(_speech(sample.path, spoken))
            last = time.monotonic()
            while True:
                with contextlib.suppress(TimeoutError):
                    event = await asyncio.wait_for(anext(call, None), 0.2)
                    if event is None or isinstance(event, Ended):
                        break
                    last = time.monotonic()
                    if isinstance(event, Transcript) and event.role == "user" and event.final:
                        said.append(event.text)
                quiet = time.monotonic() - last
                if spoken.is_set() and quiet > (_SETTLED if said else _PATIENCE) and not call.speaking_for:
                    break
        return " ".join(said)

    return hear


async def _speech(path: Path, spoken: asyncio.Event) -> AsyncIterator[bytes]:
    started = time.monotonic()
    for number, piece in enumerate(sound.read(path), start=1):
        await asyncio.sleep(max(0.0, started + number * sound.PIECE_SECONDS - time.monotonic()))
        yield piece
    spoken.set()


def _uploads(api: Api, *, language: str | None) -> Hear:
    """A transcription job for each recording."""

    async def hear(sample: Sample) -> str:
        content = await asyncio.to_thread(sample.path.read_bytes)
        body = {"name": sample.path.name, "size": len(content)} | ({"language": language} if language else {})
        recording = await api.call("POST", "/recordings", json=body)
        await api.upload(recording["upload"], sample.path.name, content)
        until = time.monotonic() + _JOB_SECONDS
        while time.monotonic() < until:
            recording = await api.call("GET", f"/recordings/{recording['recording_id']}")
            if recording["state"] == "ready":
                text: str = recording["transcript"]["text"]
                return text
            if recording["state"] == "failed":
                raise OperationError(f"{sample.path.name} was not transcribed: {recording['reason']}")
            await asyncio.sleep(_JOB_LOOK)
        raise OperationError(f"{sample.path.name} was not transcribed within {_JOB_SECONDS:.0f} s.")

    return hear
