"""`scripts/doctor`: checks what a deployment needs before it is made, each finding with its remedy."""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from operations import command, doctor_aws
from operations.assembly import ROOT
from operations.command import LOCAL, Check, Mark, OperationError
from operations.environment import locate
from sandbox.state import State, read_json
from sandbox.up import USUAL_PORTS

if TYPE_CHECKING:
    from stacks.config import Configuration

OLDEST_PYTHON, OLDEST_NODE = (3, 12), 20

_LEAST_DISK = 2 * 1024**3
_PINNED = re.compile(r"^(aws-cdk-lib|constructs|cdk-nag|ministack)==(\S+)", re.MULTILINE)

_EXAMPLES = """\
  scripts/doctor                                 what the sandbox needs
  scripts/doctor --env dev
  scripts/doctor --env prod --region eu-west-1 --json"""

_NOTES = """\
It changes nothing. On AWS it needs read permissions alone; what these credentials may not look at is a warning."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "doctor", description="Check what a deployment needs, before it is made.", examples=_EXAMPLES, notes=_NOTES
    )
    return command.run(_work, parser.parse_args(arguments))


def _work(options: argparse.Namespace) -> int:
    checks = examine(options.env, options.region, {})
    failed = command.is_failed(checks)
    if options.json:
        command.print_json(
            {"environment": options.env, "ready": not failed, "checks": [check.document() for check in checks]}
        )
    else:
        command.print_checks(checks)
    if failed:
        print(f"{options.env} cannot be deployed yet: see the list.", file=sys.stderr)
    return command.FAILED if failed else command.DONE


def examine(env: str, region: str | None, flags: Mapping[str, str]) -> list[Check]:
    """Every check of an environment with these flags in place of cdk.json's. The sandbox need not be up."""
    checks = [_python(), _node(), _cdk(), *_packages(), _uv(), _disk()]
    configuration, found = _configuration(env, region, flags)
    checks.append(found)
    if configuration is None:
        return checks
    if env == LOCAL:
        return [*checks, _ports(), _espeak()]
    try:
        place = locate(env, region)
    except OperationError as error:
        return [*checks, Check("region", Mark.FAILED, str(error), "Give --region, or set AWS_REGION.")]
    return [*checks, *doctor_aws.examine(place, configuration)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Check("Python", Mark.FAILED, version, "Install Python 3.13, and remove .venv.")
    return Check("Python", Mark.OK, version)


def _node() -> Check:
    said = _said_by("node", "--version")
    match = re.match(r"v(\d+)\.", said)
    if match is None:
        return Check("Node.js", Mark.FAILED, "not found", "Install Node.js 22 or newer, and put it on PATH.")
    if int(match[1]) < OLDEST_NODE:
        return Check("Node.js", Mark.FAILED, said, "Install Node.js 22 or newer.")
    if int(match[1]) < 22:
        return Check("Node.js", Mark.WARNING, f"{said} gets no more corrections", "Install Node.js 22 or newer.")
    return Check("Node.js", Mark.OK, said)


def _cdk() -> Check:
    pinned = json.loads((ROOT / "package.json").read_text())["devDependencies"]["aws-cdk"]
    installed = read_json(ROOT / "node_modules" / "aws-cdk" / "package.json").get("version")
    if installed != pinned:
        found = f"{installed or 'none'} is installed, {pinned} is pinned"
        return Check("CDK CLI", Mark.FAILED, found, "Run npm ci.")
    return Check("CDK CLI", Mark.OK, pinned)


def _packages() -> list[Check]:
    """The packages whose versions decide what is synthesized."""
    checks = []
    for name, pinned in _PINNED.findall((ROOT / "requirements.txt").read_text()):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed == pinned:
            checks.append(Check(name, Mark.OK, pinned))
        else:
            found = f"{installed} is installed, {pinned} is pinned"
            checks.append(Check(name, Mark.FAILED, found, "Run any script: it brings .venv up to date."))
    return checks


def _uv() -> Check:
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    said = _said_by(beside if os.access(beside, os.X_OK) else "uv", "--version")
    if not said:
        return Check("uv", Mark.FAILED, "not found", "Remove .venv and run any script: it is installed again.")
    return Check("uv", Mark.OK, said)


def _disk() -> Check:
    free = shutil.disk_usage(ROOT).free
    said = f"{free / 1024**3:.1f} GiB free"
    if free < _LEAST_DISK:
        return Check("disk", Mark.WARNING, said, "The packages of the functions need some 2 GiB while they are made.")
    return Check("disk", Mark.OK, said)


def _configuration(env: str, region: str | None, flags: Mapping[str, str]) -> "tuple[Configuration | None, Check]":
    # Imported here: it starts the CDK's libraries.
    from stacks.config import ConfigurationError, load

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    given = {"region": region} if region and env != LOCAL else {}
    try:
        found = load({**context, **given, **flags, "env": env})
    except ConfigurationError as error:
        return None, Check("configuration", Mark.FAILED, str(error), "Correct cdk.json, or the flag that was given.")
    return found, Check("configuration", Mark.OK, f"{env}, {found.blueprint}")


def _ports() -> Check:
    """Whether the sandbox's ports are free, where it is not up."""
    if read_json(State.locate().outputs_file).get("http_url"):
        return Check("ports", Mark.OK, "the sandbox is up")
    for variable, usual in USUAL_PORTS.items():
        port = int(os.environ.get(variable) or usual)
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                remedy = f"End what listens there, or set {variable} to another port (0 takes a free one)."
                return Check("ports", Mark.FAILED, f"port {port} is taken", remedy)
    return Check("ports", Mark.OK, "free")


def _espeak() -> Check:
    if shutil.which("espeak-ng") is None:
        return Check("espeak-ng", Mark.WARNING, "not found: calls have no voice", "Install the package espeak-ng.")
    return Check("espeak-ng", Mark.OK, "found")


def _said_by(*program: str) -> str:
    """What a program prints; nothing where there is none, or it fails."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
