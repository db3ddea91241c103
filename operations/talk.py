"""`scripts/talk`: speaks a recording to the assistant, in real time, and keeps what comes back."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parley_client import (
    OUTPUT_RATE,
    Answer,
    Audio,
    Ended,
    Event,
    Interrupted,
    ParleyError,
    Problem,
    Reconnecting,
    Session,
    ToolNotice,
    Transcript,
    Usage,
)

from operations import command, sound
from operations.environment import LOCAL, OperationError, resolve
from operations.sign_in import add_arguments as add_sign_in_arguments
from operations.sign_in import sign_in

UNANSWERED, NOT_DONE = command.FAILED, command.WRONG_USAGE

PATIENCE = 30.0
"""Seconds after the end of the recording in which an answer must come."""

SETTLED = 2.0
"""Seconds without anything being said, after which the conversation counts as over."""

_LOOK = 0.2
_NAMES = {"user": "you", "assistant": "parley"}

_EXAMPLES = """\
  scripts/talk question.wav                       to the sandbox, as its demo user
  scripts/talk question.wav --out answer.wav      and keep what it says
  scripts/talk question.wav --env dev --user ada@example.com --language en-GB
  PARLEY_API_KEY=parley_... scripts/talk question.wav --url https://abc.execute-api.eu-central-1.amazonaws.com --json"""

_NOTES = """\
The recording may be of any rate, width and number of channels. It is spoken in real time, silence follows it, and the
command ends when everything has been answered and played."""

