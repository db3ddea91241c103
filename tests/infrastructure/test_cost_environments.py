"""What the synthesized environments cost: accepted, priced to the last type, and for `dev` at most five dollars."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from operations import assembly
from operations.cost import accepted, report
from operations.cost.bill import by_service, total
from operations.cost.idle import idle
from operations.cost.profiles import PROFILES
from operations.guard_changes import STATEFUL, changes
from stacks.config import load
from stacks.monitoring import budget_tags
from tests.infrastructure.assemblies import ROOT, Synth
from tests.infrastructure.test_pairwise import REGION, ROWS

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
ENVIRONMENTS = tuple(env for env in CONTEXT["environments"] if env != "local")
DEV_USD = 5.0


def synthesized(synth: Synth, env: str, **flags: Any) -> assembly.Assembly:
    return assembly.load(synth(env, **flags).directory)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_idle_cost_is_the_one_that_somebody_accepted(synth: Synth, env: str) -> None:
    assert accepted.problems(env, idle(synthesized(synth, env)), accepted.read()) == []


def test_dev_idles_at_no_more_than_five_dollars(synth: Synth) -> None:
    found = idle(synthesized(synth, "dev"))
    assert total(found.lines) <= DEV_USD, by_service(found.lines)


@pytest.mark.parametrize("env", [*ENVIRONMENTS, "local"])
def test_everything_that_an_environment_has_is_priced(synth: Synth, env: str) -> None:
    estimate = report.estimate(env, synthesized(synth, env), PROFILES["team"])
    assert estimate.idle.unpriced == []
    assert estimate.usage.unpriced == []
    assert total(estimate.usage.turn) > 0
    assert total(estimate.usage.voice_minute) > total(estimate.usage.turn)


@pytest.mark.parametrize("flags", ROWS, ids=str)
def test_everything_that_a_flag_brings_is_priced(synth: Synth, flags: dict[str, Any]) -> None:
    assert idle(synthesized(synth, "dev", **REGION, **flags)).unpriced == []


def test_what_waf_and_a_private_network_add_is_seen(synth: Synth) -> None:
    dev, staging, prod = (by_service(idle(synthesized(synth, env)).lines) for env in ("dev", "staging", "prod"))
    assert "WAF" not in dev
    assert staging["WAF"] >= 6
    assert {"DAX", "OpenSearch Serverless", "VPC", "DynamoDB"} <= prod.keys()
    assert sum(dev.values()) < sum(staging.values()) < sum(prod.values())


def test_from_one_store_to_another_the_guard_sees_what_is_lost(synth: Synth) -> None:
    before, after = synthesized(synth, "prod"), synthesized(synth, "dev")
    assert changes(before, before) == []
    # As if everything of prod went: no resource that holds data is overlooked.
    gone = changes(before, assembly.Assembly(Path(), {}, {}))
    assert {change.name for change in gone if change.loses_data} == {
        resource.name for resource in before.resources(*STATEFUL)
    }
    assert {change.type for change in gone if change.loses_data} >= {
        "AWS::Cognito::UserPool",
        "AWS::DynamoDB::Table",
        "AWS::KMS::Key",
        "AWS::OpenSearchServerless::Collection",
        "AWS::S3::Bucket",
    }
    assert not any(change.loses_data for change in changes(assembly.Assembly(Path(), {}, {}), after))


def test_a_budget_counts_the_account_unless_it_is_told_to_count_the_environment(synth: Synth) -> None:
    [(_, budget)] = synth("dev").resources("AWS::Budgets::Budget")
    assert "CostFilters" not in budget["Properties"]["Budget"]
    assert budget["Properties"]["Budget"]["BudgetLimit"] == {"Amount": 100, "Unit": "USD"}
    assert budget_tags(load({**CONTEXT, "env": "staging", "budgetScope": "environment"})) == {"environment": "staging"}
    assert budget_tags(load({**CONTEXT, "env": "staging"})) == {}


def test_the_figures_of_the_documentation_are_those_of_the_templates(synth: Synth) -> None:
    text = (ROOT / "docs" / "cost.md").read_text()
    table = re.search(r"<!-- figures -->\n(.*?)<!-- /figures -->", text, re.DOTALL)
    assert table is not None
    written = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[1].strip().splitlines()[2:]]
    found = [report.estimate(env, synthesized(synth, env), PROFILES["team"]) for env in ENVIRONMENTS]
    for row in written:
        part = next(name for name in report.PARTS if name == row[0])
        for estimate, cell in zip(found, row[1:], strict=True):
            usd = total(report.PARTS[part](estimate))
            assert float(cell.replace(",", "")) == pytest.approx(usd, rel=0.06), f"{part} of {estimate.name}: {usd:.5f}"
