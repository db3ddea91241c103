"""`scripts/fuzz`: both APIs of the running sandbox against generated requests and messages."""

import argparse
import secrets
import sys
import time
from collections.abc import Sequence

from attacks.http import fuzz_http
from attacks.websocket import fuzz_websocket
from operations.command import DONE, FAILED, console, parser, print_json, print_table, run
from sandbox.people import Sandbox
from sandbox.state import State

_EXAMPLES = """\
  scripts/fuzz http                        5,000 generated requests, and every boundary of the OpenAPI document
  scripts/fuzz websocket --cases 20000     more messages, from the AsyncAPI document
  scripts/fuzz http --seed 42 --cases 300  the same requests as the last time it was said"""

CASES = 5_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    made = parser(
        "fuzz",
        description="Attack the running sandbox with generated requests or messages: no server error, no hang, no "
        "answer that its document does not describe, and nothing of another user's.",
        examples=_EXAMPLES,
        deployed=False,
    )
    made.add_argument("api", choices=("http", "websocket"), help="which API")
    made.add_argument("--cases", type=int, default=CASES, metavar="N", help=f"about how many (default {CASES:,})")
    made.add_argument("--seed", type=int, help="repeat a run: the seed that it printed (default: a new one)")
    options = made.parse_args(arguments)
    if options.cases < 1:
        made.error("--cases is 1 or more")
    return run(_fuzz, options)


def _fuzz(options: argparse.Namespace) -> int:
    sandbox = Sandbox(State.locate().outputs())
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    started = time.monotonic()
    try:
        with console(stderr=True).status(f"some {options.cases:,} cases with the seed {seed} ..."):
            if options.api == "http":
                report = fuzz_http(sandbox, cases=options.cases, seed=seed)
            else:
                report = fuzz_websocket(sandbox, cases=options.cases, seed=seed)
    finally:
        sandbox.close()
    seconds = time.monotonic() - started
    for failure in report.failures:
        print(failure, file=sys.stderr)
    if options.json:
        print_json({"api": options.api, "seed": seed, "seconds": round(seconds), **report.document()})
    else:
        print_table(("sent", "times"), sorted(report.sent.items()))
        print()
        print_table(("answer", "times"), sorted(report.answers.items()))
        verdict = f"{len(report.failures)} failures" if report.failures else "nothing that must not be"
        print(f"\n{report.cases:,} cases in {seconds:.0f} s, seed {seed}: {verdict}.")
    return FAILED if report.failures else DONE


if __name__ == "__main__":
    sys.exit(main())
