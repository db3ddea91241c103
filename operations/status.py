"""`scripts/status`: how an environment is: stacks, flags, health, alarms, queues."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from operations import command
from operations.assembly import synthesize
from operations.changes import compare
from operations.command import Check, Mark, OperationError
from operations.deployed import Stack, orphans, resources, stacks, troubles
from operations.environment import Place, environments, locate
from operations.outputs import outputs

HEALTH_SECONDS = 20.0

_EXAMPLES = """\
  scripts/status                                 the sandbox
  scripts/status --env dev
  scripts/status --env prod --json
  scripts/status --env dev --quick               without comparing the templates with the configuration"""

_NOTES = """\
Drift here is between cdk.json and what is deployed: a flag that was changed and not deployed yet, or deployed with -c
and not kept. What somebody changed by hand in the console, CloudFormation's own drift detection finds."""


@dataclass(slots=True)
class Status:
    """What was found."""

    environment: str
    region: str
    stacks: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    """The names of those in ALARM."""
    queues: list[dict[str, Any]] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "status",
        description="Say how an environment is. It fails when something needs somebody.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.add_argument("--quick", action="store_true", help="leave out the comparison with cdk.json")
    return command.run(_work, parser.parse_args(arguments))


def _work(options: argparse.Namespace) -> int:
    place = locate(options.env, options.region)
    found = examine(place, quick=options.quick)
    if options.json:
        document = asdict(found) | {"checks": [check.document() for check in found.checks]}
        command.print_json(document | {"well": not command.is_failed(found.checks)})
    else:
        rows = [(row["name"], row["region"], row["status"], row["changed_at"]) for row in found.stacks]
        command.print_table(("stack", "region", "status", "changed at"), rows)
        print()
        command.print_checks(found.checks)
        if found.queues:
            print()
            counts = [(row["name"], row["waiting"], row["in_work"]) for row in found.queues]
            command.print_table(("queue", "waiting", "in work"), counts)
    return command.FAILED if command.is_failed(found.checks) else command.DONE


def examine(place: Place, *, quick: bool) -> Status:
    """How the environment is. Raises OperationError when none is deployed there."""
    present = stacks(place)
    if not present:
        raise OperationError(f"No environment {place.name} is deployed in {place.region}.")
    found = Status(place.name, place.region)
    found.stacks = [
        {"name": stack.name, "region": stack.region, "status": stack.status, "changed_at": stack.changed_at}
        for stack in present
    ]
    found.checks.append(_settled(place, present))
    found.checks.append(_health({name: value for _, name, value in outputs(place)}))
    found.alarms, alarms = _alarms(place, present)
    found.checks.append(alarms)
    found.queues = _queues(place, present)
    found.checks.append(_dead_letters(found.queues))
    if not quick:
        found.checks += _drift(place, present)
    return found


def _settled(place: Place, present: Sequence[Stack]) -> Check:
    unsettled = [stack for stack in present if not stack.is_settled]
    if not unsettled:
        return Check("stacks", Mark.OK, f"{len(present)} settled")
    said = ", ".join(f"{stack.name} is {stack.status}" for stack in unsettled)
    if all(stack.status.endswith("_IN_PROGRESS") for stack in unsettled):
        return Check("stacks", Mark.WARNING, said)
    reasons = [reason for stack in unsettled for reason in troubles(place, stack, limit=1)]
    remedy = f"{'; '.join(reasons) or 'CloudFormation gives no reason'}. Deploy it again."
    return Check("stacks", Mark.FAILED, said, remedy)


def _health(known: Mapping[str, str]) -> Check:
    page = known.get("WebUrl")
    url = known.get("SandboxHttpUrl") or (f"{page.rstrip('/')}/api" if page else known.get("HttpApiUrl"))
    if url is None:
        return Check("health", Mark.FAILED, "there is no API", "Deploy it again.")
    started = time.monotonic()
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=HEALTH_SECONDS, trust_env="SandboxHttpUrl" not in known)
        body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return Check("health", Mark.FAILED, f"{url} does not answer: {error}", "scripts/logs --since 10m")
    seconds = time.monotonic() - started
    failing = [name for name, result in body.get("checks", {}).items() if result != "ok"]
    if answer.status_code != 200:
        said = f"{body.get('status', answer.status_code)}: {', '.join(failing) or 'no check says why'}"
        return Check("health", Mark.FAILED, said, "scripts/logs --since 10m", seconds=seconds)
    return Check("health", Mark.OK, ", ".join(body.get("checks", {})), seconds=seconds)


