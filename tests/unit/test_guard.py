"""`scripts/guard`: what a change of templates does to what holds data, what is accepted, and how it ends."""

import copy
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations import guard
from operations.assembly import Assembly
from operations.environment import OperationError
from operations.guard_changes import STATEFUL, Change, Kind, changes

STACK = "Parley-prod-Data"
TABLE: dict[str, Any] = {
    "Type": "AWS::DynamoDB::Table",
    "Properties": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"},
    "UpdateReplacePolicy": "Delete",
    "DeletionPolicy": "Delete",
}
BUCKET: dict[str, Any] = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
VECTORS: dict[str, Any] = {"Type": "AWS::S3Vectors::VectorBucket", "Properties": {"VectorBucketName": "vectors"}}
INDEX: dict[str, Any] = {
    "Type": "AWS::S3Vectors::Index",
    "Properties": {"VectorBucketArn": {"Fn::GetAtt": ["Vectors", "VectorBucketArn"]}, "Dimension": 1024},
}
RESOURCES: dict[str, dict[str, Any]] = {"Table": TABLE, "Bucket": BUCKET, "Vectors": VECTORS, "Index": INDEX}


def an_assembly(resources: dict[str, Any] | None = None, **others: dict[str, Any]) -> Assembly:
    stacks = {} if resources is None else {STACK: {"Resources": copy.deepcopy(resources)}}
    stacks |= {f"Parley-prod-{part}": template for part, template in others.items()}
    return Assembly(Path(), stacks, dict.fromkeys(stacks))


def losses(before: Assembly, after: Assembly) -> dict[str, Kind]:
    return {change.logical_id: change.kind for change in changes(before, after) if change.loses_data}


def with_property(name: str, value: Any, of: str = "Table") -> dict[str, Any]:
    resources = copy.deepcopy(RESOURCES)
    resources[of].setdefault("Properties", {})[name] = value
    return resources


def test_nothing_changes() -> None:
    assert changes(an_assembly(RESOURCES), an_assembly(RESOURCES)) == []


def test_a_new_logical_id_loses_what_the_old_one_held() -> None:
    renamed = {("Table2" if name == "Table" else name): body for name, body in RESOURCES.items()}
    assert losses(an_assembly(RESOURCES), an_assembly(renamed)) == {"Table": Kind.DELETED}


def test_a_property_that_cannot_be_updated_replaces() -> None:
    after = an_assembly(with_property("KeySchema", [{"AttributeName": "pk", "KeyType": "HASH"}]))
    [change] = changes(an_assembly(RESOURCES), after)
    assert (change.kind, change.properties, change.is_kept) == (Kind.REPLACED, ("KeySchema",), False)
    assert change.sentence == f"AWS::DynamoDB::Table {STACK}/Table would be replaced because of KeySchema"


def test_a_name_given_or_taken_away_replaces() -> None:
    named = an_assembly(with_property("TableName", "sessions"))
    assert losses(an_assembly(RESOURCES), named) == {"Table": Kind.REPLACED}
    assert losses(named, an_assembly(RESOURCES)) == {"Table": Kind.REPLACED}


def test_a_property_that_can_be_updated_changes_in_place() -> None:
    after = an_assembly(with_property("BillingMode", "PROVISIONED"))
    [change] = changes(an_assembly(RESOURCES), after)
    assert (change.kind, change.properties, change.loses_data) == (Kind.CHANGED, ("BillingMode",), False)


def test_numbers_are_also_text_to_cloudformation() -> None:
    assert losses(an_assembly(RESOURCES), an_assembly(with_property("Dimension", "1024", of="Index"))) == {}


def test_what_is_kept_is_still_lost_to_the_stack() -> None:
    without = {name: body for name, body in RESOURCES.items() if name != "Bucket"}
    [change] = changes(an_assembly(RESOURCES), an_assembly(without))
    assert change.loses_data
    assert change.sentence.endswith("would be deleted; it stays in the account, and nothing uses it")


def test_a_changed_type_loses_the_old_resource() -> None:
    after = {**RESOURCES, "Table": {"Type": "AWS::S3::Bucket"}}
    assert losses(an_assembly(RESOURCES), an_assembly(after)) == {"Table": Kind.REPLACED}


def test_a_replacement_replaces_what_names_it() -> None:
    after = an_assembly(with_property("VectorBucketName", "other", of="Vectors"))
    assert losses(an_assembly(RESOURCES), after) == {"Vectors": Kind.REPLACED, "Index": Kind.REPLACED}


