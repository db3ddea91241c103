"""`scripts/ingest`: files and folders into the knowledge base of an environment."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from operations import command
from operations.api import Api
from operations.documents import CONCURRENCY, PATIENCE, Found, Ingest, Outcome, Result, find
from operations.environment import LOCAL, OperationError, data_folder, resolve
from operations.memory import FILE, Memory
from operations.sign_in import SignIn, sign_in
from operations.sign_in import add_arguments as add_sign_in_arguments

SOME_FAILED, NOT_DONE, INTERRUPTED = command.FAILED, command.WRONG_USAGE, command.INTERRUPTED

_EXAMPLES = """\
  scripts/ingest handbook.pdf notes/            your own documents, in the sandbox
  scripts/ingest docs --shared                  for everyone; curators may
  scripts/ingest docs --env dev --user ada@example.com
  PARLEY_API_KEY=parley_... scripts/ingest docs --url https://abc.execute-api.eu-central-1.amazonaws.com"""

_NOTES = """\
Run again, the same command sends what changed, failed or was interrupted, and leaves the rest alone. It goes by the
path of each file and by what this machine remembers of it."""

_ENDS = """\
exit status:
  0  every file is ready, or was skipped
  1  some files failed
  2  wrong arguments, nobody signed in, or the environment does not answer
  130  interrupted"""

_PLAIN_SILENCE = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return command.run(_run, _parser().parse_args(arguments), failed=NOT_DONE)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "ingest",
        description="Make documents of files, and of those in folders, and wait until they are indexed.",
        examples=_EXAMPLES,
        notes=_NOTES,
        ends=_ENDS,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument("--url", help="the HTTP API's address, instead of --env: needs no AWS credentials")
    add_sign_in_arguments(parser)
    parser.add_argument("--shared", action="store_true", help="documents that everyone reads (for curators)")
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until every document is ready or failed (default)",
    )
    parser.add_argument(
        "--patience",
        type=_positive(float),
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long to wait for the next document to be ready (default {PATIENCE:.0f})",
    )
    parser.add_argument(
        "--concurrency",
        type=_positive(int),
        default=CONCURRENCY,
        metavar="N",
        help=f"files sent at once (default {CONCURRENCY})",
    )
    return parser


def _positive[NumberT: (int, float)](kind: Callable[[str], NumberT]) -> Callable[[str], NumberT]:
    def parse(text: str) -> NumberT:
        with contextlib.suppress(ValueError):
            if 0 < (number := kind(text)) < 1_000_000:
                return number
        raise argparse.ArgumentTypeError(f"a number above 0, got {text!r}")

    return parse


class _View:
    """What is seen while it works: a bar in a terminal, lines elsewhere. On standard error, beside the result."""

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = (
            Progress(
                TextColumn("[progress.description]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            if self._console.is_terminal
            else None
        )
        self._task = self._bar.add_task("looking", total=total) if self._bar else None
        self._total = total
        self._done = 0
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, result: Result | None, waiting: int) -> None:
        """A result, or that there is none just now; `waiting` documents are being indexed."""
        self._done += result is not None
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done, description=f"{waiting} being indexed")
        if result is not None and result.outcome is not Outcome.UNCHANGED:
            self._print(_line(result))
        elif not self._bar and time.monotonic() - self._spoke > _PLAIN_SILENCE:
            self._print(f"{self._done} of {self._total} done, {waiting} being indexed")

    def _print(self, line: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(escape(line), soft_wrap=True)


def _run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    if options.url:
        environment, url, folder = None, options.url.rstrip("/"), data_folder(options.url.rstrip("/"))
    else:
        environment = resolve(options.env, options.region)
        url, folder = environment.api_url, environment.folder
    who = sign_in(options, environment)
    found = find(options.paths)
    results = {other.path: other for other in found.others}
    stopped: str | None = None
    status = 0
    with Memory.open(folder / FILE) as memory, _View(len(found.files)) as view:
        try:
            asyncio.run(_ingest(options, url, who, memory, found, view, results))
        except OperationError as error:
            stopped, status = str(error), NOT_DONE
        except (asyncio.CancelledError, KeyboardInterrupt):
            stopped, status = "Interrupted.", INTERRUPTED
    if not status and any(result.outcome is Outcome.FAILED for result in results.values()):
        status = SOME_FAILED
    left = len(found.files) + len(found.others) - len(results)
    if options.json:
        _print_json(list(results.values()), stopped=stopped, left=left)
    else:
        _print_summary(list(results.values()), seconds=time.monotonic() - started)
    if stopped is not None:
        print(f"{stopped} {left} files are not done: the same command goes on from here.", file=sys.stderr)
    return status


async def _ingest(
    options: argparse.Namespace,
    url: str,
    who: SignIn,
    memory: Memory,
    found: Found,
    view: _View,
    results: dict[Path, Result],
) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is not None:
        # Also where a shell started this in the background, with interrupts ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)

    def report(result: Result | None) -> None:
        if result is not None:
            results[result.path] = result
        view.show(result, ingest.waiting)

    # Loopback is never reached through a proxy.
    async with Api(url, who, trust_env=options.url is not None or options.env != LOCAL) as api:
        ingest = Ingest(
            api,
            memory,
            shared=options.shared,
            wait=options.wait,
            concurrency=options.concurrency,
            patience=options.patience,
            report=report,
        )
        await ingest.run(found.files)


def _line(result: Result) -> str:
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.outcome.value:<9} {_shown(result.path)}{reason}"


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _print_summary(results: Sequence[Result], *, seconds: float) -> None:
    """Counts, why files were skipped, and every failure."""
    counts = Counter(result.outcome for result in results)
    said = [f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome if counts[outcome]]
    print(f"{', '.join(said) or 'Nothing was done'} in {seconds:.1f} s")
    skipped = Counter(result.reason for result in results if result.outcome is Outcome.SKIPPED)
    for reason, count in skipped.most_common():
        print(f"  skipped {count:,}: {reason}")
    for result in results:
        if result.outcome is Outcome.FAILED:
            print(f"  {_line(result)}")


def _print_json(results: Sequence[Result], *, stopped: str | None, left: int) -> None:
    counts = Counter(result.outcome for result in results)
    document = {
        "counts": {outcome.value: counts[outcome] for outcome in Outcome},
        "not_done": left,
        "stopped": stopped,
        "files": [
            {
                "path": str(result.path),
                "outcome": result.outcome.value,
                "reason": result.reason,
                "document_id": result.document_id,
            }
            for result in results
        ],
    }
    command.print_json(document)


if __name__ == "__main__":
    sys.exit(main())