def _alarms(place: Place, present: Sequence[Stack]) -> tuple[list[str], Check]:
    """Those of the environment that are in ALARM. What is quiet is not listed."""
    names = {stack.name for stack in present}
    raised: list[str] = []
    count = 0
    for region in dict.fromkeys(stack.region for stack in present):
        cloudwatch = place.client("cloudwatch", region)
        for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"]):
            for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]:
                # Alarms are named by hand or by CloudFormation: after the environment, or after its stack.
                if not alarm["AlarmName"].startswith((*names, f"Parley-{place.name}")):
                    continue
                count += 1
                if alarm["StateValue"] == "ALARM":
                    raised.append(alarm["AlarmName"])
    if raised:
        return raised, Check(
            "alarms", Mark.FAILED, f"in ALARM: {', '.join(raised)}", "Each one's description links its runbook."
        )
    return raised, Check("alarms", Mark.OK, f"none of {count} in ALARM")


def _queues(place: Place, present: Sequence[Stack]) -> list[dict[str, Any]]:
    rows = []
    for stack in present:
        for thing in resources(place, stack.name, stack.id, stack.region):
            if thing.type != "AWS::SQS::Queue":
                continue
            sqs = place.client("sqs", stack.region)
            counts = sqs.get_queue_attributes(
                QueueUrl=thing.physical_id,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
            rows.append(
                {
                    "name": thing.physical_id.rpartition("/")[2],
                    "waiting": int(counts["ApproximateNumberOfMessages"]),
                    "in_work": int(counts["ApproximateNumberOfMessagesNotVisible"]),
                    "is_dead_letters": "DeadLetter" in thing.logical_id,
                }
            )
    return rows


def _dead_letters(queues: Sequence[Mapping[str, Any]]) -> Check:
    stuck = [
        f"{queue['waiting']} in {queue['name']}" for queue in queues if queue["is_dead_letters"] and queue["waiting"]
    ]
    if stuck:
        remedy = "Look at what failed, mend it, and redrive the queue (docs/how-to/operate.md)."
        return Check("dead letters", Mark.FAILED, ", ".join(stuck), remedy)
    return Check("dead letters", Mark.OK, "none")


def _drift(place: Place, present: Sequence[Stack]) -> list[Check]:
    """Whether the present configuration would deploy what is deployed."""
    if place.name not in environments():
        return [Check("configuration", Mark.SKIPPED, f"cdk.json has no environment {place.name}")]
    with TemporaryDirectory(prefix="parley-") as folder:
        assembly = synthesize(place.name, {}, Path(folder))
    left_behind = orphans(present, assembly.stacks)
    checks = []
    if left_behind:
        said = f"orphaned by a flag, and still billing: {', '.join(stack.name for stack in left_behind)}"
        remedy = f"scripts/deploy --env {place.name} --remove-orphans"
        checks.append(Check("orphans", Mark.WARNING, said, remedy))
    else:
        checks.append(Check("orphans", Mark.OK, "none"))
    # Packages are not made here, so that a changed hash of code says nothing.
    differing = [change.stack for change in compare(place, assembly, but_for_code=True) if not change.is_nothing]
    if differing:
        said = f"cdk.json and what is deployed differ in {', '.join(differing)}"
        checks.append(Check("configuration", Mark.WARNING, said, f"scripts/deploy --env {place.name} --dry-run"))
    else:
        checks.append(Check("configuration", Mark.OK, "deployed as cdk.json says, but for code"))
    return checks


if __name__ == "__main__":
    sys.exit(main())