@pytest.mark.parametrize(
    "reference",
    [
        {"Fn::GetStackOutput": {"StackName": STACK, "OutputName": "Arn"}},
        {"Fn::ImportValue": "exported-arn"},
    ],
)
def test_a_replacement_is_followed_into_other_stacks(reference: Any) -> None:
    index = {"Type": "AWS::S3Vectors::Index", "Properties": {"VectorBucketArn": reference}}
    outputs = {"Arn": {"Value": {"Fn::GetAtt": ["Vectors", "VectorBucketArn"]}, "Export": {"Name": "exported-arn"}}}
    before, after = (an_assembly(it, Knowledge={"Resources": {"There": index}}) for it in (RESOURCES, RESOURCES))
    for it in (before, after):
        it.stacks[STACK]["Outputs"] = outputs
    after.stacks[STACK]["Resources"]["Vectors"]["Properties"]["VectorBucketName"] = "other"
    assert losses(before, after)["There"] is Kind.REPLACED


def test_the_name_in_a_sub_is_a_reference() -> None:
    resources = copy.deepcopy(RESOURCES)
    resources["Index"]["Properties"]["VectorBucketArn"] = {"Fn::Sub": "${Vectors.VectorBucketArn}"}
    after = copy.deepcopy(resources)
    after["Vectors"]["Properties"]["VectorBucketName"] = "other"
    assert losses(an_assembly(resources), an_assembly(after))["Index"] is Kind.REPLACED


def test_a_stack_that_is_gone_leaves_its_data_behind() -> None:
    assert losses(an_assembly(RESOURCES), an_assembly()) == dict.fromkeys(RESOURCES, Kind.ORPHANED)


def test_a_new_environment_loses_nothing() -> None:
    assert losses(an_assembly(), an_assembly(RESOURCES)) == {}
    assert {change.kind for change in changes(an_assembly(), an_assembly(RESOURCES))} == {Kind.ADDED}


def test_what_holds_no_data_may_go() -> None:
    function = {"Type": "AWS::Lambda::Function", "Properties": {"FunctionName": "a"}}
    custom = {"Type": "Custom::Mine", "Properties": {"ServiceToken": "arn", "More": 1}}
    before = an_assembly({"Function": function, "Custom": custom})
    after = an_assembly({"Function": {**function, "Properties": {"FunctionName": "b"}}})
    assert [(change.kind, change.loses_data) for change in changes(before, after)] == [
        (Kind.DELETED, False),
        (Kind.REPLACED, False),
    ]


def test_metadata_is_no_change() -> None:
    after = {**RESOURCES, "Table": {**TABLE, "Metadata": {"aws:cdk:path": "elsewhere"}}}
    assert changes(an_assembly(RESOURCES), an_assembly({**after, "CDKMetadata": {"Type": "AWS::CDK::Metadata"}})) == []


TYPES = [*sorted(STATEFUL), "AWS::Lambda::Function", "AWS::SQS::Queue"]
POLICIES = st.sampled_from(["Delete", "Retain", "RetainExceptOnCreate", "Snapshot"])
RESOURCE = st.fixed_dictionaries(
    {"Type": st.sampled_from(TYPES), "DeletionPolicy": POLICIES, "UpdateReplacePolicy": POLICIES},
    optional={"Properties": st.dictionaries(st.sampled_from("ABC"), st.integers(0, 2), max_size=2)},
)
TEMPLATES = st.dictionaries(st.sampled_from(["One", "Two", "Three"]), RESOURCE)


