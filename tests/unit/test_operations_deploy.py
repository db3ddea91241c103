"""A deployment is checked, compared, asked for, made and tried, and what a flag orphaned is listed."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from operations import changes, deploy
from operations.assembly import Assembly
from operations.command import Check, Mark
from operations.environment import Environment
from tests.unit.aws_double import Account, account, place

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TABLE = {"Type": "AWS::DynamoDB::Table", "Properties": {"BillingMode": "PAY_PER_REQUEST"}}
FUNCTION = {"Type": "AWS::Lambda::Function", "Properties": {"Code": {"S3Key": "a" * 64 + ".zip"}}}
WANTED = {"Parley-dev-Data": {"Resources": {"Table": TABLE}}, "Parley-dev-Assistant": {"Resources": {"Chat": FUNCTION}}}

# Stands in for the CDK CLI: it writes an assembly at `synth`, and notes what it was asked.
CDK = """#!/usr/bin/env python3
import json, os, pathlib, sys
log = pathlib.Path(os.environ["CDK_LOG"])
log.write_text(log.read_text() + json.dumps([sys.argv[1:], os.environ["AWS_REGION"]]) + "\\n")
if os.environ.get("CDK_FAILS") == sys.argv[1]:
    sys.exit("error: no more room")
if sys.argv[1] == "synth":
    folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = {}
    for name, template in json.loads(os.environ["CDK_TEMPLATES"]).items():
        (folder / f"{name}.template.json").write_text(json.dumps(template))
        artifacts[name] = {
            "type": "aws:cloudformation:stack",
            "environment": "aws://unknown-account/eu-central-1",
            "properties": {"templateFile": f"{name}.template.json"},
        }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
"""


def assembly(**stacks: dict[str, Any]) -> Assembly:
    return Assembly(Path(), stacks, dict.fromkeys(stacks, "eu-central-1"))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account in which only the Data stack is deployed."""
    monkeypatch.setattr("operations.deployed.EDGE_REGION", "eu-central-1")
    templates: dict[str, Any] = {"Parley-dev-Data": {"Resources": {"Table": TABLE}}}

    def template(StackName: str) -> Any:
        return {"TemplateBody": templates[StackName]} if StackName in templates else "ValidationError"

    answers: dict[str, Any] = {
        "GetTemplate": template,
        "GetCallerIdentity": {"Account": "111122223333"},
        "DescribeStacks": {"Stacks": []},
        "ListStackResources": {"StackResourceSummaries": []},
    }
    with account(monkeypatch, answers) as double:
        yield double


