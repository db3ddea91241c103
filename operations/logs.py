"""`scripts/logs`: one conversation, session or request through the logs of every function and API."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from rich.text import Text

from operations import command
from operations.command import OperationError
from operations.deployed import Resource, resources, stacks
from operations.environment import Place, locate
from operations.kinds import is_missing

MOST = 10_000
"""Lines that one look reads at most from one log group."""

_EXAMPLES = """\
  scripts/logs 0b9e8f8e-5c1f-4c1e-9a41-2f4b5d6a7c80          a conversation, session or request, by its id
  scripts/logs --since 15m                                   everything of the last 15 minutes
  scripts/logs --since 1h --level warning --env prod
  scripts/logs 0b9e8f8e-5c1f-4c1e-9a41-2f4b5d6a7c80 --json
  scripts/logs --since 1m --follow"""

_NOTES = """\
An id is looked for in every log group of the environment. What is found names its correlation id, by which everything
is found that the same request caused in other functions. Logs never hold what was said."""

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LEVELS = ("debug", "info", "warning", "error", "critical")
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}
# Lambda's own lines, and metrics, which CloudWatch reads out of the log.
_PLATFORM = re.compile(r'^(START|END|REPORT|INIT_START|EXTENSION)\b|^\{"_aws":')
_CORRELATION = ("correlation_id", "requestId", "request_id")
# What stands in a line's other columns, or in every line.
_ELSEWHERE = frozenset(
    {
        *("level", "message", "timestamp", "service", "location", "correlation_id", "cold_start", "function_name"),
        *("function_memory_size", "function_arn", "function_request_id", "xray_trace_id"),
    }
)
_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one log."""

    at: int
    """Milliseconds since the epoch."""
    source: str
    message: str

    @property
    def fields(self) -> Mapping[str, Any]:
        """What a structured line says; nothing for one that is not."""
        try:
            found = json.loads(self.message)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def level(self) -> str:
        """Its level in lower case; lines without one are an API's, or were printed."""
        return str(self.fields.get("level", "info")).lower()

    def document(self) -> dict[str, Any]:
        """The line as JSON."""
        at = datetime.fromtimestamp(self.at / 1000, UTC).isoformat(timespec="milliseconds")
        return {"at": at, "source": self.source, **({"line": self.fields} if self.fields else {"text": self.message})}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "logs",
        description="Follow one conversation, session or request through every function's log.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.add_argument("id", nargs="?", help="of a conversation, session, request or document")
    parser.add_argument(
        "--since", type=_seconds, default=None, metavar="TIME", help="how far back: 90s, 15m, 6h, 2d (default 1h)"
    )
    parser.add_argument("--level", choices=_LEVELS, default="debug", help="lines of this level and above")
    parser.add_argument("--follow", action="store_true", help="go on with what is written, until Ctrl-C")
    parser.add_argument("--all", action="store_true", help="Lambda's own lines and metrics as well")
    return command.run(_work, parser.parse_args(arguments), interrupted="")


def _seconds(text: str) -> float:
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return int(match[1]) * _UNITS[match[2]]
    raise argparse.ArgumentTypeError(f"a number with s, m, h or d after it, got {text!r}")


def _work(options: argparse.Namespace) -> int:
    if options.id is not None and not re.fullmatch(r"[\w:=+/.#@-]{6,200}", options.id):
        raise OperationError("An id has letters, digits and - _ : = + / . # @ alone, and six of them at least.")
    place = locate(options.env, options.region)
    groups = log_groups(place)
    if not groups:
        raise OperationError(f"No environment {place.name} is deployed in {place.region}, or it has no logs.")
    since = int((time.time() - (options.since or 3_600)) * 1000)
    seen: set[Line] = set()
    while True:
        lines = [line for line in find(place, groups, options.id, since) if line not in seen]
        seen.update(lines)
        shown = [line for line in lines if _is_wanted(line, options)]
        _print(shown, as_json=options.json, follow=options.follow)
        if not options.follow:
            break
        # Lines of one time may still come in.
        since = max([since, *(line.at - 10_000 for line in lines)])
        time.sleep(_INTERVAL)
    if options.id and not seen:
        print(f"Nothing of {options.id} was found: look further back with --since.", file=sys.stderr)
        return command.FAILED
    return command.DONE


