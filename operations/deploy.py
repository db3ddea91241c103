"""`scripts/deploy`: checks what a deployment needs, synthesizes, says what changes, deploys, and tries it."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations import command, doctor
from operations.assembly import Assembly, load
from operations.changes import Change, compare, in_words, print_changes
from operations.command import LOCAL, Check, OperationError
from operations.deployed import Stack, orphans, regions, resources, stacks
from operations.environment import Place, locate, resolve
from operations.sign_in import SignIn, sign_in
from operations.sign_in import add_arguments as add_sign_in_arguments
from operations.smoke import smoke
from operations.teardown import remove_rest, remove_stacks, retire_keys, search_for
from sandbox.deploy import CDK, Commands, report_event, report_packaging
from sandbox.progress import Progress
from sandbox.state import PROJECT, State
from sandbox.up import Ports, up

SILENCE = 3_600.0
"""Seconds in which CloudFormation may say nothing: it waits that long for one resource."""

_EXAMPLES = """\
  scripts/deploy                                   to the sandbox, which it brings up if need be
  scripts/deploy --env dev                         to AWS; asks before it changes anything
  scripts/deploy --env dev --yes --user ada@example.com
  scripts/deploy --env dev -c enableRag=false --remove-orphans
  scripts/deploy --env dev --dry-run               say what would change"""

_NOTES = """\
A flag that was turned off leaves its stack behind, still billing. Such orphans are listed, and with --remove-orphans
removed with all that they hold. Run again after any interruption, it goes on."""


@dataclass(slots=True)
class _Deployment:
    """What has come of a deployment so far."""

    checks: list[Check] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    orphans: list[Stack] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    smoke: list[Check] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "deploy",
        description="Check, synthesize, compare, deploy and try an environment.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    command.add_flags(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument(
        "--remove-orphans", action="store_true", help="remove the stacks that a flag has left behind, with their data"
    )
    parser.add_argument(
        "--skip-doctor", action="store_true", help="deploy even though a check of what it needs has failed"
    )
    add_sign_in_arguments(parser)
    return command.run(_work, parser.parse_args(arguments), interrupted="Interrupted: run it again, and it goes on.")


def _work(options: argparse.Namespace) -> int:
    done = _Deployment()
    # A result in JSON stands alone on standard output.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        status = _deploy(options, done)
    if options.json:
        command.print_json(_document(options.env, done))
    return status


def _deploy(options: argparse.Namespace, done: _Deployment) -> int:
    flags = dict(options.flags)
    done.checks = doctor.examine(options.env, options.region, flags)
    command.print_checks([check for check in done.checks if check.mark is not command.Mark.OK])
    if command.is_failed(done.checks) and not options.skip_doctor:
        raise OperationError("Nothing was deployed: mend what failed, or give --skip-doctor.")
    if options.env == LOCAL:
        _to_sandbox(options, flags, done)
        place = locate(LOCAL)
        assembly = load(State.locate().assembly)
        _list_orphans(options, place, assembly, done)
    else:
        place = locate(options.env, options.region)
        found = _to_aws(options, place, flags, done)
        if found is None:
            return command.DONE
        assembly = found
    _remove_orphans(options, place, done)
    environment = resolve(options.env, options.region)
    done.outputs = dict(environment.outputs)
    print("Trying it:")
    done.smoke = smoke(environment, _who(options, environment))
    command.print_checks(done.smoke)
    if url := done.outputs.get("WebUrl"):
        print(f"\n{options.env} is deployed: {url}")
    if command.is_failed(done.smoke):
        print("It is deployed, but does not work as it should: see the list.", file=sys.stderr)
        return command.FAILED
    return command.DONE


def _who(options: argparse.Namespace, environment: Any) -> SignIn | None:
    """Who tries it; nobody where nobody was named: a first deployment has no users yet."""
    named = options.user or options.token or os.environ.keys() & {"PARLEY_USER", "PARLEY_TOKEN", "PARLEY_API_KEY"}
    return sign_in(options, environment) if named or environment.demo else None


def _to_sandbox(options: argparse.Namespace, flags: Mapping[str, str], done: _Deployment) -> None:
    """Bring the sandbox up, or up to date."""
    if options.dry_run:
        raise OperationError("The sandbox needs no --dry-run: what it holds can be made again at any time.")

    def compare_first() -> str:
        # The account is reachable before the sandbox counts as up.
        done.changes = compare(_account_of_sandbox(), load(State.locate().assembly))
        return in_words(done.changes)

    up(Ports.from_environment(), detach=True, flags=flags, before_deploy=compare_first)


def _account_of_sandbox() -> Place:
    from sandbox.demo_user import session
    from sandbox.deploy import REGION
    from sandbox.processes import read_servers
    from sandbox.up import MINISTACK

    return Place(LOCAL, REGION, session(read_servers(State.locate())[MINISTACK].url, REGION))


def _to_aws(options: argparse.Namespace, place: Place, flags: Mapping[str, str], done: _Deployment) -> Assembly | None:
    """Synthesize, compare, ask, deploy. Returns what was deployed, or None where that was only tried."""
    folder = PROJECT / "cdk.out" / place.name
    commands = Commands(State(PROJECT / "cdk.out" / f"{place.name}.logs"), silence=SILENCE)
    variables = _cdk_variables(place)
    context = [*_context({"env": place.name, **flags})]
    if options.region:
        # Only where it was asked for: an environment without a region of its own stays without.
        context += _context({"region": options.region})
    try:
        with Progress(command.console(stderr=True)) as progress:
            progress.update("synth", "stacks and functions")
            synth = [str(CDK), "synth", "--quiet", "--no-notices", *context, "--output", str(folder)]
            commands.run("synth", synth, variables, lambda line: _report(report_packaging, progress, "synth", line))
            progress.done("synth", "stacks and functions")
            assembly = load(folder)
            done.changes = compare(place, assembly)
        print_changes(done.changes)
        _list_orphans(options, place, assembly, done)
        if options.dry_run:
            return None
        if any(not change.is_nothing for change in done.changes) and not options.yes:
            question = f"Deploy this to {place.name} in account {place.account()}, {place.region}? Type its name:"
            command.confirm(question, place.name, instead="--yes")
        _run_cdk_deploy(commands, folder, variables)
    finally:
        commands.stop()
    return assembly


def _run_cdk_deploy(commands: Commands, folder: Path, variables: Mapping[str, str]) -> None:
    deploy = [str(CDK), "deploy", "--all", "--app", str(folder), "--require-approval", "never"]
    deploy += ["--concurrency", "4", "--progress", "events", "--no-notices", "--ci"]
    with Progress(command.console(stderr=True)) as progress:
        progress.update("deploy", "stacks")
        commands.run("deploy", deploy, dict(variables), lambda line: _report(report_event, progress, "deploy", line))
        progress.done("deploy", "stacks")


def _report(reader: Any, progress: Progress, step: str, line: str) -> None:
    reader(line, lambda text: progress.update(step, text))


def _cdk_variables(place: Place) -> dict[str, str]:
    return {
        **os.environ,
        "AWS_REGION": place.region,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
        "NODE_NO_WARNINGS": "1",
    }


def _context(flags: Mapping[str, str]) -> list[str]:
    return [part for name, value in flags.items() for part in ("-c", f"{name}={value}")]


def _list_orphans(options: argparse.Namespace, place: Place, assembly: Assembly, done: _Deployment) -> None:
    done.orphans = orphans(stacks(place), assembly.stacks)
    for stack in done.orphans:
        held = len(resources(place, stack.name, stack.id, stack.region))
        print(f"Orphaned by a flag, and still billing: {stack.name} in {stack.region}, {held} resources.")
    if done.orphans and not options.remove_orphans:
        print("Remove them, with what they hold: the same command with --remove-orphans.")


def _remove_orphans(options: argparse.Namespace, place: Place, done: _Deployment) -> None:
    """After the deployment: what referred to an orphan does so no longer."""
    if not done.orphans or not options.remove_orphans:
        return
    if protected := [stack.name for stack in done.orphans if stack.is_protected]:
        raise OperationError(
            f"{', '.join(protected)} is protected, and was left: take its termination protection off, and run it again."
        )
    if not options.yes and not place.is_sandbox:
        names = ", ".join(stack.name for stack in done.orphans)
        command.confirm(f"This destroys {names}. Type {place.name} to go on:", place.name, instead="--yes")
    things = [thing for stack in done.orphans for thing in resources(place, stack.name, stack.id, stack.region)]
    with Progress(command.console(stderr=True)) as progress:
        failures = remove_stacks(place, done.orphans, lambda text: progress.update("orphans", text))
        if failures:
            raise OperationError(f"Not every orphan could be removed: {failures[0]}")
        search = search_for(things, [stack.name for stack in done.orphans])
        for refusal in remove_rest(place, search, regions(place), lambda text: progress.update("orphans", text)):
            progress.done("orphans", f"not removed: {refusal}")
        retire_keys(place, things, lambda text: progress.update("orphans", text))
        done.removed = [stack.name for stack in done.orphans]
        progress.done("orphans", f"{', '.join(done.removed)} removed")


def _document(env: str, done: _Deployment) -> dict[str, Any]:
    return {
        "environment": env,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "doctor": [check.document() for check in done.checks],
        "changes": [change.document() for change in done.changes],
        "orphans": [stack.name for stack in done.orphans if stack.name not in done.removed],
        "removed": done.removed,
        "outputs": done.outputs,
        "smoke": [check.document() for check in done.smoke],
    }


if __name__ == "__main__":
    sys.exit(main())
