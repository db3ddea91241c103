"""`scripts/cost`: what environments cost, before they are deployed."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from operations import command
from operations.assembly import ROOT, Assembly, checkout, load, synthesize
from operations.cost import accepted, profiles, report
from operations.cost.bill import total
from operations.cost.report import Estimate
from operations.environment import OperationError

DEFAULT_ENVIRONMENT = "dev"

_AT_ONCE = 2
"""Syntheses: each keeps a processor busy."""

_EXAMPLES = """\
  scripts/cost                                         dev, used by a team
  scripts/cost --env dev --env prod --profile company  side by side
  scripts/cost --env dev -c vectorStore=opensearch    what a flag would cost
  scripts/cost --env prod --profile mine.toml --picture cost.svg
  scripts/cost --env dev --env prod --check            what CI asks: has idle cost risen unreviewed?
  scripts/cost --env prod --accept "Three DAX nodes"   yes, and this is why
  scripts/cost --env prod --markdown --against main    what a pull request changes"""

_NOTES = """\
Nothing is deployed and nothing is asked of AWS: templates are synthesized, and prices stand in operations/prices.py.
docs/cost.md says what is assumed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(_run, _parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "cost", description="Estimate what environments cost a month.", examples=_EXAMPLES, notes=_NOTES, deployed=False
    )
    parser.add_argument(
        "--env", action="append", metavar="NAME", help="an environment; give it again to compare (default dev)"
    )
    parser.add_argument("--region", help="estimate as if they were in this AWS region; prices stay us-east-1's")
    parser.add_argument(
        "--profile",
        default=profiles.DEFAULT,
        metavar="NAME|FILE",
        help=f"how much they are used: {', '.join(profiles.PROFILES)}, or a .toml or .json file (default team)",
    )
    parser.add_argument(
        "-c", dest="flags", action="append", default=[], metavar="FLAG=VALUE", help="a flag, as cdk deploy takes it"
    )
    parser.add_argument(
        "--assembly", action="append", type=Path, metavar="DIR", help="read this cloud assembly instead of synthesizing"
    )
    parser.add_argument("--sources", action="store_true", help="list every price that is used, and where it was read")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="also draw it")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail if an idle cost has risen above what was accepted")
    what.add_argument("--accept", metavar="REASON", help=f"accept the idle costs: writes {accepted.FILE.name}")
    what.add_argument("--markdown", action="store_true", help="print a comment for a pull request")
    parser.add_argument(
        "--against", metavar="REF|DIR", help="with --markdown: a commit, branch or cloud assembly to compare with"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    profile = profiles.read(options.profile)
    with tempfile.TemporaryDirectory(prefix="parley-cost-") as folder:
        assemblies = _assemblies(options, Path(folder), ROOT)
        estimates = [report.estimate(name, assembly, profile) for name, assembly in assemblies.items()]
        before = _before(options, Path(folder), list(assemblies))
    if options.picture:
        from operations.cost.picture import draw

        draw(estimates, profile, options.picture)
    if options.check:
        return _check(estimates, as_json=options.json)
    if options.accept is not None:
        return _accept(estimates, options.accept)
    if options.markdown:
        old = {name: report.estimate(name, assembly, profile) for name, assembly in before.items()}
        print(report.markdown(old, estimates, profile), end="")
    elif options.json:
        command.print_json(report.document(estimates, profile))
    else:
        report.show(estimates, profile)
        if options.sources:
            command.print_table(("price", "US dollars", "where it stands"), report.sources(estimates))
    return command.DONE


def _assemblies(options: argparse.Namespace, folder: Path, root: Path) -> dict[str, Assembly]:
    if options.assembly:
        loaded = [load(directory) for directory in options.assembly]
        return {_environment_of(assembly): assembly for assembly in loaded}
    names = list(dict.fromkeys(options.env or [DEFAULT_ENVIRONMENT]))
    flags: dict[str, Any] = dict(_flag(given) for given in options.flags)
    if options.region:
        flags["region"] = options.region
    return _synthesized(names, flags, folder / "after", root)


def _synthesized(names: Sequence[str], flags: dict[str, Any], folder: Path, root: Path) -> dict[str, Assembly]:
    folder.mkdir(parents=True)
    with (
        command.console(stderr=True).status(f"Synthesizing {', '.join(names)}"),
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        made = pool.map(lambda name: synthesize(name, flags, folder / name, root=root), names)
        return dict(zip(names, made, strict=True))


def _before(options: argparse.Namespace, folder: Path, names: Sequence[str]) -> dict[str, Assembly]:
    """What to compare with: assemblies of the same environments as they are elsewhere."""
    if not options.against:
        return {}
    if not options.markdown:
        raise OperationError("--against goes with --markdown.")
    if Path(options.against, "manifest.json").exists():
        found = load(Path(options.against))
        return {_environment_of(found): found}
    (folder / "source").mkdir()
    return _synthesized(names, {}, folder / "before", checkout(options.against, folder / "source"))


def _environment_of(assembly: Assembly) -> str:
    for stack in assembly.stacks:
        if stack.startswith("Parley-") and stack.endswith("-Data"):
            return stack.removeprefix("Parley-").removesuffix("-Data")
    raise OperationError(f"{assembly.directory} is no assembly of an environment: it has no stack Parley-<name>-Data.")


def _flag(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals:
        raise OperationError(f"-c {given} has no value: -c FLAG=VALUE.")
    return name, value


def _check(estimates: Sequence[Estimate], *, as_json: bool) -> int:
    reviewed = accepted.read()
    found = {it.name: accepted.problems(it.name, it.idle, reviewed) for it in estimates}
    if as_json:
        command.print_json(
            {it.name: {"usd": round(total(it.idle.lines), 2), "problems": found[it.name]} for it in estimates}
        )
    else:
        for it in estimates:
            if not found[it.name]:
                entry = reviewed[it.name]
                print(f"{it.name}: {total(it.idle.lines):.2f} dollars a month, accepted {entry.usd:.2f} on {entry.on}.")
        for problem in (problem for problems in found.values() for problem in problems):
            print(problem, file=sys.stderr)
    return command.FAILED if any(found.values()) else command.DONE


def _accept(estimates: Sequence[Estimate], reason: str) -> int:
    if not reason.strip():
        raise OperationError("--accept needs a reason, which whoever reads the review will see.")
    today = date.today()
    reviewed = accepted.read()
    for it in estimates:
        usd = round(total(it.idle.lines), 2)
        reviewed[it.name] = accepted.Accepted(usd, today, reason.strip(), tuple(it.idle.unpriced))
        print(f"{it.name}: {usd:.2f} dollars a month.")
    accepted.write(reviewed)
    return command.DONE


if __name__ == "__main__":
    sys.exit(main())