def log_groups(place: Place) -> list[Resource]:
    """The log groups of the environment's functions and APIs."""
    return [
        thing
        for stack in stacks(place)
        for thing in resources(place, stack.name, stack.id, stack.region)
        if thing.type == "AWS::Logs::LogGroup"
    ]


def find(place: Place, groups: Sequence[Resource], identifier: str | None, since: int) -> list[Line]:
    """The lines since a time (in ms) that hold an id, and those of the same requests; without an id all of them.

    Oldest first. Raises what boto3 raises.
    """
    found = _read(place, groups, identifier, since)
    if identifier is not None:
        related = {
            str(line.fields[key]) for line in found for key in _CORRELATION if isinstance(line.fields.get(key), str)
        }
        for one in sorted(related - {identifier}):
            found |= _read(place, groups, one, since)
    return sorted(found, key=lambda line: (line.at, line.source))


def _read(place: Place, groups: Sequence[Resource], term: str | None, since: int) -> set[Line]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        return {line for lines in pool.map(partial(_of_group, place, term, since), groups) for line in lines}


def _of_group(place: Place, term: str | None, since: int, group: Resource) -> list[Line]:
    logs = place.client("logs", group.region)
    # In quotes a term is itself, whatever characters it has.
    pattern = {"filterPattern": json.dumps(term)} if term else {}
    lines: list[Line] = []
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group.physical_id, startTime=since, **pattern)
    try:
        for page in pages:
            lines += [Line(event["timestamp"], _source(group), event["message"].rstrip()) for event in page["events"]]
            if len(lines) >= MOST:
                break
    except ClientError as error:
        # Its stack is being deleted.
        if not is_missing(error):
            raise
    return lines


def _source(group: Resource) -> str:
    """`Assistant-Chat` for the group of the function Chat."""
    part = group.stack.rpartition("-")[2]
    name = re.sub(r"(Parts)?(AccessLog)?(LogGroup|Logs)[0-9A-F]{8}$", r"\2", group.logical_id)
    return f"{part}-{name.removeprefix('KnowledgeBase')}"


def _is_wanted(line: Line, options: argparse.Namespace) -> bool:
    if not options.all and _PLATFORM.match(line.message):
        return False
    return line.level not in _LEVELS or _LEVELS.index(line.level) >= _LEVELS.index(options.level)


def _print(lines: Iterable[Line], *, as_json: bool, follow: bool) -> None:
    if as_json and not follow:
        command.print_json([line.document() for line in lines])
        return
    console = command.console(width=None if sys.stdout.isatty() else 10_000)
    for line in lines:
        if as_json:
            # One document a line: nobody knows the end of what is followed.
            print(json.dumps(line.document(), ensure_ascii=False), flush=True)
            continue
        at = datetime.fromtimestamp(line.at / 1000).strftime("%H:%M:%S.%f")[:-3]
        console.print(Text(f"{at}  {line.source:<34} "), _said(line), sep="", soft_wrap=True)


def _said(line: Line) -> Text:
    fields = line.fields
    if not fields:
        return Text(line.message)
    rest = {key: value for key, value in fields.items() if key not in _ELSEWHERE and value not in (None, "")}
    details = "  ".join(f"{key}={value}" for key, value in rest.items())
    message = str(fields.get("message", ""))
    correlation = str(fields.get("correlation_id") or "")
    said = Text(f"{line.level:<8} " if "level" in fields else "", style=_COLOURS.get(line.level, ""))
    said.append("  ".join(part for part in (message, details, correlation) if part))
    return said


if __name__ == "__main__":
    sys.exit(main())