_ENDS = """\
exit status:
  0  it was answered
  1  it was not answered, or the session ended before
  2  wrong arguments, no recording, nobody signed in, or the environment does not answer
  130  interrupted"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return command.run(_run, _parser().parse_args(arguments), failed=NOT_DONE)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "talk",
        description="Speak a recording to the assistant, in real time, and print what both say.",
        examples=_EXAMPLES,
        notes=_NOTES,
        ends=_ENDS,
    )
    parser.add_argument("recording", type=Path, metavar="FILE", help="a WAV file (or another that libsndfile reads)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the assistant's voice, as WAV")
    parser.add_argument("--url", help="the HTTP API's address, instead of --env: needs no AWS credentials")
    add_sign_in_arguments(parser)
    parser.add_argument("--engine", help="nova-sonic or cascade (default: the environment's)")
    parser.add_argument("--language", help="what is spoken, for example en-US (default: the environment's first)")
    parser.add_argument("--voice", help="one of the engine's voices")
    parser.add_argument("--conversation", metavar="ID", help="go on with an earlier conversation")
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long to wait for an answer after the recording (default {PATIENCE:.0f})",
    )
    return parser


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < 86_400:
            return number
    raise argparse.ArgumentTypeError(f"a number of seconds above 0, got {text!r}")


@dataclass
class Talk:
    """What was said, and what is still to come."""

    said: list[Transcript] = field(default_factory=list)
    """Final texts of both, in order."""
    answers: list[Answer] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    voice: bytearray = field(default_factory=bytearray)
    """What the assistant said: PCM at OUTPUT_RATE."""
    ended: str | None = None
    reconnections: int = 0
    open_turns: set[str] = field(default_factory=set)
    last_at: float = 0.0

    def take(self, event: Event) -> None:
        """Note an event."""
        self.last_at = time.monotonic()
        match event:
            case Transcript(turn_id=turn_id):
                if event.role == "user" and not any(answer.turn_id == turn_id for answer in self.answers):
                    self.open_turns.add(turn_id)
                if event.final:
                    self.said.append(event)
            case Audio():
                self.voice += event.pcm
            case Answer(turn_id=turn_id):
                self.answers.append(event)
                self.open_turns.discard(turn_id)
            case Interrupted(turn_id=turn_id):
                self.open_turns.discard(turn_id)
            case Usage():
                self.usage.append(event)
            case Problem():
                self.problems.append(event)
            case Reconnecting():
                self.reconnections += 1
            case Ended(reason=reason):
                self.ended = reason

    @property
    def settled(self) -> bool:
        """Has everything been answered, and nothing been said for a while?"""
        quiet = time.monotonic() - self.last_at
        return bool(self.answers) and not self.open_turns and quiet > SETTLED


def _run(options: argparse.Namespace) -> int:
    length = sound.duration(options.recording)
    if options.out and not options.out.absolute().parent.is_dir():
        raise OperationError(f"{options.out.parent} is no folder.")
    environment = None if options.url else resolve(options.env, options.region)
    url = options.url or (environment.api_url if environment else "")
    session = Session(
        url,
        token=sign_in(options, environment).token,
        websocket_url=environment.websocket_url if environment else None,
        conversation_id=options.conversation,
        engine=options.engine,
        language=options.language,
        voice=options.voice,
        # Loopback is never reached through a proxy.
        trust_env=options.url is not None or options.env != LOCAL,
    )
    talk, view = Talk(), _View(quiet=options.json)
    try:
        asyncio.run(_talk(session, sound.read(options.recording), talk, view, patience=options.patience))
    except ParleyError as error:
        raise OperationError(f"{error}") from error
    finally:
        if options.out and talk.voice:
            sound.write(options.out, bytes(talk.voice))
    if options.json:
        command.print_json(_document(talk, session, length, options.out))
    else:
        _summarize(talk, length, options.out)
    if talk.ended not in (None, "ended"):
        print(f"The session ended before everything was said: {talk.ended}.", file=sys.stderr)
        return UNANSWERED
    if not talk.answers or talk.open_turns:
        print(f"Not answered within {options.patience:g} s after the recording.", file=sys.stderr)
        return UNANSWERED
    return 0


async def _talk(session: Session, recording: Iterable[bytes], talk: Talk, view: "_View", *, patience: float) -> None:
    spoken = asyncio.Event()
    async with session:
        session.listen(_microphone(recording, spoken))
        give_up: float | None = None
        while talk.ended is None:
            with contextlib.suppress(TimeoutError):
                event = await asyncio.wait_for(anext(session, None), _LOOK)
                if event is None:
                    return
                talk.take(event)
                view.show(event)
            if not spoken.is_set():
                continue
            now = time.monotonic()
            give_up = give_up or now + patience
            if session.speaking_for > 0:
                give_up = now + patience
            elif talk.settled or now > give_up:
                return


async def _microphone(recording: Iterable[bytes], spoken: asyncio.Event) -> AsyncIterator[bytes]:
    """The recording as it is spoken, and then the silence of somebody who listens."""
    started = time.monotonic()
    position = 0.0
    silence = bytes(2 * round(sound.PIECE_SECONDS * 16_000))
    pieces = iter(recording)
    while True:
        piece = next(pieces, None)
        if piece is None:
            spoken.set()
            piece = silence
        # A microphone gives a sound when it is over.
        position += sound.PIECE_SECONDS
        await asyncio.sleep(max(0.0, started + position - time.monotonic()))
        yield piece


class _View:
    """What is seen while they talk: final texts as lines; what is still being said, in a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stdout.isatty()
        self._partial = False

    def show(self, event: Event) -> None:
        """Print what an event means to a reader."""
        match event:
            case Transcript(final=True):
                self._line(f"{_NAMES[event.role]}: {event.text}")
            case Transcript() if self._terminal and not self._quiet:
                print(f"\r\x1b[K{_NAMES[event.role]}: {event.text[-70:]} ...", end="", flush=True)
                self._partial = True
            case ToolNotice(status="started"):
                self._line(f"  [{event.name}]")
            case ToolNotice(status="failed"):
                self._line(f"  [{event.name} failed]")
            case Interrupted():
                self._line("  [interrupted]")
            case Answer():
                for citation in event.citations:
                    self._line(f"  [{citation.id}] {citation.document}")
            case Problem():
                self._line(f"  {event.message} ({event.code})")
            case Reconnecting():
                self._line(f"  [reconnecting: {event.reason}]")

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        if self._partial:
            print("\r\x1b[K", end="")
            self._partial = False
        print(text, flush=True)


def _summarize(talk: Talk, length: float, out: Path | None) -> None:
    spoken = len(talk.voice) / 2 / OUTPUT_RATE
    print(f"{length:.1f} s spoken, {spoken:.1f} s of answer", end="")
    cost = sum(usage.cost_usd or 0 for usage in talk.usage)
    print(f", ${cost:.4f} for the models" if cost else "", end="")
    print(f", written to {out}" if out and talk.voice else "")


def _document(talk: Talk, session: Session, length: float, out: Path | None) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "conversation_id": session.conversation_id,
        "said": [asdict(transcript) for transcript in talk.said],
        "answers": [asdict(answer) for answer in talk.answers],
        "usage": [asdict(usage) for usage in talk.usage],
        "problems": [asdict(problem) for problem in talk.problems],
        "reconnections": talk.reconnections,
        "ended": talk.ended,
        "spoken_seconds": round(length, 3),
        "answer_seconds": round(len(talk.voice) / 2 / OUTPUT_RATE, 3),
        "out": str(out) if out and talk.voice else None,
    }


if __name__ == "__main__":
    sys.exit(main())