@pytest.fixture
def cdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a CDK CLI that deploys nothing."""
    program, log = tmp_path / "cdk", tmp_path / "asked"
    program.write_text(CDK)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    log.write_text("")
    monkeypatch.setenv("CDK_LOG", str(log))
    monkeypatch.setenv("CDK_TEMPLATES", json.dumps(WANTED))
    monkeypatch.setattr(deploy, "CDK", program)
    monkeypatch.setattr(deploy, "PROJECT", tmp_path)
    monkeypatch.setattr(deploy, "locate", lambda name, region=None: place())
    monkeypatch.setattr("operations.deploy.doctor.examine", lambda env, region, flags: [Check("tools", Mark.OK)])
    monkeypatch.setattr(deploy, "smoke", lambda environment, who: [Check("health", Mark.OK)])
    monkeypatch.setattr(
        deploy,
        "resolve",
        lambda name, region: Environment(
            name=name,
            region="eu-central-1",
            api_url="https://api",
            documents_bucket="b",
            tables={},
            functions={},
            user_pool_id=None,
            user_pool_client_id=None,
            outputs={"WebUrl": "https://talk"},
            folder=tmp_path,
            demo=None,
            client_options={},
        ),
    )
    for variable in ("PARLEY_USER", "PARLEY_TOKEN", "PARLEY_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return log


def asked(log: Path) -> list[list[str]]:
    """The arguments of each run of the CDK."""
    return [json.loads(line)[0] for line in log.read_text().splitlines()]


def test_a_deployment_says_what_it_changed_and_what_came_of_it(
    aws: Account, cdk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--env", "dev", "--yes", "--json", "-c", "enableVoice=false"]) == 0

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [(change["stack"], change["new"], change["added"]) for change in document["changes"]] == [
        ("Parley-dev-Data", False, []),
        ("Parley-dev-Assistant", True, ["Chat (AWS::Lambda::Function)"]),
    ]
    assert document["outputs"] == {"WebUrl": "https://talk"}
    assert document["smoke"] == [{"what": "health", "mark": "ok"}]
    synth, deployed = asked(cdk)
    assert synth[:3] == ["synth", "--quiet", "--no-notices"]
    assert synth[3:7] == ["-c", "env=dev", "-c", "enableVoice=false"]
    assert deployed[:2] == ["deploy", "--all"]
    assert "https://talk" in err


def test_a_region_that_was_asked_for_is_given_on(aws: Account, cdk: Path) -> None:
    assert deploy.main(["--env", "dev", "--region", "eu-west-1", "--yes"]) == 0
    assert "region=eu-west-1" in asked(cdk)[0]


def test_a_dry_run_changes_nothing(aws: Account, cdk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(["--env", "dev", "--dry-run"]) == 0
    assert [run[0] for run in asked(cdk)] == ["synth"]
    assert "new" in capsys.readouterr().out


def test_nothing_is_deployed_unasked(aws: Account, cdk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(["--env", "dev"]) == 1
    assert "give --yes" in capsys.readouterr().err
    assert [run[0] for run in asked(cdk)] == ["synth"]


def test_where_nothing_changes_nobody_is_asked(aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDK_TEMPLATES", json.dumps({"Parley-dev-Data": WANTED["Parley-dev-Data"]}))
    assert deploy.main(["--env", "dev"]) == 0
    assert [run[0] for run in asked(cdk)] == ["synth", "deploy"]


def test_a_finding_of_the_doctor_stops_it(
    aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Check("bootstrap", Mark.FAILED, "not done", "cdk bootstrap")
    monkeypatch.setattr("operations.deploy.doctor.examine", lambda env, region, flags: [finding])

    assert deploy.main(["--env", "dev", "--yes"]) == 1

    out, err = capsys.readouterr()
    assert "-> cdk bootstrap" in out
    assert "Nothing was deployed" in err
    assert asked(cdk) == []
    assert deploy.main(["--env", "dev", "--yes", "--skip-doctor"]) == 0


@pytest.mark.parametrize("step", ["synth", "deploy"])
def test_what_the_cdk_says_is_passed_on(
    step: str, aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDK_FAILS", step)
    assert deploy.main(["--env", "dev", "--yes"]) == 1
    assert f"{step} failed: error: no more room. Its log is " in capsys.readouterr().err


def test_what_is_deployed_and_does_not_work_fails(
    aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "smoke", lambda environment, who: [Check("chat", Mark.FAILED, "no answer")])
    assert deploy.main(["--env", "dev", "--yes"]) == 1
    assert "does not work as it should" in capsys.readouterr().err


def orphan(*, protected: bool = False) -> dict[str, Any]:
    return {
        "StackName": "Parley-dev-Knowledge",
        "StackId": "arn:Parley-dev-Knowledge",
        "StackStatus": "UPDATE_COMPLETE",
        "CreationTime": NOW,
        "EnableTerminationProtection": protected,
        "Tags": [{"Key": "application", "Value": "parley"}, {"Key": "environment", "Value": "dev"}],
    }


def test_what_a_flag_orphaned_is_listed_and_removed_when_told(
    aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.answers |= {"DescribeStacks": {"Stacks": [orphan()]}, "GetTemplate": {"TemplateBody": {}}}
    removed: list[str] = []
    monkeypatch.setattr(deploy, "remove_stacks", lambda place, stacks, report: removed.extend(s.name for s in stacks))
    monkeypatch.setattr(deploy, "remove_rest", lambda place, search, where, report: ["left: because"])

    assert deploy.main(["--env", "dev", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "still billing: Parley-dev-Knowledge" in said
    assert "--remove-orphans" in said
    assert removed == []

    assert deploy.main(["--env", "dev", "--yes", "--remove-orphans", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert removed == ["Parley-dev-Knowledge"]
    assert (document["removed"], document["orphans"]) == (["Parley-dev-Knowledge"], [])


def test_a_protected_orphan_stays(aws: Account, cdk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aws.answers |= {"DescribeStacks": {"Stacks": [orphan(protected=True)]}, "GetTemplate": {"TemplateBody": {}}}
    assert deploy.main(["--env", "dev", "--yes", "--remove-orphans"]) == 1
    assert "is protected, and was left" in capsys.readouterr().err


def test_an_orphan_that_cannot_be_removed_fails(
    aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.answers |= {"DescribeStacks": {"Stacks": [orphan()]}, "GetTemplate": {"TemplateBody": {}}}
    monkeypatch.setattr(deploy, "remove_stacks", lambda place, stacks, report: ["Parley-dev-Knowledge: in use"])
    assert deploy.main(["--env", "dev", "--yes", "--remove-orphans"]) == 1
    assert "in use" in capsys.readouterr().err


def test_resources_that_hold_data_are_named(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    [change] = changes.compare(
        place(), assembly(**{"Parley-dev-Data": {"Resources": {"Table": TABLE | {"Properties": {}}, "New": FUNCTION}}})
    )
    assert change.data_at_stake == ["Table (AWS::DynamoDB::Table)"]
    changes.print_changes([change])
    assert "holds data, and is changed or removed: Table" in capsys.readouterr().out
    assert changes.in_words([change]) == "1 of 1 stacks: 1 added, 1 changed"


def test_what_only_the_cdk_reads_is_no_change(aws: Account) -> None:
    wanted = {
        "Resources": {
            "Table": TABLE | {"Metadata": {"aws:cdk:path": "moved"}},
            "CDKMetadata": {"Type": "AWS::CDK::Metadata"},
        }
    }
    found = changes.compare(place(), assembly(**{"Parley-dev-Data": wanted}))
    assert found[0].is_nothing
    assert changes.in_words(found) == "nothing changes"


@pytest.mark.parametrize("but_for_code", [True, False])
def test_hashes_of_code_may_be_left_aside(but_for_code: bool, aws: Account) -> None:
    aws.answers["GetTemplate"] = {"TemplateBody": {"Resources": {"Chat": FUNCTION}}}
    other = {"Resources": {"Chat": FUNCTION | {"Properties": {"Code": {"S3Key": "b" * 64 + ".zip"}}}}}
    [change] = changes.compare(place(), assembly(**{"Parley-dev-Assistant": other}), but_for_code=but_for_code)
    assert change.is_nothing is but_for_code


def test_the_sandbox_is_brought_up_with_the_flags(
    aws: Account, cdk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_SANDBOX_DIR", str(tmp_path))
    seen: list[Any] = []
    monkeypatch.setattr(deploy, "load", lambda folder: assembly(**WANTED))
    monkeypatch.setattr(deploy, "_account_of_sandbox", place)

    def up(ports: Any, *, detach: bool, flags: Any, before_deploy: Any) -> None:
        seen.extend([detach, flags, before_deploy()])
        sys.stdout.write("the sandbox's addresses\n")

    monkeypatch.setattr(deploy, "up", up)

    assert deploy.main(["-c", "enableRag=false", "--json"]) == 0

    assert seen == [True, {"enableRag": "false"}, "1 of 2 stacks: 1 added"]
    assert len(json.loads(capsys.readouterr().out)["changes"]) == 2
    assert deploy.main(["--dry-run"]) == 1
    assert not os.path.exists(tmp_path / "cdk.out")
