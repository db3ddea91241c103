"""`scripts/destroy` takes an environment away whole, and touches nothing else."""

import json
from typing import Any

import pytest

from operations import destroy
from operations.environment import Place
from tests.unit.aws_double import Account, place
from tests.unit.cloudformation_double import (
    BUCKET,
    KEY,
    REGION,
    TABLE,
    CloudFormation,
    aws,
    cloudformation,
    make_bucket,
)

__all__ = ["aws", "cloudformation"]


def make_table(where: Place, name: str, *, protected: bool = False) -> None:
    where.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=protected,
    )


def run(*arguments: str) -> int:
    return destroy.main(["--env", "dev", "--region", REGION, *arguments])


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Place:
    here = place(region=REGION)
    monkeypatch.setattr(destroy, "locate", lambda name, region: here)
    return here


def test_an_environment_goes_with_what_its_templates_keep(
    cloudformation: CloudFormation, aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    key = where.client("kms").create_key()["KeyMetadata"]["KeyId"]
    where.client("kms").create_alias(AliasName="alias/parley", TargetKeyId=key)
    make_table(where, "Parley-dev-Data-Sessions-1", protected=True)
    make_bucket(where, "parley-dev-data-documents-1", objects=3)
    cloudformation.add(
        "Parley-dev-Data",
        (f"{TABLE}!", "Parley-dev-Data-Sessions-1"),
        (f"{BUCKET}!", "parley-dev-data-documents-1"),
        (f"{KEY}!", key),
        protected=True,
    )
    cloudformation.add("Parley-dev-Assistant")

    assert run("--yes", "dev", "--protected", "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert document["empty"] is True
    assert {check["mark"] for check in document["looked_for"]} == {"ok"}
    deleted = [request["StackName"].split("/")[1] for request in aws.requests("DeleteStack")]
    assert deleted == ["Parley-dev-Assistant", "Parley-dev-Data"]
    assert where.client("dynamodb").list_tables()["TableNames"] == []
    assert where.client("s3").list_buckets()["Buckets"] == []
    assert where.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_second_run_ends_what_the_first_had_begun(cloudformation: CloudFormation, aws: Account, where: Place) -> None:
    make_table(where, "Parley-dev-Data-Sessions-1")
    cloudformation.add("Parley-dev-Data", (f"{TABLE}!", "Parley-dev-Data-Sessions-1"))
    for stack in cloudformation.stacks.values():
        stack["StackStatus"] = "DELETE_COMPLETE"

    assert run("--yes", "dev") == 0
    assert where.client("dynamodb").list_tables()["TableNames"] == []
    assert run("--yes", "dev") == 0


def test_other_environments_are_left_alone(cloudformation: CloudFormation, aws: Account, where: Place) -> None:
    for table in ("Parley-dev-Data-Sessions-1", "Parley-dev-2-Data-Sessions-1", "Parley-devel-Data-Sessions-1"):
        make_table(where, table)
    make_bucket(where, "parley-dev-2-data-documents-1", objects=1)
    cloudformation.add("Parley-dev-Data", (f"{TABLE}!", "Parley-dev-Data-Sessions-1"))
    cloudformation.add("Parley-dev-2-Data", (f"{TABLE}!", "Parley-dev-2-Data-Sessions-1"), environment="dev-2")
    cloudformation.add("Parley-dev-Foreign", environment="another product's")

    assert run("--yes", "dev") == 0

    assert where.client("dynamodb").list_tables()["TableNames"] == [
        "Parley-dev-2-Data-Sessions-1",
        "Parley-devel-Data-Sessions-1",
    ]
    assert [request["StackName"].split("/")[1] for request in aws.requests("DeleteStack")] == ["Parley-dev-Data"]


def test_what_no_stack_names_is_found_and_not_removed(
    cloudformation: CloudFormation, aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    make_table(where, "Parley-dev-Data-Sessions-by-hand")
    cloudformation.add("Parley-dev-Data")

    assert run("--yes", "dev") == 1

    out, err = capsys.readouterr()
    assert "Parley-dev-Data-Sessions-by-hand" in out
    assert "Delete it by hand" in out
    assert "Something of dev is left" in err
    assert where.client("dynamodb").list_tables()["TableNames"] == ["Parley-dev-Data-Sessions-by-hand"]


def test_a_stack_that_stays_is_named_with_its_reason(
    cloudformation: CloudFormation, aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    cloudformation.add("Parley-dev-Data", (TABLE, "Parley-dev-Data-Sessions-1"))
    make_table(where, "Parley-dev-Data-Sessions-1")
    cloudformation.reasons["Parley-dev-Data"] = "The bucket you tried to delete is not empty"

    assert run("--yes", "dev") == 1

    out, err = capsys.readouterr()
    assert "1 left: Parley-dev-Data" in out
    assert "R0 (AWS::S3::Bucket): The bucket you tried to delete is not empty" in err
    # What a stack still holds is the stack's.
    assert where.client("dynamodb").list_tables()["TableNames"] == ["Parley-dev-Data-Sessions-1"]


def test_what_carries_its_tags_goes_too(cloudformation: CloudFormation, aws: Account, where: Place) -> None:
    make_table(where, "old-table")
    aws.answers["GetResources"] = lambda **_: {
        "ResourceTagMappingList": [
            {"ResourceARN": f"arn:aws:dynamodb:{REGION}:1:table/{name}"}
            for name in where.client("dynamodb").list_tables()["TableNames"]
        ]
    }

    assert run("--yes", "dev") == 0
    assert where.client("dynamodb").list_tables()["TableNames"] == []


def test_protected_data_needs_an_option(
    cloudformation: CloudFormation, aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    cloudformation.add("Parley-dev-Data", protected=True)

    assert run("--yes", "dev") == 1
    assert "--protected" in capsys.readouterr().err
    assert not aws.requests("DeleteStack")


def test_production_needs_an_option_before_anything_is_there(
    aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert destroy.main(["--env", "prod", "--yes", "prod"]) == 1
    assert "--protected" in capsys.readouterr().err


def test_the_name_must_be_the_environments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--yes", "prod")
    assert ended.value.code == 2


def test_a_dry_run_says_what_would_go(
    cloudformation: CloudFormation, aws: Account, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    cloudformation.add("Parley-dev-Data", (f"{TABLE}!", "Parley-dev-Data-Sessions-1"), (BUCKET, "b"))

    assert run("--dry-run", "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert document["stacks"] == ["Parley-dev-Data"]
    assert document["retained"] == [{"type": TABLE, "id": "Parley-dev-Data-Sessions-1"}]
    assert run("--dry-run") == 0
    assert "Their templates keep these" in capsys.readouterr().out
    assert not aws.requests("DeleteStack")


def test_without_a_sandbox_there_is_nothing_to_destroy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_SANDBOX_DIR", str(tmp_path))
    assert destroy.main(["--yes", "local"]) == 0
    assert "nothing to destroy" in capsys.readouterr().out
