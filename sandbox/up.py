"""`up`: servers, deployment, demo user, documents; and `down`."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import httpx
from rich.console import Console

from operations.memory import FILE
from sandbox.certificates import certificate
from sandbox.client import Client
from sandbox.demo_user import CURATORS, USERNAME, ensure_user, new_password, session
from sandbox.deploy import REGION, Commands, bootstrap, clean_environment, deploy, is_bootstrapped, stack_outputs, synth
from sandbox.documents import load_docs
from sandbox.follow import follow
from sandbox.processes import Server, choose_port, read_servers, start_server, stop_servers, wait_until
from sandbox.progress import Progress
from sandbox.state import PROJECT, SandboxError, State, read_json, write_json

WEB = PROJECT / "web"
PAGE = WEB / "dist"

MINISTACK, MODELS, GATEWAY = "ministack", "models", "gateway"
# Not a server: the other port of the AI endpoints, where they speak TLS.
SPEECH = "speech"


USUAL_PORTS = {"PARLEY_PORT": 8080, "PARLEY_AWS_PORT": 4566, "PARLEY_MODELS_PORT": 4567}
"""Of the gateway, MiniStack and the AI endpoints, by the variables that ask for others."""


@dataclass(frozen=True)
class Ports:
    """The ports asked for; 0 takes a free one."""

    gateway: int
    aws: int
    models: int

    @classmethod
    def from_environment(cls) -> "Ports":
        """The ports that `PARLEY_PORT`, `PARLEY_AWS_PORT` and `PARLEY_MODELS_PORT` ask for, or the usual ones."""
        return cls(*(int(os.environ.get(variable) or usual) for variable, usual in USUAL_PORTS.items()))


def up(
    ports: Ports,
    *,
    detach: bool,
    flags: Mapping[str, str] | None = None,
    before_deploy: Callable[[], str] | None = None,
) -> None:
    """Bring the sandbox up, or up to date; in front, stream its logs until Ctrl-C and stop it then.

    `flags` take the place of cdk.json's. `before_deploy` is called between synth and deployment and says what changes.
    """
    state = State.locate()
    console = Console(highlight=False)
    # SIGINT too: a shell starts its background jobs with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with _only_one(state):
        before = _running(state)
        try:
            with Progress(console) as progress:
                outputs = _bring_up(state, ports, progress, flags, before_deploy)
        except BaseException:
            # What ran before goes on running; what this command started ends with it.
            _stop(state, [server for name, server in read_servers(state).items() if before.get(name) != server])
            raise
    _print_addresses(console, outputs)
    if detach:
        return
    console.print("Logs follow; Ctrl-C stops the sandbox.\n")
    try:
        ended = follow(state, list(read_servers(state).values()), outputs["aws_endpoint"], console)
        message = (
            f"{ended} has ended; its log is {state.log(ended)}." if state.folder.exists() else "The sandbox is down."
        )
    except KeyboardInterrupt:
        console.print("\nStopping the sandbox.")
        down()
        return
    except BaseException:
        _stop(state, list(read_servers(state).values()))
        raise
    _stop(state, list(read_servers(state).values()))
    raise SandboxError(message)


def down() -> bool:
    """Stop the sandbox and remove its state; False when nothing was there."""
    state = State.locate()
    stopped = stop_servers(read_servers(state).values())
    existed = state.folder.exists()
    shutil.rmtree(state.folder, ignore_errors=True)
    return bool(stopped) or existed


def _bring_up(
    state: State,
    ports: Ports,
    progress: Progress,
    flags: Mapping[str, str] | None,
    before_deploy: Callable[[], str] | None,
) -> dict[str, Any]:
    state.folder.mkdir(parents=True, exist_ok=True)
    commands = Commands(state)
    with ThreadPoolExecutor(max_workers=4) as pool:
        try:
            page = pool.submit(_build_page, state, commands, progress)
            servers = _start_servers(state, ports, progress)
            endpoint = servers[MINISTACK].url
            with _assembly_lock(state, progress):
                flagged = partial(synth, flags=flags)
                work = [
                    pool.submit(_step, progress, "synth", "stacks and functions", flagged, state, commands, endpoint),
                    pool.submit(_bootstrap, state, commands, endpoint, progress),
                ]
                _finish(work)
                if before_deploy is not None:
                    progress.done("changes", before_deploy())
                _step(progress, "deploy", "stacks", deploy, state, commands, endpoint)
            outputs = _write_outputs(state, servers)
            client = Client(outputs)
            progress.update("documents", "looking for changes in docs/")
            warm = pool.submit(_warm, client)
            taught = pool.submit(_teach, outputs["models_url"])
            changed = load_docs(lambda text: progress.update("documents", text))
            _finish([warm, taught])
            client.close()
            progress.done("documents", f"{changed} indexed" if changed else "unchanged")
            _finish([page])
        finally:
            commands.stop()
    return outputs


def _warm(client: Client) -> None:
    """Start the functions that the first question needs while the documents are indexed."""
    with contextlib.suppress(SandboxError):
        client.call("POST", "/rag/query", json={"query": "warm up"})
    with contextlib.suppress(SandboxError):
        client.call("GET", "/health")


def _teach(models_url: str) -> None:
    """Tell the recogniser what it will hear of: the words of the documents."""
    texts = [path.read_text() for path in sorted((PROJECT / "docs").rglob("*.md"))]
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"{models_url}/_speech", json={"listen": {"texts": texts}}, timeout=60, trust_env=False)


def _finish(work: list[Future[None]]) -> None:
    """Wait for all, or for the first failure."""
    wait(work, return_when=FIRST_EXCEPTION)
    for future in work:
        if future.done():
            future.result()


def _step(
    progress: Progress,
    name: str,
    what: str,
    run: Callable[[State, Commands, str, Callable[[str], None]], None],
    state: State,
    commands: Commands,
    endpoint: str,
) -> None:
    progress.update(name, what)
    run(state, commands, endpoint, lambda text: progress.update(name, text))
    progress.done(name, what)


def _bootstrap(state: State, commands: Commands, endpoint: str, progress: Progress) -> None:
    if not is_bootstrapped(endpoint):
        _step(progress, "bootstrap", f"the account in {REGION}", bootstrap, state, commands, endpoint)


def _running(state: State) -> dict[str, Server]:
    return {name: server for name, server in read_servers(state).items() if server.process()}


def _start_servers(state: State, ports: Ports, progress: Progress) -> dict[str, Server]:
    """Start the servers that do not run; those that do keep their processes and ports."""
    servers = _running(state)
    wanted = {
        GATEWAY: (ports.gateway, "PARLEY_PORT", "the gateway"),
        MINISTACK: (ports.aws, "PARLEY_AWS_PORT", "MiniStack"),
        MODELS: (ports.models, "PARLEY_MODELS_PORT", "the AI endpoints"),
    }
    chosen: dict[str, int] = {name: server.port for name, server in servers.items()}
    for name, (port, variable, what) in wanted.items():
        if name not in chosen:
            # The functions know the other servers by their ports, so that a server that died comes back on its own.
            known = read_servers(state)
            port = known[name].port if servers and name in known else port
            chosen[name] = choose_port(port, variable=variable, what=what, avoid=chosen.values())
    chosen[SPEECH] = _speech_port(state, servers, ports, chosen)
    progress.update("servers", "starting")
    url = {name: f"http://127.0.0.1:{port}" for name, port in chosen.items()}
    speech_url = f"https://127.0.0.1:{chosen[SPEECH]}"
    certificates = state.certificates
    python = clean_environment() | {"PYTHONUNBUFFERED": "1"}
    scratch = state.folder / "tmp"
    scratch.mkdir(exist_ok=True)
    commands: dict[str, tuple[list[str], dict[str, str]]] = {
        MINISTACK: (
            [sys.executable, "-m", "sandbox", "serve-account"],
            python
            | {
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(chosen[MINISTACK]),
                "TMPDIR": str(scratch),
                "STATE_DIR": str(scratch / "state"),
                "S3_DATA_DIR": str(scratch / "s3"),
                # Listeners of services that nobody here uses.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                # Never a container: the sandbox needs no Docker, and must not remove anybody's containers.
                "DOCKER_HOST": "unix:///nonexistent",
                # Functions are processes with MiniStack's environment: the SDK's own variables lead them to us.
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url[MODELS],
                "AWS_ENDPOINT_URL_POLLY": url[MODELS],
                "AWS_ENDPOINT_URL_TRANSCRIBE": url[MODELS],
                "AWS_ENDPOINT_URL_BIDIRECTIONAL": speech_url,
                "AWS_CA_BUNDLE": str(certificate(certificates).authority),
                "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": url[GATEWAY] + "/@aws/ws",
                "AWS_ENDPOINT_URL_LAMBDA": url[GATEWAY] + "/@aws/lambda",
                "AWS_EC2_METADATA_DISABLED": "true",
            },
        ),
        MODELS: (
            [
                *(sys.executable, "-m", "sandbox", "serve-models", "--port", str(chosen[MODELS])),
                *("--tls-port", str(chosen[SPEECH]), "--certificates", str(certificates)),
                *("--aws", url[MINISTACK]),
            ],
            python,
        ),
        GATEWAY: (
            [
                *(sys.executable, "-m", "sandbox", "serve-gateway", "--port", str(chosen[GATEWAY])),
                *("--aws", url[MINISTACK], "--models", url[MODELS]),
                *("--page", str(PAGE), "--outputs", str(state.outputs_file)),
            ],
            python,
        ),
    }
    started = []
    for name, (command, environment) in commands.items():
        if name not in servers:
            servers[name] = start_server(
                state,
                name,
                command,
                port=chosen[name],
                tls_port=chosen[SPEECH] if name == MODELS else 0,
                environment=environment,
                folder=PROJECT,
            )
            started.append(name)
    health = {MINISTACK: "/_ministack/health", MODELS: "/_model", GATEWAY: "/@sandbox/health"}
    for name, server in servers.items():
        wait_until(partial(_answers, url[name] + health[name]), server, state)
    progress.done("servers", f"started {', '.join(started)}" if started else "running already")
    return servers


def _speech_port(state: State, servers: dict[str, Server], ports: Ports, chosen: dict[str, int]) -> int:
    """Where the AI endpoints speak TLS: the port after their first one, or a free one when that is free to choose."""
    if MODELS in servers:
        return servers[MODELS].tls_port
    known = read_servers(state).get(MODELS)
    if servers and known:
        return known.tls_port
    wanted = ports.models + 1 if ports.models else 0
    return choose_port(wanted, variable="PARLEY_MODELS_PORT", what="the AI endpoints' TLS", avoid=chosen.values())


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _write_outputs(state: State, servers: dict[str, Server]) -> dict[str, Any]:
    """Create the demo user and write `outputs.json`."""
    endpoint, gateway = servers[MINISTACK].url, servers[GATEWAY]
    deployed = stack_outputs(endpoint)
    password = read_json(state.outputs_file).get("password") or new_password()
    outputs: dict[str, Any] = {
        "http_url": f"{gateway.url}/api",
        "websocket_url": f"ws://127.0.0.1:{gateway.port}/ws",
        "web_url": f"{gateway.url}/",
        "username": USERNAME,
        "password": password,
        "region": REGION,
        "aws_endpoint": endpoint,
        "models_url": servers[MODELS].url,
        "speech_url": f"https://127.0.0.1:{servers[MODELS].tls_port}",
        "speech_ca_file": str(certificate(state.certificates).authority),
        "user_pool_id": deployed.get("UserPoolId"),
        "client_id": deployed.get("UserPoolClientId"),
        "pids": {name: server.pid for name, server in servers.items()},
        "logs": {name: str(state.log(name)) for name in (*servers, "synth", "bootstrap", "deploy", "page")},
        "stack_outputs": deployed,
    }
    if outputs["user_pool_id"] is None:
        raise SandboxError(f"The deployment has no user pool; its log is {state.log('deploy')}.")
    cognito = boto3.client("cognito-idp", **session(endpoint))
    ensure_user(cognito, outputs["user_pool_id"], username=USERNAME, password=password, groups=[CURATORS])
    write_json(state.outputs_file, outputs)
    return outputs


def _build_page(state: State, commands: Commands, progress: Progress) -> None:
    """Build the web client when its sources have changed since the last time."""
    sources = [path for path in sorted(WEB.rglob("*")) if path.is_file() and PAGE not in path.parents]
    digest = hashlib.sha256()
    for path in (*sources, PROJECT / "package-lock.json"):
        if "node_modules" not in path.parts:
            digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes())
    # Next to the built page, so that another sandbox of the same clone need not build it again.
    stamp = PROJECT / "node_modules" / ".parley-page"
    if stamp.exists() and stamp.read_text() == digest.hexdigest() and (PAGE / "index.html").exists():
        return
    progress.update("page", "building")
    environment = clean_environment() | {"NODE_NO_WARNINGS": "1"}
    commands.run("page", ["npm", "run", "build", "--workspace", "web"], environment, lambda line: None)
    stamp.write_text(digest.hexdigest())
    progress.done("page", "built")


def _stop(state: State, servers: list[Server]) -> None:
    stop_servers(servers)
    if not _running(state):
        # The deployment died with MiniStack; the logs stay, to say why.
        for file in (state.outputs_file, state.processes_file, state.folder / FILE):
            file.unlink(missing_ok=True)
        shutil.rmtree(state.folder / "tmp", ignore_errors=True)


def _print_addresses(console: Console, outputs: dict[str, Any]) -> None:
    console.print()
    for name, value in (
        ("page", outputs["web_url"]),
        ("HTTP API", outputs["http_url"]),
        ("WebSocket", outputs["websocket_url"]),
        ("user", outputs["username"]),
        ("password", outputs["password"]),
    ):
        console.print(f"  {name:<10} {value}", markup=False, soft_wrap=True)
    console.print('\n  ./scripts/ask "How large may a WebSocket frame be?"\n', markup=False)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _assembly_lock(state: State, progress: Progress) -> Iterator[None]:
    """Hold the assembly, which every sandbox of this clone shares, until it is deployed."""
    state.assembly.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state.assembly.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress.update("synth", "waiting for another sandbox's deployment")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _only_one(state: State) -> Iterator[None]:
    """Hold the sandbox's lock: two `up` at once would deploy over each other."""
    state.folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SandboxError("Another ./scripts/up is at work on this sandbox: wait until it is done.") from None
    try:
        yield
    finally:
        os.close(descriptor)
