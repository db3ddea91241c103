"""What a deployment needs is looked at before it is made, each finding with its remedy."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from operations import doctor, doctor_aws
from operations.command import Check, Mark
from sandbox.up import USUAL_PORTS
from stacks.config import Configuration, load
from tests.unit.aws_double import Account, account, place, refusal

CONTEXT = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"]


def configuration(env: str = "dev", **flags: Any) -> Configuration:
    return load({**CONTEXT, "env": env, **flags})


def lifecycle(**fields: Any) -> dict[str, Any]:
    return {"modelDetails": {"modelName": "Nova 2 Sonic", "modelLifecycle": fields}}


GOOD_MODEL = {
    "modelId": "m",
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account in which everything is as it should be."""
    answers: dict[str, Any] = {
        "GetCallerIdentity": {"Account": "111122223333"},
        "GetParameter": {"Parameter": {"Value": "30"}},
        "GetApis": {"Items": []},
        "ListTables": {"TableNames": []},
        "ListInferenceProfiles": {},
        "ListUserPools": {"UserPools": []},
        "ListVectorBuckets": {"vectorBuckets": []},
        "ListCollections": {"collectionSummaries": []},
        "DescribeClusters": {"Clusters": []},
        "ListTranscriptionJobs": {},
        "DescribeVoices": {},
        "GetInferenceProfile": {"status": "ACTIVE"},
        "GetFoundationModelAvailability": GOOD_MODEL,
        "GetFoundationModel": lifecycle(status="ACTIVE"),
        "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 1_000}},
        "GetServiceQuota": {"Quota": {"Value": 10_000.0}},
        "DescribeLimits": {"AccountMaxReadCapacityUnits": 80_000, "AccountMaxWriteCapacityUnits": 80_000},
        "ListServiceQuotas": {
            "Quotas": [{"QuotaName": "On-demand concurrent requests for Amazon Nova 2 Sonic", "Value": 500.0}]
        },
    }
    with account(monkeypatch, answers) as double:
        yield double


def found(which: Configuration, where: str = "eu-central-1") -> dict[str, Check]:
    return {check.what: check for check in doctor_aws.examine(place(which.environment, where), which)}


def one(checks: dict[str, Check], beginning: str) -> Check:
    [check] = [check for what, check in checks.items() if what.startswith(beginning)]
    return check


@pytest.mark.parametrize("env", ["dev", "staging", "prod"])
def test_a_ready_account_has_no_finding(env: str, aws: Account) -> None:
    checks = found(configuration(env), "us-east-1")
    assert {check.mark for check in checks.values()} == {Mark.OK}
    assert ("DynamoDB capacity" in checks) is (env == "prod")


def test_without_credentials_nothing_else_is_looked_at(aws: Account) -> None:
    aws.answers["GetCallerIdentity"] = "ExpiredToken"
    checks = found(configuration())
    assert list(checks) == ["credentials"]
    assert checks["credentials"].mark is Mark.FAILED
    assert "AWS_PROFILE" in checks["credentials"].remedy


def test_credentials_must_open_the_environments_account(aws: Account) -> None:
    check = found(configuration(account="999999999999"))["credentials"]
    assert check.mark is Mark.FAILED
    assert "111122223333" in check.said


def test_cloudfront_needs_the_bootstrap_of_another_region_too(aws: Account) -> None:
    regions: list[str] = []

    def parameter(Name: str) -> Any:
        regions.append(Name)
        return "ParameterNotFound" if len(regions) == 2 else {"Parameter": {"Value": "30"}}

    aws.answers["GetParameter"] = parameter
    checks = found(configuration(enableWaf=True, region="eu-central-1"))

    assert checks["bootstrap in eu-central-1"].mark is Mark.OK
    missing = checks["bootstrap in us-east-1"]
    assert missing.mark is Mark.FAILED
    assert missing.remedy.endswith("cdk bootstrap aws://111122223333/us-east-1")
    assert "bootstrap in us-east-1" not in found(configuration())


def test_an_old_bootstrap_is_not_enough(aws: Account) -> None:
    aws.answers["GetParameter"] = {"Parameter": {"Value": "5"}}
    assert "too old" in found(configuration())["bootstrap in eu-central-1"].said


def test_a_service_that_the_region_has_not_is_found(aws: Account) -> None:
    aws.answers["ListVectorBuckets"] = EndpointConnectionError(endpoint_url="https://s3vectors")
    check = found(configuration())["s3vectors in eu-central-1"]
    assert check.mark is Mark.FAILED
    assert "another region" in check.remedy
    assert "s3vectors in eu-central-1" not in found(configuration(enableRag=False))


def test_what_may_not_be_looked_at_is_a_warning(aws: Account) -> None:
    aws.answers["GetParameter"] = "AccessDeniedException"
    aws.answers["ListTables"] = "AccessDeniedException"
    aws.answers["GetAccountSettings"] = refusal("Throttling")
    checks = found(configuration())
    assert "GetParameter" not in checks["bootstrap in eu-central-1"].remedy
    for what in ("bootstrap in eu-central-1", "dynamodb in eu-central-1", "Lambda concurrency"):
        assert checks[what].mark is Mark.WARNING


