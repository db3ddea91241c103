"""Who uses the processor and the memory while calls run: the sandbox's processes, by what they are."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

GROUPS = ("workers", "gateway", "functions", "ministack", "models", "callers")
"""Session workers; the gateway; other functions; MiniStack; the AI endpoint; this process, which plays the callers."""


@dataclass(frozen=True)
class Used:
    """Processor seconds of a group since `begin`, and the resident memory of its largest process in megabytes."""

    cpu: float
    largest_mb: float


class Processes:
    """The processes of a sandbox whose servers have these process ids."""

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._servers = servers
        self._before: dict[tuple[int, float], float] = {}

    def begin(self) -> None:
        """Count from now."""
        self._before = {key: cpu for _, key, cpu, _ in self._running()}

    def used(self) -> Mapping[str, Used]:
        """What each group used since `begin`. A process that has ended since counts nothing."""
        cpu, memory = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0.0)
        for group, key, seconds, resident in self._running():
            cpu[group] += seconds - self._before.get(key, 0.0)
            memory[group] = max(memory[group], resident / 1e6)
        return {group: Used(cpu[group], memory[group]) for group in GROUPS}

    def _running(self) -> Iterator[tuple[str, tuple[int, float], float, int]]:
        yield from self._of("callers", psutil.Process(os.getpid()))
        for name, pid in self._servers.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                server = psutil.Process(pid)
                yield from self._of(name if name in GROUPS else "models", server)
                for child in server.children(recursive=True):
                    yield from self._of(_group_of_child(name, child), child)

    @staticmethod
    def _of(group: str, process: psutil.Process) -> Iterator[tuple[str, tuple[int, float], float, int]]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
            times, resident = process.cpu_times(), process.memory_info().rss
            yield group, (process.pid, process.create_time()), times.user + times.system, resident


def _group_of_child(server: str, child: psutil.Process) -> str:
    """MiniStack runs each function as a process in its package; only the session worker's holds AWS's CRT."""
    if server != "ministack":
        return server if server in GROUPS else "models"
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return "workers" if (Path(child.cwd()) / "awscrt").is_dir() else "functions"
    return "functions"
