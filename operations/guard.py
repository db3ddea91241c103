"""`scripts/guard`: stops a change that would replace or delete what holds data, unless somebody has accepted it."""

import argparse
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from operations import command
from operations.assembly import ROOT, Assembly, checkout, load, synthesize
from operations.environment import OperationError, locate
from operations.guard_changes import Change, Kind, changes

FILE = ROOT / "reviewed" / "replacements.toml"
"""What reviewers have accepted."""

DEPLOYED = "deployed"

_LISTED = 60
"""Changes that a comment names; a pull request's comment holds 65,536 characters."""

_EXAMPLES = """\
  scripts/guard --env prod                         would a deployment now lose data?
  scripts/guard --env prod --against main          would merging this?
  scripts/guard --env prod --against cdk.out       against an assembly, or one template file
  scripts/guard --env prod --against main --markdown   every change, as a pull request's comment"""

_NOTES = """\
A resource is accepted by name in reviewed/replacements.toml, with a reason and the last day on which that holds:

  [[accepted]]
  resource = "Parley-prod-Data/StorageSessions0A1B2C3D"
  change = "replaced"            # or "deleted", "orphaned"
  until = 2027-01-31
  reason = "Sessions live for a day; the table was empty." """


@dataclass(frozen=True, slots=True)
class Accepted:
    """One change that a reviewer has accepted."""

    resource: str
    change: Kind
    until: date
    reason: str

    def covers(self, change: Change, today: date) -> bool:
        """Whether this is the change, and still holds."""
        return (self.resource, self.change) == (change.name, change.kind) and today <= self.until


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(_run, _parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "guard",
        description="Fail if a change would replace or delete a table, bucket, key, user pool or index.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.set_defaults(env="dev")
    parser.add_argument(
        "--against",
        default=DEPLOYED,
        metavar="deployed|DIR|FILE|REF",
        help="what there is now: what is deployed (default), a cloud assembly, a template, or a commit or branch",
    )
    parser.add_argument(
        "--assembly", type=Path, metavar="DIR", help="guard this cloud assembly instead of synthesizing one"
    )
    parser.add_argument("--markdown", action="store_true", help="print every change as a pull request's comment")
    return parser


def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="parley-guard-") as name:
        folder = Path(name)
        flags = {"region": options.region} if options.region else {}
        after = load(options.assembly) if options.assembly else _synthesized(options.env, flags, folder / "after", ROOT)
        before = _before(options, flags, folder, after)
        found = changes(before, after)
    reviewed, today = read(), date.today()
    losing = [change for change in found if change.loses_data]
    refused = [change for change in losing if not any(entry.covers(change, today) for entry in reviewed)]
    if options.markdown:
        print(markdown(options.env, found, refused), end="")
    elif options.json:
        command.print_json({"environment": options.env, "changes": [_document(change, refused) for change in found]})
    else:
        _show(options.env, found, losing, refused)
    for change in refused:
        print(f"{change.sentence}: {_REMEDY}.", file=sys.stderr)
    return command.FAILED if refused else command.DONE


_REMEDY = "accept it by name in reviewed/replacements.toml, or leave the resource as it is"


def _synthesized(env: str, flags: dict[str, Any], folder: Path, root: Path) -> Assembly:
    with command.console(stderr=True).status(f"Synthesizing {env}"):
        return synthesize(env, flags, folder, root=root)


def _before(options: argparse.Namespace, flags: dict[str, Any], folder: Path, after: Assembly) -> Assembly:
    given = options.against
    if given == DEPLOYED:
        return deployed_assembly(options.env, options.region)
    path = Path(given)
    if path.is_dir():
        return load(path)
    if path.is_file():
        return _one_template(path, after)
    (folder / "source").mkdir()
    return _synthesized(options.env, flags, folder / "before", checkout(given, folder / "source"))


def _one_template(path: Path, after: Assembly) -> Assembly:
    stack = path.name.removesuffix(".json").removesuffix(".template")
    if stack not in after.stacks:
        raise OperationError(f"{path} is named after no stack; allowed are {', '.join(after.stacks)}, with .json.")
    try:
        template = json.loads(path.read_text())
    except ValueError as error:
        raise OperationError(f"{path} is no template in JSON: {error}.") from error
    # The other stacks are what they are: only this one is compared.
    return Assembly(path.parent, {**after.stacks, stack: template}, after.regions)


def deployed_assembly(env: str, region: str | None = None) -> Assembly:
    """The templates that CloudFormation has of an environment; no stacks where nothing is deployed."""
    from operations import deployed

    place = locate(env, region)
    there = deployed.stacks(place)
    return Assembly(
        Path(),
        {stack.name: deployed.template(place, stack.name, stack.region) for stack in there},
        {stack.name: stack.region for stack in there},
    )


def read(path: Path | None = None) -> list[Accepted]:
    """What has been accepted, in FILE unless told. Raises OperationError when the file cannot be used."""
    path = path or FILE
    if not path.exists():
        return []
    try:
        return [_accepted(entry) for entry in tomllib.loads(path.read_text()).get("accepted", [])]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise OperationError(
            f"{path} needs resource, change, until and reason in each [[accepted]]: {error}."
        ) from error


def _accepted(entry: dict[str, Any]) -> Accepted:
    until, reason = entry["until"], str(entry["reason"]).strip()
    if type(until) is not date or not reason:
        raise ValueError("`until` is a date, and `reason` says why")
    return Accepted(str(entry["resource"]), Kind(entry["change"]), until, reason)


def _document(change: Change, refused: Iterable[Change]) -> dict[str, Any]:
    return {
        "resource": change.name,
        "type": change.type,
        "change": change.kind.value,
        "properties": list(change.properties),
        "loses_data": change.loses_data,
        "accepted": change.loses_data and change not in refused,
    }


def _show(env: str, found: Sequence[Change], losing: Sequence[Change], refused: Sequence[Change]) -> None:
    print(f"{env}: {_counted(found)}.")
    for change in losing:
        if change not in refused:
            print(f"accepted: {change.sentence}.")
    if not losing:
        print("Nothing that holds data is replaced or deleted.")


def _counted(found: Iterable[Change]) -> str:
    counts = Counter(change.kind for change in found)
    return ", ".join(f"{counts[kind]} {kind.value}" for kind in Kind if counts[kind]) or "nothing changes"


def markdown(env: str, found: Sequence[Change], refused: Sequence[Change]) -> str:
    """A pull request's comment: what becomes of the resources of one environment, the dangerous first."""
    lines = [f"### Templates of {env}", "", f"{_counted(found).capitalize()}.", ""]
    losing = [change for change in found if change.loses_data]
    for change in losing:
        mark = ":stop_sign:" if change in refused else ":warning: accepted:"
        lines.append(f"- {mark} {change.sentence}")
    if losing:
        lines.append("")
    others = [change for change in found if not change.loses_data]
    if others:
        order = list(Kind)
        others.sort(key=lambda change: (-order.index(change.kind), change.name))
        lines += ["<details><summary>All changes</summary>", "", "| | type | resource | properties |"]
        lines.append("| --- | --- | --- | --- |")
        for change in others[:_LISTED]:
            properties = ", ".join(change.properties)
            lines.append(f"| {change.kind.value} | {change.type} | `{change.name}` | {properties} |")
        if len(others) > _LISTED:
            lines.append(f"| | | and {len(others) - _LISTED} more | |")
        lines += ["", "</details>", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
