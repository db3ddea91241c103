"""The logs of a running sandbox in one stream: what functions wrote, and what the servers warn of."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from sandbox.demo_user import session
from sandbox.processes import Server
from sandbox.state import STACK_PREFIX, State

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

# Lambda's own lines, and metrics, which CloudWatch reads out of the log.
_PLATFORM = re.compile(r'^(START|END|REPORT) RequestId: |^INIT_START |^\{"_aws":')
# MiniStack repeats in its own log what functions say, as lines of JSON.
_QUIET = re.compile(r" INFO |^\{")
_INTERVAL = 1.0


def follow(state: State, servers: list[Server], endpoint: str, console: Console) -> str:
    """Print log lines until a server ends; returns its name. Ctrl-C raises `KeyboardInterrupt` as always."""
    logs = boto3.client("logs", **session(endpoint))
    functions = FunctionLogs(logs, since=int(time.time() * 1000))
    files = [ServerLog(server.name, state.log(server.name)) for server in servers]
    while True:
        for name, line in [*functions.news(), *(item for file in files for item in file.news())]:
            console.print(f"{name:<24} {line}", markup=False, soft_wrap=True)
        for server in servers:
            if server.process() is None:
                return server.name
        time.sleep(_INTERVAL)


class ServerLog:
    """Lines that a server adds to its log, its routine left out."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0

    def news(self) -> list[tuple[str, str]]:
        """What was added since the last look, as pairs of server and line."""
        try:
            with self._path.open() as log:
                log.seek(self._position)
                lines = log.readlines()
                self._position = log.tell()
        except OSError:
            return []
        return [(self._name, line.rstrip()) for line in lines if line.strip() and not _QUIET.search(line)]


class FunctionLogs:
    """What the deployed functions log, from CloudWatch Logs."""

    def __init__(self, logs: "CloudWatchLogsClient", *, since: int) -> None:
        self._logs = logs
        self._since: dict[str, int] = {}
        self._start = since
        self._seen: set[tuple[str, str, int, str]] = set()

    def news(self) -> list[tuple[str, str]]:
        """What was written since the last look, as pairs of function and line."""
        found: list[tuple[int, str, str]] = []
        try:
            for group in self._groups():
                since = self._since.get(group, self._start)
                for event in self._events(group, since):
                    # MiniStack gives events no id of their own.
                    key = (group, event["logStreamName"], event["timestamp"], event["message"])
                    if key in self._seen:
                        continue
                    self._seen.add(key)
                    self._since[group] = max(self._since.get(group, 0), event["timestamp"])
                    message = event["message"].rstrip()
                    if not _PLATFORM.match(message):
                        found.append((event["timestamp"], _short(group), message))
        except (BotoCoreError, ClientError):
            pass
        # Only events of a group's last millisecond can be read again.
        self._seen = {key for key in self._seen if key[2] >= self._since.get(key[0], 0)}
        return [(name, line) for _, name, line in sorted(found)]

    def _groups(self) -> list[str]:
        pages = self._logs.get_paginator("describe_log_groups").paginate()
        names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
        return [name for name in names if STACK_PREFIX in name]

    def _events(self, group: str, since: int) -> list[Any]:
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        return [event for page in pages for event in page["events"]]


def _short(group: str) -> str:
    """A group's name without prefix and random suffix: `Assistant-Chat`."""
    name = group.rpartition(STACK_PREFIX + "-")[2]
    return re.sub(r"(Logs|LogGroup)?[0-9A-F]{8}.*$", "", name)
