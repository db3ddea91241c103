"""`scripts/validate`: checks an environment's templates on this machine alone; no AWS call is made."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from operations import command
from operations.assembly import Assembly, synthesize
from operations.command import LOCAL, Check, Mark, OperationError
from operations.environment import environments

SECONDS = 900
"""The longest that cfn-lint may take."""

_SHOWN = 5
# What cfn-lint says and we do not follow, by rule and by a text of its message.
_ACCEPTED = (
    # The CDK writes a DependsOn for each dependency between constructs, also where a reference says the same: two ways
    # of saying one thing, and nothing that CloudFormation minds.
    ("W3005", "dependency already enforced"),
    # An action of 2025 that cfn-lint's list of IAM actions does not have:
    # docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html
    ("W3037", "'invokemodelwithbidirectionalstream'"),
)

_EXAMPLES = """\
  scripts/validate                               the sandbox's templates
  scripts/validate --env prod
  scripts/validate --env prod -c compliance=hipaa
  scripts/validate --all --json"""

_NOTES = """\
It checks the configuration, synthesizes without packaging code, counts what the rule packs (cdk-nag) and
CloudFormation's own validation find and nobody acknowledged, and runs cfn-lint, whose warnings count as well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "validate",
        description="Check an environment's templates on this machine alone.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.add_argument("--all", action="store_true", help="every environment of cdk.json")
    command.add_flags(parser)
    return command.run(_work, parser.parse_args(arguments))


def _work(options: argparse.Namespace) -> int:
    flags = dict(options.flags)
    if options.region and options.env != LOCAL:
        flags["region"] = options.region
    names = list(environments()) if options.all else [options.env]
    found = {name: validate(name, flags) for name in names}
    failed = any(command.is_failed(checks) for checks in found.values())
    if options.json:
        document = {name: [check.document() for check in checks] for name, checks in found.items()}
        command.print_json({"valid": not failed, "environments": document})
    else:
        for name, checks in found.items():
            command.print_checks(checks, title=name)
    return command.FAILED if failed else command.DONE


def validate(env: str, flags: dict[str, str]) -> list[Check]:
    """The checks of one environment, in the order in which they are made; what cannot be made is left out."""
    started = time.monotonic()
    with TemporaryDirectory(prefix="parley-") as folder:
        try:
            assembly = synthesize(env, flags, Path(folder), validate=True)
        except OperationError as error:
            report = Path(folder) / "validation-report.json"
            said = str(error).strip()
            checks = [Check("synth", Mark.FAILED, said.splitlines()[0][:500], seconds=time.monotonic() - started)]
            return [*checks, *_findings(report)] if report.exists() else checks
        checks = [Check("synth", Mark.OK, f"{len(assembly.stacks)} stacks", seconds=time.monotonic() - started)]
        checks += _findings(assembly.directory / "validation-report.json")
        return [*checks, _lint(assembly)]


def _findings(report: Path) -> list[Check]:
    """One check for each of the tools that looked at the templates during synthesis."""
    if not report.exists():
        return [Check("rule packs", Mark.FAILED, "synthesis wrote no report of them", "Look at stacks/checks.py.")]
    checks = []
    # A tool that found nothing is not in the report.
    for tool in json.loads(report.read_text())["pluginReports"]:
        violations = tool.get("violations", [])
        said = "; ".join(_violation(violation) for violation in violations[:_SHOWN])
        more = f"; and {len(violations) - _SHOWN} more" if len(violations) > _SHOWN else ""
        said = f"{len(violations)} findings: {said}{more}"
        if tool["conclusion"] != "success":
            remedy = "Mend it, or acknowledge it on that resource with a reason."
            checks.append(Check(tool["pluginName"], Mark.FAILED, said, remedy))
        elif violations:
            checks.append(Check(tool["pluginName"], Mark.WARNING, said))
    if not command.is_failed(checks):
        checks.insert(0, Check("rule packs", Mark.OK, "nothing unacknowledged"))
    return checks


def _violation(violation: dict[str, Any]) -> str:
    places = violation.get("violatingConstructs") or violation.get("violatingResources") or [{}]
    where = places[0].get("constructPath") or places[0].get("resourceLogicalId") or "somewhere"
    return f"{violation.get('ruleName', 'a rule')} at {where}"


def _lint(assembly: Assembly) -> Check:
    started = time.monotonic()
    templates = sorted(str(path) for path in assembly.directory.glob("*.template.json"))
    regions = sorted({region or "us-east-1" for region in assembly.regions.values()})
    beside = Path(sys.executable).with_name("cfn-lint")
    program = [str(beside), "--format", "json", "--regions", *regions, "--template", *templates]
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return Check("cfn-lint", Mark.FAILED, f"not done within {SECONDS} s", seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    if not re.match(r"\s*\[", done.stdout):
        return Check("cfn-lint", Mark.FAILED, (done.stderr or done.stdout).strip()[-500:], seconds=seconds)
    matches, accepted = [], Counter[str]()
    for match in json.loads(done.stdout):
        if any(match["Rule"]["Id"] == rule and text in match["Message"] for rule, text in _ACCEPTED):
            accepted[match["Rule"]["Id"]] += 1
        else:
            matches.append(match)
    but = f", but for {', '.join(f'{count} {rule}' for rule, count in accepted.items())}" if accepted else ""
    if not matches:
        return Check("cfn-lint", Mark.OK, f"nothing in {len(templates)} templates{but}", seconds=seconds)
    said = "; ".join(_match(match) for match in matches[:_SHOWN])
    more = f"; and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
    return Check("cfn-lint", Mark.FAILED, f"{len(matches)} findings: {said}{more}", seconds=seconds)


def _match(match: dict[str, Any]) -> str:
    where = "/".join(str(step) for step in match["Location"].get("Path") or [])[:120]
    stack = Path(match["Filename"]).name.removesuffix(".template.json")
    return f"{match['Rule']['Id']} at {stack}/{where}: {match['Message']}"


if __name__ == "__main__":
    sys.exit(main())