@pytest.mark.parametrize(
    ("answers", "mark", "said"),
    [
        ({"GetInferenceProfile": "ResourceNotFoundException"}, Mark.FAILED, "no such inference profile"),
        ({"GetInferenceProfile": {"status": "DELETED"}}, Mark.FAILED, "DELETED"),
        (
            {"GetFoundationModelAvailability": GOOD_MODEL | {"authorizationStatus": "NOT_AUTHORIZED"}},
            Mark.FAILED,
            "may not use it",
        ),
        (
            {"GetFoundationModelAvailability": GOOD_MODEL | {"agreementAvailability": {"status": "PENDING"}}},
            Mark.FAILED,
            "PENDING",
        ),
        ({"GetFoundationModel": lifecycle(status="LEGACY")}, Mark.WARNING, "legacy"),
        (
            {"GetFoundationModel": lifecycle(endOfLifeTime=datetime.now(UTC) + timedelta(days=30))},
            Mark.WARNING,
            "ends on",
        ),
        (
            {"GetFoundationModel": lifecycle(endOfLifeTime=datetime.now(UTC) - timedelta(days=1))},
            Mark.FAILED,
            "end of life",
        ),
        ({"GetFoundationModel": "ValidationException"}, Mark.OK, "quick"),
        ({"GetInferenceProfile": "ThrottlingException"}, Mark.WARNING, "could not be looked at"),
    ],
)
def test_every_model_must_be_there_to_be_used(answers: dict[str, Any], mark: Mark, said: str, aws: Account) -> None:
    aws.answers |= answers
    check = one(found(configuration(enableVoice=False)), "model global.amazon.nova-2-lite")
    assert check.mark is mark
    assert said in check.said


def test_a_model_without_a_profile_must_be_in_the_region(aws: Account) -> None:
    aws.answers["GetFoundationModelAvailability"] = GOOD_MODEL | {"regionAvailability": "NOT_AVAILABLE"}
    checks = found(configuration())
    assert "not offered in eu-central-1" in one(checks, "model amazon.titan-embed").said
    assert one(checks, "model global.anthropic.claude-sonnet").mark is Mark.OK


def test_quotas_are_held_against_the_size(aws: Account) -> None:
    aws.answers |= {
        "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 10}},
        "GetServiceQuota": {"Quota": {"Value": 100.0}},
        "DescribeLimits": {"AccountMaxReadCapacityUnits": 100, "AccountMaxWriteCapacityUnits": 100},
        "ListServiceQuotas": {"Quotas": [{"QuotaName": "Concurrent requests for Nova 2 Sonic", "Value": 20.0}]},
    }
    checks = found(configuration("prod"), "us-east-1")
    for what in (
        "Lambda concurrency",
        "API Gateway rate",
        "DynamoDB capacity",
        "calls of the speech model",
    ):
        assert checks[what].mark is Mark.WARNING
        assert "needed" in checks[what].said
        assert checks[what].remedy


def test_a_speech_model_without_a_quota_of_its_own_is_said(aws: Account) -> None:
    aws.answers["ListServiceQuotas"] = {"Quotas": []}
    assert "names none for Nova 2 Sonic" in found(configuration())["calls of the speech model"].said


@pytest.mark.parametrize("port", ["0"])
def test_this_machine_is_ready_for_the_sandbox(
    port: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_SANDBOX_DIR", str(tmp_path))
    for variable in USUAL_PORTS:
        monkeypatch.setenv(variable, port)

    assert doctor.main(["--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["ready"] is True
    assert {"Python", "Node.js", "CDK CLI", "uv", "configuration", "ports"} <= {
        check["what"] for check in document["checks"]
    }


def test_what_is_missing_on_this_machine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_said_by", lambda *program: "")
    monkeypatch.setattr("operations.doctor.shutil.which", lambda name: None)
    monkeypatch.setattr("operations.doctor.importlib.metadata.version", lambda name: "0.1")
    monkeypatch.setattr(doctor, "read_json", lambda path: {"version": "2.0.0"})
    monkeypatch.setattr(doctor, "_LEAST_DISK", 10**18)
    monkeypatch.setattr("operations.doctor.sys.version_info", (3, 11, 0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("PARLEY_PORT", str(taken.getsockname()[1]))
        checks = {check.what: check for check in doctor.examine("local", None, {})}

    for what in ("Python", "Node.js", "uv", "CDK CLI", "aws-cdk-lib", "ports"):
        assert checks[what].mark is Mark.FAILED
        assert checks[what].remedy
    assert checks["espeak-ng"].mark is Mark.WARNING
    assert checks["disk"].mark is Mark.WARNING


@pytest.mark.parametrize(
    ("version", "mark"), [("v18.1.0", Mark.FAILED), ("v20.2.0", Mark.WARNING), ("v24.0.1", Mark.OK)]
)
def test_node_is_new_enough(version: str, mark: Mark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_said_by", lambda *program: version)
    assert doctor._node().mark is mark


def test_a_configuration_that_cannot_be_used_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--env", "nowhere"]) == 1
    out, err = capsys.readouterr()
    assert 'environment "nowhere"' in out
    assert "cannot be deployed yet" in err


def test_a_region_must_be_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert doctor.examine("dev", None, {})[-1].what == "region"


def test_an_environment_on_aws_is_looked_at_there(aws: Account) -> None:
    checks = doctor.examine("dev", "eu-central-1", {"enableRag": "false"})
    assert "credentials" in {check.what for check in checks}
    assert "s3vectors in eu-central-1" not in {check.what for check in checks}
