"""What holds for the alarms of every environment: a page each, metrics that exist, and a cost that dev can afford."""

import re
from pathlib import Path
from typing import Any

import pytest
from parley.functions.telemetry import METRICS_SERVICE

from tests.infrastructure.alarm_metrics import RUNBOOKS, Metric, alarms_of
from tests.infrastructure.assemblies import ROOT, Assembly, Synth

ENVIRONMENTS = ("dev", "staging", "prod")

# Where each metric of a service is documented stands in docs/monitoring.md; dimensions without a value are a
# resource's, which has its name only after deployment.
_ROW = re.compile(r"^\| `(AWS/\w+)` `(\w+)` \| ([^|]+) \| (https://docs\.aws\.amazon\.com/\S+) \|$", re.MULTILINE)


def documented() -> set[tuple[str, str, frozenset[str]]]:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    return {(row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3]))) for row in _ROW.finditer(text)}


def test_every_alarm_has_a_page_and_every_page_an_alarm(synth: Synth) -> None:
    pages: set[Path] = set()
    for env in ENVIRONMENTS:
        assembly = synth(env)
        for alarm in alarms_of(assembly):
            assert alarm.page.exists(), f"{alarm} of {env} has no page"
            if alarm.name is not None:
                assert alarm.page.read_text().partition("\n")[0].removeprefix("# ") in alarm.name
            pages.add(alarm.page)
        if list(assembly.resources("AWS::Budgets::Budget")):
            pages.add(RUNBOOKS / "budget.md")
    assert pages == set(RUNBOOKS.glob("*.md"))


def test_local_has_no_alarms(synth: Synth) -> None:
    """MiniStack's CloudWatch knows no metric math."""
    assert alarms_of(synth("local")) == []


def test_alarms_on_services_look_at_metrics_that_are_documented(synth: Synth) -> None:
    used = {
        (metric.namespace, metric.name, frozenset(name for name, _ in metric.dimensions))
        for env in ENVIRONMENTS
        for alarm in alarms_of(synth(env))
        for metric in alarm.metrics
        if metric.namespace.startswith("AWS/")
    }
    assert used == documented()


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_alarms_look_where_this_environments_functions_write(synth: Synth, env: str) -> None:
    assembly = synth(env)
    own = {metric for alarm in alarms_of(assembly) for metric in alarm.metrics if metric.namespace[:4] != "AWS/"}
    assert {metric.namespace for metric in own} == {f"Parley/{env}"} == set(namespaces(assembly))
    assert {metric.dimensions for metric in own} == {(("service", METRICS_SERVICE),)}


def test_the_quota_of_concurrency_is_lambdas(synth: Synth) -> None:
    usage = {metric for alarm in alarms_of(synth("dev")) for metric in alarm.metrics if metric.namespace == "AWS/Usage"}
    dimensions = {"Class": "None", "Resource": "ConcurrentExecutions", "Service": "Lambda", "Type": "Resource"}
    assert usage == {Metric("AWS/Usage", "ResourceCount", tuple(sorted(dimensions.items())))}


def test_dev_can_afford_its_alarms(synth: Synth) -> None:
    """Ten metrics in alarms are free in an account, each further one costs a tenth of a dollar a month."""
    alarms = alarms_of(synth("dev"))
    assert sum(len(alarm.metrics) for alarm in alarms) <= 22
    assert not any(str(alarm.name).endswith("m") for alarm in alarms), "windows of objectives"


def test_an_address_for_runbooks_is_in_every_description(synth: Synth) -> None:
    # The assembly of staging differs in nothing else that this looks at.
    address = "https://git.example.com/parley/docs/runbooks"
    for _, resource in synth("staging", runbooksUrl=address, enableVoice=False).resources("AWS::CloudWatch::Alarm"):
        assert f" Runbook: {address}/" in resource["Properties"]["AlarmDescription"]


def test_functions_trace_themselves(synth: Synth) -> None:
    """HTTP and WebSocket APIs cannot be traced, so that a trace begins with the first function."""
    for name, function in synth("dev").resources("AWS::Lambda::Function"):
        if "POWERTOOLS_SERVICE_NAME" in variables(function):
            assert function["Properties"]["TracingConfig"] == {"Mode": "Active"}, name


def namespaces(assembly: Assembly) -> list[str]:
    return [
        variables(function)["POWERTOOLS_METRICS_NAMESPACE"]
        for part in ("Assistant", "Knowledge")
        for _, function in assembly.resources("AWS::Lambda::Function", part=part)
        if "POWERTOOLS_SERVICE_NAME" in variables(function)
    ]


def variables(function: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = function["Properties"].get("Environment", {}).get("Variables", {})
    return found
