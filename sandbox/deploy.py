"""The real CDK CLI against MiniStack: bootstrap, synth, deploy."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from sandbox.demo_user import session
from sandbox.state import PROJECT, STACK_PREFIX, SandboxError, State

ACCOUNT = "000000000000"
REGION = "us-east-1"
# The longest that a command may say nothing, in seconds; packaging with an empty cache is the slowest.
SILENCE = 120.0
CDK = PROJECT / "node_modules" / ".bin" / "cdk"

# "Parley-local-Data | 3/12 | 10:11:12 PM | CREATE_COMPLETE | AWS::KMS::Key | Storage/Key (StorageKey...)"
_EVENT = re.compile(
    r"^(?P<stack>[\w-]+)\s*\|\s*(?P<count>\d+/\d+|\d+)\s*\|[^|]*\|\s*(?P<state>\w+)\s*\|\s*(?P<type>[\w:]+)"
)
# Variables that would lead a command to a real account, or into this project's own packages.
_FOREIGN = re.compile(r"AWS_(?!CA_BUNDLE)|CDK_|PYTHONPATH|PYTHONDONTWRITEBYTECODE|PYTHONHOME")


def clean_environment() -> dict[str, str]:
    """This process's environment without AWS settings; loopback is never reached through a proxy."""
    environment = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(part for part in (environment.get(name), "127.0.0.1", "localhost") if part)
    return environment


def cdk_environment(endpoint: str) -> dict[str, str]:
    """The environment in which the CDK CLI deploys to MiniStack, whatever profile the user has."""
    return {
        **clean_environment(),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # Template validation costs more than the rest of a synth; the tests and every real deployment keep it.
        "CDK_VALIDATION": "false",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
        "NODE_NO_WARNINGS": "1",
    }


class _Silence(threading.Thread):
    """Ends a command that has said nothing for some seconds: CloudFormation waits an hour for a lost answer."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._seconds = seconds
        self._spoke = time.monotonic()
        self._ended = threading.Event()
        self.too_long = False

    def broken(self) -> None:
        self._spoke = time.monotonic()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.wait(1):
            if time.monotonic() - self._spoke > self._seconds:
                self.too_long = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                return


class Commands:
    """Runs the commands of one `up`, so that none outlives it, nor is silent for more than `silence` seconds."""

    def __init__(self, state: State, *, silence: float = SILENCE) -> None:
        self._state = state
        self._silence = silence
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        on_line: Callable[[str], None],
        cwd: Any = PROJECT,
    ) -> None:
        """Run to the end, output going to the log `name`; raises `SandboxError` when the command fails."""
        path = self._state.log(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as log:
            with self._lock:
                if self._closed:
                    raise SandboxError(f"{name} was not run: the sandbox is being stopped.")
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
                self._running.add(process)
            said: list[str] = []
            silence = _Silence(process, self._silence)
            silence.start()
            for line in process.stdout or ():
                silence.broken()
                log.write(line)
                log.flush()
                if line.strip():
                    said.append(line.strip())
                    on_line(line.strip())
            status = process.wait()
            silence.end()
            with self._lock:
                self._running.discard(process)
        if silence.too_long:
            raise SandboxError(f"{name} was stopped: nothing happened for {self._silence:.0f} s. Its log is {path}.")
        if status:
            raise SandboxError(f"{name} failed: {_reason(said)} Its log is {path}.")

    def stop(self) -> None:
        """End what still runs, with all its children."""
        with self._lock:
            self._closed = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def is_bootstrapped(endpoint: str) -> bool:
    """Whether the CDK's own stack is there."""
    cloudformation = boto3.client("cloudformation", **session(endpoint))
    try:
        stacks = cloudformation.describe_stacks(StackName="CDKToolkit")["Stacks"]
    except ClientError:
        return False
    return any(stack["StackStatus"].endswith("_COMPLETE") for stack in stacks)


def bootstrap(state: State, commands: Commands, endpoint: str, report: Callable[[str], None]) -> None:
    """`cdk bootstrap`, run where there is no app, so that it synthesizes none."""
    command = [str(CDK), "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--no-notices", "--ci"]
    commands.run(
        "bootstrap",
        command,
        cdk_environment(endpoint),
        lambda line: report_event(line, report),
        cwd=state.folder,
    )


def synth(
    state: State,
    commands: Commands,
    endpoint: str,
    report: Callable[[str], None],
    *,
    flags: Mapping[str, str] | None = None,
) -> None:
    """`cdk synth`: packages the functions and writes the assembly. `flags` take the place of cdk.json's."""
    command = [str(CDK), "synth", "--quiet", "--no-notices", "-c", "env=local", "--output", str(state.assembly)]
    command += [part for name, value in (flags or {}).items() for part in ("-c", f"{name}={value}")]
    _prune(state.assembly)
    commands.run("synth", command, cdk_environment(endpoint), lambda line: report_packaging(line, report))


def _prune(assembly: Path) -> None:
    """Remove the packages, with their archives, that the last synth no longer named."""
    named = " ".join(path.read_text() for path in assembly.glob("*.assets.json"))
    for path in [*assembly.glob("asset.*"), *assembly.glob(".cache/*")]:
        identifier = re.search(r"[0-9a-f]{64}", path.name)
        if identifier and identifier[0] not in named:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def deploy(state: State, commands: Commands, endpoint: str, report: Callable[[str], None]) -> None:
    """`cdk deploy --all` of the assembly, stacks side by side where they can be."""
    command = [str(CDK), "deploy", "--all", "--app", str(state.assembly), "--require-approval", "never"]
    command += ["--concurrency", "4", "--progress", "events", "--method", "direct", "--no-notices", "--ci"]
    commands.run("deploy", command, cdk_environment(endpoint), lambda line: report_event(line, report))


def stack_outputs(endpoint: str, prefix: str = STACK_PREFIX, **client: Any) -> dict[str, str]:
    """The outputs of every stack whose name begins with the prefix."""
    cloudformation = boto3.client("cloudformation", **(session(endpoint) | client))
    outputs: dict[str, str] = {}
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            if stack["StackName"].startswith(prefix):
                outputs |= {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
    return outputs


def report_event(line: str, report: Callable[[str], None]) -> None:
    """Report what a line of `cdk deploy` says of the progress, if it says anything."""
    if match := _EVENT.match(line):
        report(f"{match['stack']} {match['count']} {match['type']}")
    elif match := re.match(r"([\w-]+): start: Publishing (.+?) \(", line):
        report(f"{match[1]} uploading {match[2]}")


def report_packaging(line: str, report: Callable[[str], None]) -> None:
    """Report what a line of `cdk synth` says of the progress, if it says anything."""
    if match := re.match(r"Bundling asset (.+?)/Code/Stage", line):
        report(f"packaging {match[1]}")


def _reason(said: list[str]) -> str:
    """The line that most likely says why."""
    errors = [line for line in said if re.search(r"\berror\b|\bfailed\b|❌|exception", line, re.IGNORECASE)]
    reason = (errors or said or ["it said nothing"])[-1][:400]
    return reason if reason.endswith((".", "!")) else reason + "."
