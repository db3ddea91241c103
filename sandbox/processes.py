"""The sandbox's own processes: started in sessions of their own, stopped by id, never by name."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sandbox.state import SandboxError, State, read_json, write_json

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """One server process; `started` (the kernel's start time) tells it from a later process with the same id.

    One that speaks TLS as well does so at `tls_port`.
    """

    name: str
    pid: int
    started: float
    port: int
    tls_port: int = 0

    @property
    def url(self) -> str:
        """Its address on loopback."""
        return f"http://{HOST}:{self.port}"

    def process(self) -> psutil.Process | None:
        """The process, when it is still the one that was started and runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def read_servers(state: State) -> dict[str, Server]:
    """The servers that earlier commands started, by name; they may have died since."""
    return {name: Server(**record) for name, record in read_json(state.processes_file).items()}


def record_server(state: State, server: Server) -> None:
    """Remember a server, so that `down` finds it whatever happens next."""
    servers: dict[str, Any] = read_json(state.processes_file)
    write_json(state.processes_file, {**servers, server.name: asdict(server)})


def choose_port(wanted: int, *, variable: str, what: str, avoid: Iterable[int] = ()) -> int:
    """`wanted` when it is free, a free one when `wanted` is 0; raises `SandboxError` for a busy port."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError:
                raise SandboxError(
                    f"Port {wanted} for {what} is in use: stop what listens there, or set {variable} to another port "
                    "(0 takes a free one)."
                ) from None
            port: int = probe.getsockname()[1]
        if port not in avoid:
            return port


def start_server(
    state: State,
    name: str,
    command: list[str],
    *,
    port: int,
    environment: Mapping[str, str],
    folder: Path,
    tls_port: int = 0,
) -> Server:
    """Start a server in the background, its output going to its log."""
    log = state.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(name, process.pid, psutil.Process(process.pid).create_time(), port, tls_port)
    record_server(state, server)
    return server


def wait_until(ready: Callable[[], bool], server: Server, state: State, *, seconds: float = 30) -> None:
    """Wait for a server's first answer; raises `SandboxError` with its log when it ends or takes longer."""
    deadline = time.monotonic() + seconds
    while not ready():
        if server.process() is None:
            raise SandboxError(f"{server.name} ended while starting; its log is {state.log(server.name)}.")
        if time.monotonic() > deadline:
            message = f"{server.name} did not answer within {seconds:.0f} s; its log is {state.log(server.name)}."
            raise SandboxError(message)
        time.sleep(0.05)


def stop_servers(servers: Iterable[Server], *, patience: float = 2) -> list[str]:
    """Stop servers and everything that they started; returns the names of those that were still running."""
    running = {server.name: process for server in servers if (process := server.process())}
    family = list(running.values())
    for process in running.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            family.extend(process.children(recursive=True))
    for process in running.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(list(running.values()), timeout=patience)
    # MiniStack leaves its function processes behind: they end with it here.
    for process in {*alive, *family}:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running():
                process.kill()
    psutil.wait_procs(family, timeout=patience)
    for process in running.values():
        with contextlib.suppress(ChildProcessError, OSError):
            os.waitpid(process.pid, os.WNOHANG)
    return list(running)
