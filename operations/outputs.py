"""`scripts/outputs`: an environment's addresses and names, as its stacks give them."""

import argparse
import sys
from collections.abc import Sequence

from operations import command
from operations.command import LOCAL, OperationError
from operations.deployed import stacks
from operations.environment import Place, locate
from sandbox.state import State

_EXAMPLES = """\
  scripts/outputs                                the sandbox's
  scripts/outputs --env dev --json
  scripts/outputs --env dev WebUrl               one value alone, for a shell"""

# What CloudFormation needs between stacks, and nobody else.
_BETWEEN_STACKS = ("ExportsOutput", "PublishOutput")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser("outputs", description="Print an environment's addresses and names.", examples=_EXAMPLES)
    parser.add_argument("name", nargs="?", help="one output, printed without its name")
    return command.run(_work, parser.parse_args(arguments))


def _work(options: argparse.Namespace) -> int:
    place = locate(options.env, options.region)
    found = outputs(place)
    if not found:
        raise OperationError(f"No environment {place.name} is deployed in {place.region}.")
    if options.name:
        values = [value for _, name, value in found if name == options.name]
        if not values:
            known = ", ".join(sorted(name for _, name, _ in found))
            raise OperationError(f"{place.name} has no output {options.name}; it has {known}.")
        print(values[0])
    elif options.json:
        command.print_json({name: value for _, name, value in found})
    else:
        command.print_table(("stack", "output", "value"), found)
    return command.DONE


def outputs(place: Place) -> list[tuple[str, str, str]]:
    """(stack, name, value) of every output that somebody may want; in the sandbox also its own addresses."""
    found = [
        (stack.name, name, value)
        for stack in stacks(place)
        for name, value in sorted(stack.outputs.items())
        if not name.startswith(_BETWEEN_STACKS)
    ]
    if found and place.name == LOCAL:
        up = State.locate().outputs()
        own = {"WebUrl": "web_url", "SandboxHttpUrl": "http_url", "SandboxWebSocketUrl": "websocket_url"}
        found += [("sandbox", name, up[key]) for name, key in own.items() if up.get(key)]
    return found


if __name__ == "__main__":
    sys.exit(main())
