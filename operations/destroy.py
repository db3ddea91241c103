"""`scripts/destroy`: takes an environment away with all that it holds, and proves that nothing is left."""

import argparse
import sys
from collections.abc import Sequence

from operations import command
from operations.command import LOCAL, OperationError
from operations.deployed import Resource, Stack, regions, resources, stack_named, stacks
from operations.environment import Place, environments, locate
from operations.kinds import Search
from operations.memory import FILE
from operations.proof import PATIENCE, prove
from operations.teardown import (
    KEY_DAYS,
    belongings,
    remove_rest,
    remove_roles,
    remove_stacks,
    retire_keys,
    search_for,
)
from sandbox.progress import Progress
from sandbox.state import State, read_json

SANDBOX_PATIENCE = 5.0
"""Seconds, as `PATIENCE`: the sandbox's lists are exact, but its functions end in their own time."""

_EXAMPLES = """\
  scripts/destroy                                 the sandbox's deployment; asks for its name
  scripts/destroy --env dev                       an environment on AWS
  scripts/destroy --env dev --yes dev             without asking
  scripts/destroy --env prod --protected          an environment whose data is protected
  scripts/destroy --env dev --dry-run             say what would go"""

_NOTES = f"""\
It empties buckets with all versions, takes protections off, deletes the stacks, then what their templates retain, and
schedules the keys for deletion ({KEY_DAYS} days, in which `aws kms cancel-key-deletion` saves them). Then it looks for
what is left, and lists what it looked for. Run again after any interruption, it goes on. What an account shares
(Parley-Account, the CDK's bootstrap) stays, but in the sandbox, whose account is its own."""

_SHARED = ("Parley-Account", "CDKToolkit")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "destroy",
        description="Take an environment away with all that it holds, and prove that nothing is left.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.add_argument("--yes", metavar="NAME", help="the environment's name again, instead of being asked for it")
    parser.add_argument(
        "--protected", action="store_true", help="go on where data is protected (protectData), as in prod"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and do nothing")
    options = parser.parse_args(arguments)
    if options.yes is not None and options.yes != options.env:
        parser.error(f"--yes {options.yes} is not the environment's name, {options.env}")
    return command.run(_work, options, interrupted="Interrupted: run it again, and it goes on.")


def _work(options: argparse.Namespace) -> int:
    if options.env == LOCAL and not read_json(State.locate().outputs_file).get("http_url"):
        return _say(options, [], "No sandbox is up, so there is nothing to destroy.")
    place = locate(options.env, options.region)
    present = stacks(place)
    shared = _shared(place)
    things = [*belongings(place), *(thing for stack in shared for thing in _held(place, stack))]
    if not place.is_sandbox:
        _refuse_protected(options, present)
    if not options.json or options.dry_run:
        _announce(options, place, [*present, *shared], things)
    if options.dry_run:
        return command.DONE
    if options.yes is None:
        where = "the sandbox" if place.is_sandbox else f"account {place.account()}, {place.region}"
        question = f"This destroys {place.name} in {where}. Type its name to go on:"
        command.confirm(question, place.name, instead=f"--yes {place.name}")
    names = {thing.stack for thing in things if thing.stack} | {stack.name for stack in [*present, *shared]}
    # The sandbox's account is its own: whatever is in it goes, and must be gone.
    search = search_for(things, names, whole_account=place.is_sandbox)
    with Progress(command.console(stderr=True)) as progress:
        _remove(place, [*present, *shared], things, search, progress)
        progress.update("proof", "looking for what is left")
        checks = prove(
            place, search, things, regions(place), patience=SANDBOX_PATIENCE if place.is_sandbox else PATIENCE
        )
        progress.done("proof", "looked for everything")
    if place.is_sandbox and not command.is_failed(checks):
        # What this machine remembers of documents that are gone.
        (State.locate().folder / FILE).unlink(missing_ok=True)
    return _say(options, checks, "")


def _remove(
    place: Place, present: Sequence[Stack], things: Sequence[Resource], search: Search, progress: Progress
) -> None:
    failures = remove_stacks(place, present, lambda text: progress.update("stacks", text))
    if failures:
        # The proof says what is left; this says why.
        for failure in failures:
            progress.done("stacks", f"not removed: {failure}")
    else:
        progress.done("stacks", f"{len(present)} removed")
        # What a stack still has is the stack's to delete.
        for refusal in remove_rest(place, search, regions(place), lambda text: progress.update("rest", text)):
            progress.done("rest", f"not removed: {refusal}")
        remove_roles(place, things)
        retire_keys(place, things, lambda text: progress.update("keys", text))
        progress.done("rest", "removed")


def _shared(place: Place) -> list[Stack]:
    """The stacks that an account needs whatever is deployed in it; the sandbox's account holds nothing else."""
    if not place.is_sandbox:
        return []
    found = (stack_named(place, name) for name in _SHARED)
    return [stack for stack in found if stack is not None and stack.status != "DELETE_COMPLETE"]


def _held(place: Place, stack: Stack) -> list[Resource]:
    return resources(place, stack.name, stack.id, stack.region)


def _refuse_protected(options: argparse.Namespace, present: Sequence[Stack]) -> None:
    flags = environments().get(options.env, {})
    protected = flags.get("protectData") is True or any(stack.is_protected for stack in present)
    if protected and not options.protected:
        raise OperationError(
            f"The data of {options.env} is protected: give --protected as well, if it really is to be destroyed."
        )


def _announce(options: argparse.Namespace, place: Place, present: Sequence[Stack], things: Sequence[Resource]) -> None:
    """Say beforehand what goes: the stacks, and by name what their templates would have kept."""
    kept = sorted((thing.type, thing.physical_id) for thing in things if thing.retained)
    if options.json:
        command.print_json(
            {
                "environment": place.name,
                "stacks": [stack.name for stack in present],
                "retained": [{"type": type_, "id": identifier} for type_, identifier in kept],
            }
        )
        return
    held = {stack.name: sum(thing.stack == stack.name for thing in things) for stack in present}
    rows = [(stack.name, stack.region, stack.status, held[stack.name]) for stack in present]
    command.print_table(("stack", "region", "status", "resources"), rows)
    if kept:
        print("\nTheir templates keep these; they go as well:")
        command.print_table(("type", "name"), kept)
    print()


def _say(options: argparse.Namespace, checks: Sequence[command.Check], words: str) -> int:
    failed = command.is_failed(checks)
    if options.json:
        command.print_json(
            {"environment": options.env, "empty": not failed, "looked_for": [check.document() for check in checks]}
        )
    elif words:
        print(words)
    else:
        command.print_checks(checks)
        if options.env == LOCAL and not failed:
            print("\nThe account is empty. The sandbox's servers still run: ./scripts/down ends them.")
    if failed:
        print(f"Something of {options.env} is left: see the list.", file=sys.stderr)
    return command.FAILED if failed else command.DONE


if __name__ == "__main__":
    sys.exit(main())