@given(before=TEMPLATES, after=TEMPLATES)
def test_whatever_held_data_is_there_afterwards_or_reported(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = losses(an_assembly(before), an_assembly(after))
    for logical_id, body in before.items():
        stays = logical_id in after and after[logical_id]["Type"] == body["Type"]
        assert (logical_id in found) == (body["Type"] in STATEFUL and not stays)


@given(template=TEMPLATES)
def test_a_template_changes_nothing_in_itself(template: dict[str, Any]) -> None:
    assert changes(an_assembly(template), an_assembly(template)) == []


# The command.


def write(folder: Path, assembly: Assembly) -> Path:
    folder.mkdir()
    artifacts = {}
    for name, template in assembly.stacks.items():
        (folder / f"{name}.template.json").write_text(json.dumps(template))
        artifacts[name] = {
            "type": "aws:cloudformation:stack",
            "environment": "aws://unknown-account/eu-west-1",
            "properties": {"templateFile": f"{name}.template.json"},
        }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    return folder


@pytest.fixture
def reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "replacements.toml"
    monkeypatch.setattr(guard, "FILE", path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """The options that guard a lost table and a changed bucket."""
    after = {"Bucket": {**BUCKET, "Properties": {"ObjectLockEnabled": False}}, "Vectors": VECTORS, "Index": INDEX}
    now, then = write(tmp_path / "now", an_assembly(after)), write(tmp_path / "then", an_assembly(RESOURCES))
    return ["--env", "prod", "--assembly", str(now), "--against", str(then)]


def accept(path: Path, *, until: str = "2999-01-01", change: str = "deleted", reason: str = "It was empty.") -> None:
    path.write_text(
        f'[[accepted]]\nresource = "{STACK}/Table"\nchange = "{change}"\nuntil = {until}\nreason = "{reason}"\n'
    )


def test_it_fails_with_the_resources_name(
    folders: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main(folders) == 1
    said = capsys.readouterr()
    assert said.out == "prod: 1 changed, 1 deleted.\n"
    assert f"{STACK}/Table would be deleted: accept it by name" in said.err


def test_a_reviewer_accepts_it_by_name(folders: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept(reviewed)
    assert guard.main(folders) == 0
    assert f"accepted: AWS::DynamoDB::Table {STACK}/Table would be deleted." in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"until": "2026-01-01"}, {"change": "replaced"}])
def test_what_was_accepted_once_is_not_accepted_for_ever(
    folders: list[str], reviewed: Path, other: dict[str, str]
) -> None:
    accept(reviewed, **other)
    assert guard.main(folders) == 1


@pytest.mark.parametrize("other", [{"until": '"soon"'}, {"change": "sold"}, {"reason": " "}])
def test_an_entry_that_says_too_little_is_refused(
    folders: list[str], reviewed: Path, other: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    accept(reviewed, **other)
    assert guard.main(folders) == 1
    assert "needs resource, change, until and reason" in capsys.readouterr().err


def test_a_program_reads_the_same(folders: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard.main([*folders, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert {(it["resource"], it["change"], it["loses_data"], it["accepted"]) for it in document["changes"]} == {
        (f"{STACK}/Table", "deleted", True, False),
        (f"{STACK}/Bucket", "changed", False, False),
    }


def test_a_comment_names_the_loss_first(folders: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard.main([*folders, "--markdown"])
    comment = capsys.readouterr().out
    assert comment.startswith("### Templates of prod\n\n1 changed, 1 deleted.\n\n- :stop_sign: AWS::DynamoDB::Table")
    assert f"| changed | AWS::S3::Bucket | `{STACK}/Bucket` | ObjectLockEnabled |" in comment


def test_a_long_comment_is_cut() -> None:
    found = [Change(Kind.ADDED, STACK, f"Role{number}", "AWS::IAM::Role") for number in range(1000)]
    comment = guard.markdown("dev", found, [])
    assert "and 940 more" in comment
    assert len(comment) < 65_536


def test_one_template_is_compared_alone(
    tmp_path: Path, reviewed: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / f"{STACK}.json"
    template.write_text(json.dumps({"Resources": RESOURCES}))
    assert guard.main([*folders[:-1], str(template)]) == 1
    assert "1 changed, 1 deleted" in capsys.readouterr().out
    for name, content, said in (("Other.json", "{}", "named after no stack"), (f"{STACK}.json", "no", "no template")):
        (tmp_path / name).write_text(content)
        assert guard.main([*folders[:-1], str(tmp_path / name)]) == 1
        assert said in capsys.readouterr().err


def test_an_unknown_commit_is_said_in_one_sentence(
    folders: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main([*folders[:-1], "no-such-branch"]) == 1
    assert capsys.readouterr().err.startswith("git knows no no-such-branch")


def test_what_is_deployed_is_what_cloudformation_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from operations import deployed

    stack = deployed.Stack(name=STACK, id="id", region="eu-west-1", status="UPDATE_COMPLETE")
    monkeypatch.setattr(guard, "locate", lambda env, region: (env, region))
    monkeypatch.setattr(deployed, "stacks", lambda place: [stack])
    monkeypatch.setattr(deployed, "template", lambda place, name, region: {"Resources": RESOURCES})
    found = guard.deployed_assembly("prod", "eu-west-1")
    assert found.stacks == {STACK: {"Resources": RESOURCES}}
    assert found.regions == {STACK: "eu-west-1"}


def test_nothing_accepted_is_no_file(tmp_path: Path) -> None:
    assert guard.read(tmp_path / "none.toml") == []
    (tmp_path / "bad.toml").write_text("[[accepted]\n")
    with pytest.raises(OperationError, match="needs resource"):
        guard.read(tmp_path / "bad.toml")


def test_the_reviewed_file_of_the_repository_can_be_read() -> None:
    assert all(entry.until >= date(2026, 1, 1) for entry in guard.read())
