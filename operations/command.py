"""What every operator's command shares: its options, how it shows a result, and how it ends."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from operations.environment import LOCAL, OperationError, add_arguments, aws_trouble
from sandbox.state import SandboxError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses. argparse itself ends with WRONG_USAGE."""

_ENDS = """\
exit status:
  0  done
  1  it failed, or it found something that must not be; the reason is on standard error
  2  wrong arguments
  130  interrupted"""

_PIPE_WIDTH = 240


class Mark(StrEnum):
    """How one check ended."""

    OK = "ok"
    WARNING = "warning"
    """Worth knowing; fails nothing."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It does not apply here, or could not be looked at; the check says which."""


_COLOURS = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.FAILED: "red", Mark.SKIPPED: "dim"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a command looked at."""

    what: str
    mark: Mark
    said: str = ""
    """What was found, in a sentence or less."""
    remedy: str = ""
    """What helps, where something has to be done."""
    seconds: float | None = None
    """How long it took, where that says something."""

    def document(self) -> dict[str, Any]:
        """The check as JSON, without what it does not have."""
        pairs = {"what": self.what, "mark": self.mark.value, "said": self.said, "remedy": self.remedy}
        found: dict[str, Any] = {key: value for key, value in pairs.items() if value}
        return found if self.seconds is None else found | {"seconds": round(self.seconds, 3)}


def parser(
    name: str, *, description: str, examples: str, ends: str = _ENDS, notes: str = "", deployed: bool = True
) -> argparse.ArgumentParser:
    """The parser of `scripts/<name>` with `--json`, and for a deployed environment with `--env` and `--region`.

    `examples` are indented lines of the help, `notes` a paragraph below them, `ends` its list of exit statuses.
    """
    parts = (f"examples:\n{examples.rstrip()}", notes.strip(), ends.strip())
    made = argparse.ArgumentParser(
        prog=f"scripts/{name}",
        description=description,
        epilog="\n\n".join(part for part in parts if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if deployed:
        add_arguments(made)
    made.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    return made


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The option `-c FLAG=VALUE`, as the CDK has it: pairs in `flags`."""
    parser.add_argument(
        "-c",
        dest="flags",
        action="append",
        default=[],
        type=_flag,
        metavar="FLAG=VALUE",
        help="a flag's value instead of cdk.json's; may be given several times",
    )


def run(
    work: Callable[[argparse.Namespace], int],
    options: argparse.Namespace,
    *,
    failed: int = FAILED,
    interrupted: str = "Interrupted.",
) -> int:
    """Do the command's work; returns its exit status.

    What stops it is one sentence on standard error, and ends it with `failed`; an interrupt says `interrupted`.
    """
    try:
        with _interruptible():
            status = work(options)
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        # Whoever read it has read enough. Python's own farewell must not try it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (OperationError, SandboxError) as error:
        print(error, file=sys.stderr)
        return failed
    except (BotoCoreError, ClientError) as error:
        print(aws_trouble(options.env, error), file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        return INTERRUPTED


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interrupt end the work, also where a shell started it in the background, and a termination as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Python's own handler, which asyncio knows how to take over.
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _interrupt}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def confirm(question: str, answer: str, *, instead: str) -> None:
    """Ask at the terminal, and raise OperationError unless `answer` is typed. `instead` is the option that says it."""
    if not sys.stdin.isatty():
        raise OperationError(f"There is nobody to ask: give {instead}.")
    # On standard error, as everything is that is not the result.
    print(question, end=" ", file=sys.stderr, flush=True)
    try:
        typed = input().strip()
    except EOFError:
        typed = ""
    if typed != answer:
        raise OperationError("Nothing was done.")


def print_json(document: Any) -> None:
    """Print a command's result as JSON."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print rows below their columns' names; None is an empty cell. Nothing is cut off where the output is a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else "" if cell is None else Text(str(cell)) for cell in row))
    if sys.stdout.isatty():
        console().print(table)
        return
    # Without the spaces with which a table fills its last column.
    pipe = console(width=_PIPE_WIDTH)
    with pipe.capture() as captured:
        pipe.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_checks(checks: Sequence[Check], *, title: str = "") -> None:
    """Print checks as a table, each remedy below its finding."""
    timed = any(check.seconds is not None for check in checks)
    rows: list[Sequence[object]] = []
    for check in checks:
        mark = Text(check.mark.value, style=_COLOURS[check.mark])
        said = check.said + (f"\n-> {check.remedy}" if check.remedy else "")
        seconds = "" if check.seconds is None else f"{check.seconds:.2f} s"
        rows.append((mark, check.what, *((seconds,) if timed else ()), said))
    print_table(("", "check", *(("time",) if timed else ()), "found"), rows, title=title)


def is_failed(checks: Iterable[Check]) -> bool:
    """Whether one of the checks failed."""
    return any(check.mark is Mark.FAILED for check in checks)


def _flag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"FLAG=VALUE, got {text!r}")
    return name, value


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that does not guess what to emphasize."""
    return Console(stderr=stderr, highlight=False, width=width)


__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "LOCAL",
    "WRONG_USAGE",
    "Check",
    "Mark",
    "OperationError",
    "add_flags",
    "confirm",
    "console",
    "is_failed",
    "parser",
    "print_checks",
    "print_json",
    "print_table",
    "run",
]
