"""An environment is taken away whole, nothing else is touched, and what is left is found."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws

from operations import deployed, destroy, kinds, proof, teardown
from operations.command import Check, Mark
from operations.deployed import Resource, Stack
from operations.environment import Place
from operations.kinds import Search
from tests.unit.aws_double import Account, account, place, refusal

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REGION = "eu-central-1"
TABLE, BUCKET, KEY, GROUP, QUEUE = (
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::SQS::Queue",
)


class CloudFormation:
    """The stacks of an account, over CloudFormation's own operations."""

    def __init__(self) -> None:
        self.stacks: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, list[tuple[str, str, str]]] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.reasons: dict[str, str] = {}
        """Why the deletion of a stack fails, by its name."""

    def add(self, name: str, *things: tuple[str, str], environment: str = "dev", protected: bool = False) -> None:
        """A stack with resources, as (type, physical id); a type with `!` at its end is retained."""
        identifier = f"arn:aws:cloudformation:{REGION}:1:stack/{name}/1"
        self.stacks[identifier] = {
            "StackName": name,
            "StackId": identifier,
            "StackStatus": "CREATE_COMPLETE",
            "CreationTime": NOW,
            "EnableTerminationProtection": protected,
            "Tags": [{"Key": "application", "Value": "parley"}, {"Key": "environment", "Value": environment}],
        }
        self.resources[identifier] = [(f"R{n}", type_.rstrip("!"), one) for n, (type_, one) in enumerate(things)]
        self.templates[identifier] = {
            "Resources": {
                f"R{n}": {"Type": type_.rstrip("!")} | ({"DeletionPolicy": "Retain"} if type_.endswith("!") else {})
                for n, (type_, _) in enumerate(things)
            }
        }

    def answers(self) -> dict[str, Any]:
        return {
            "DescribeStacks": self.describe,
            "ListStacks": lambda **_: {"StackSummaries": list(self.stacks.values())},
            "ListStackResources": self.list_resources,
            "GetTemplate": lambda StackName: {"TemplateBody": self.templates[StackName]},
            "DeleteStack": self.delete,
            "UpdateTerminationProtection": self.protect,
            "DescribeStackEvents": self.events,
        }

    def describe(self, StackName: str | None = None) -> Any:
        if StackName is None:
            return {"Stacks": [one for one in self.stacks.values() if one["StackStatus"] != "DELETE_COMPLETE"]}
        found = [one for one in self.stacks.values() if StackName in (one["StackName"], one["StackId"])]
        return {"Stacks": found} if found else "ValidationError"

    def list_resources(self, StackName: str) -> Any:
        gone = self.stacks[StackName]["StackStatus"] == "DELETE_COMPLETE"
        kept = self.templates[StackName]["Resources"]
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": logical,
                    "ResourceType": type_,
                    "PhysicalResourceId": physical,
                    "ResourceStatus": ("DELETE_SKIPPED" if "DeletionPolicy" in kept[logical] else "DELETE_COMPLETE")
                    if gone
                    else "CREATE_COMPLETE",
                }
                for logical, type_, physical in self.resources[StackName]
            ]
        }

    def delete(self, StackName: str) -> Any:
        stack = self.stacks[StackName]
        if stack["EnableTerminationProtection"]:
            return "ValidationError"
        stack["StackStatus"] = "DELETE_FAILED" if stack["StackName"] in self.reasons else "DELETE_COMPLETE"
        return {}

    def protect(self, StackName: str, EnableTerminationProtection: bool) -> Any:
        self.stacks[StackName]["EnableTerminationProtection"] = EnableTerminationProtection
        return {}

    def events(self, StackName: str) -> Any:
        name = self.stacks[StackName]["StackName"]
        event = {"StackId": StackName, "EventId": "1", "StackName": name, "Timestamp": NOW}
        old = event | {"LogicalResourceId": "Old", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "old"}
        begun = event | {"LogicalResourceId": name, "ResourceStatus": "DELETE_IN_PROGRESS", "ResourceStatusReason": "x"}
        new = event | {"LogicalResourceId": "R0", "ResourceStatus": "DELETE_FAILED", "ResourceType": BUCKET}
        return {"StackEvents": [new | {"ResourceStatusReason": self.reasons[name]}, begun, old]}


@pytest.fixture
def cloudformation() -> CloudFormation:
    return CloudFormation()


@pytest.fixture
def aws(cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account whose stacks are `cloudformation`'s and whose services are moto's."""
    monkeypatch.setattr("operations.teardown.time.sleep", lambda _: None)
    monkeypatch.setattr(destroy, "PATIENCE", 0.0)
    monkeypatch.setattr(deployed, "EDGE_REGION", REGION)
    tags: dict[str, Any] = {"GetResources": {"ResourceTagMappingList": []}}
    # moto has none of these.
    missing: dict[str, Any] = {
        "ListVectorBuckets": {"vectorBuckets": []},
        "ListCollections": {"collectionSummaries": []},
        "ListCollectionGroups": {"collectionGroupSummaries": []},
        "ListUserPools": {"UserPools": []},
        "GetApis": {"Items": []},
        "ListFunctions": {"Functions": []},
        "DescribeNetworkInterfaces": {"NetworkInterfaces": []},
        "DescribeLogGroups": {"logGroups": []},
    }
    with mock_aws(), account(monkeypatch, {**cloudformation.answers(), **tags, **missing}, passes_on=True) as double:
        yield double


def make_table(where: Place, name: str, *, protected: bool = False) -> None:
    where.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=protected,
    )


def make_bucket(where: Place, name: str, *, objects: int = 0) -> None:
    s3 = where.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for number in range(objects):
        s3.put_object(Bucket=name, Key=f"{number}", Body=b"x")
        s3.put_object(Bucket=name, Key=f"{number}", Body=b"y")
        s3.delete_object(Bucket=name, Key=f"{number}")


def marks(checks: list[Check]) -> dict[str, Mark]:
    return {check.what: check.mark for check in checks}


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


def test_a_key_that_lives_is_found(aws: Account) -> None:
    here = place(region=REGION)
    key = here.client("kms").create_key()["KeyMetadata"]["KeyId"]
    things = [Resource("Parley-dev-Data", REGION, "Key", KEY, key)]

    checks = proof.prove(here, Search({}, set()), things, [REGION], patience=0)
    assert marks(checks)["keys"] is Mark.FAILED

    teardown.retire_keys(here, things, lambda _: None)
    assert marks(proof.prove(here, Search({}, set()), things, [REGION], patience=0))["keys"] is Mark.OK


def test_what_may_not_be_listed_is_not_proved(aws: Account) -> None:
    aws.answers["ListTables"] = "AccessDeniedException"

    checks = proof.prove(place(region=REGION), Search({}, set()), [], [REGION], patience=0)

    assert marks(checks)["tables"] is Mark.FAILED
    assert marks(checks)["buckets"] is Mark.OK


def test_what_the_sandbox_has_not_is_said_plainly(aws: Account) -> None:
    aws.answers["ListVectorBuckets"] = refusal("", "ListVectorBuckets")

    checks = proof.prove(place("local", REGION), Search({}, set()), [], [REGION], patience=0)

    assert marks(checks)["vector buckets"] is Mark.SKIPPED
    # On AWS the same answer proves nothing, and fails.
    assert marks(proof.prove(place(), Search({}, set()), [], [REGION], patience=0))["vector buckets"] is Mark.FAILED


def test_other_kinds_are_found_by_their_tags(aws: Account) -> None:
    topic, table = f"arn:aws:sns:{REGION}:1:alarms", f"arn:aws:dynamodb:{REGION}:1:table/looked-for-itself"
    aws.answers["GetResources"] = {"ResourceTagMappingList": [{"ResourceARN": topic}, {"ResourceARN": table}]}

    checks = proof.prove(place(region=REGION), Search({}, set()), [], [REGION], patience=0)

    [found] = [check for check in checks if check.what == "anything else with its tags"]
    assert found.mark is Mark.WARNING
    assert topic in found.said
    assert table not in found.said


NETWORK = {
    "NetworkInterfaceId": "eni-1",
    "VpcId": "vpc-1",
    "Description": "AWS Lambda VPC ENI-Parley-dev-Knowledge-Retrieval-1-uuid",
    "Groups": [{"GroupId": "sg-1"}],
}

LISTED: dict[str, tuple[dict[str, Any], dict[str, set[str]], str, dict[str, Any]]] = {
    "functions": (
        {"ListFunctions": {"Functions": [{"FunctionName": "f-1"}]}},
        {"AWS::Lambda::Function": {"f-1"}},
        "DeleteFunction",
        {"FunctionName": "f-1"},
    ),
    "APIs": (
        {
            "GetApis": {
                "Items": [{"ApiId": "abc", "Name": "n", "ProtocolType": "HTTP", "RouteSelectionExpression": "r"}]
            }
        },
        {"AWS::ApiGatewayV2::Api": {"abc"}},
        "DeleteApi",
        {"ApiId": "abc"},
    ),
    "user pools": (
        {
            "ListUserPools": {"UserPools": [{"Id": "pool_1", "Name": "p"}]},
            "DescribeUserPool": {"UserPool": {"DeletionProtection": "ACTIVE"}},
            "UpdateUserPool": {},
        },
        {"AWS::Cognito::UserPool": {"pool_1"}},
        "DeleteUserPool",
        {"UserPoolId": "pool_1"},
    ),
    "vector buckets": (
        {
            "ListVectorBuckets": {
                "vectorBuckets": [{"vectorBucketName": "v", "vectorBucketArn": "arn:aws:s3vectors:v"}]
            },
            "ListIndexes": {"indexes": [{"indexArn": "arn:aws:s3vectors:v/i"}]},
            "DeleteIndex": {},
        },
        {"AWS::S3Vectors::VectorBucket": {"arn:aws:s3vectors:v"}},
        "DeleteVectorBucket",
        {"vectorBucketArn": "arn:aws:s3vectors:v"},
    ),
    "collections": (
        {"ListCollections": {"collectionSummaries": [{"id": "coll-1", "name": "parley-dev", "arn": "arn"}]}},
        {"AWS::OpenSearchServerless::Collection": {"coll-1"}},
        "DeleteCollection",
        {"id": "coll-1"},
    ),
    "collection groups": (
        {"ListCollectionGroups": {"collectionGroupSummaries": [{"id": "group-1", "name": "parley-dev", "arn": "arn"}]}},
        {"AWS::OpenSearchServerless::CollectionGroup": {"group-1"}},
        "DeleteCollectionGroup",
        {"id": "group-1"},
    ),
    "network interfaces": (
        {"DescribeNetworkInterfaces": {"NetworkInterfaces": [NETWORK]}},
        {"AWS::EC2::SecurityGroup": {"sg-1"}},
        "DeleteNetworkInterface",
        {"NetworkInterfaceId": "eni-1"},
    ),
    "log groups": (
        {"DescribeLogGroups": {"logGroups": [{"logGroupName": "/aws/lambda/Parley-dev-Data-CustomS3-1"}]}},
        {},
        "DeleteLogGroup",
        {"logGroupName": "/aws/lambda/Parley-dev-Data-CustomS3-1"},
    ),
    "queues": (
        {"ListQueues": {"QueueUrls": ["https://sqs/1/Parley-dev-Knowledge-Queue-1"]}},
        {QUEUE: {"https://sqs/1/Parley-dev-Knowledge-Queue-1"}},
        "DeleteQueue",
        {"QueueUrl": "https://sqs/1/Parley-dev-Knowledge-Queue-1"},
    ),
}


@pytest.mark.parametrize("what", LISTED)
def test_each_kind_is_found_by_its_id_and_removed(what: str, aws: Account) -> None:
    answers, ids, operation, parameters = LISTED[what]
    aws.answers |= {**answers, operation: {}}
    [kind] = [kind for kind in kinds.KINDS if kind.what == what]
    here = place(region=REGION)

    assert not Search({}, {"Parley-other-Data"}).find(kind, here, REGION)
    search = Search(ids, {"Parley-dev-Data"})
    assert list(search.find(kind, here, REGION).values()) == [True]

    only = Search({**ids}, {"Parley-dev-Data"})
    assert teardown.remove_rest(here, only, [REGION], lambda _: None) == []
    assert aws.requests(operation) == [parameters]


def test_what_is_refused_is_told(aws: Account) -> None:
    answers, ids, operation, _ = LISTED["network interfaces"]
    aws.answers |= {**answers, operation: refusal("InvalidParameterValue", operation, "It is in use.")}

    refused = teardown.remove_rest(place(region=REGION), Search(ids, set()), [REGION], lambda _: None)

    assert refused == ["eni-1: It is in use."]


def test_a_role_that_was_left_goes_with_its_policies(aws: Account) -> None:
    iam = place(region=REGION).client("iam")
    aws.answers |= {
        "ListAttachedRolePolicies": {"AttachedPolicies": [{"PolicyArn": "arn:aws:iam::aws:policy/x-x-x-x-x-x-x"}]},
        "DetachRolePolicy": {},
        "ListRolePolicies": {"PolicyNames": ["inline"]},
        "DeleteRolePolicy": {},
        "DeleteRole": {},
    }
    role = Resource("Parley-Account", REGION, "Role", "AWS::IAM::Role", "role-1")

    teardown.remove_roles(place(region=REGION), [role])

    assert [name for name, _ in aws.asked][-1] == "DeleteRole"
    aws.answers["ListAttachedRolePolicies"] = iam.exceptions.NoSuchEntityException({"Error": {"Code": "x"}}, "x")
    teardown.remove_roles(place(region=REGION), [role])


@pytest.mark.parametrize(
    ("name", "is_its"),
    [
        ("Parley-dev-Data-Table-1", True),
        ("parley-dev-data-bucket-1", True),
        ("/aws/lambda/Parley-dev-Data-Function", True),
        ("/aws/cloudformation/Parley-dev-Data/Logs", True),
        ("Parley-dev-DataLake-1", False),
        ("Parley-dev-2-Data-1", False),
        ("my-Parley-dev-Data-1", False),
    ],
)
def test_names_tell_whose_a_thing_is(name: str, is_its: bool) -> None:
    assert deployed.is_named_after(name, {"Parley-dev-Data"}) is is_its


def test_a_bucket_that_keeps_an_object_says_so(aws: Account) -> None:
    here = place(region=REGION)
    make_bucket(here, "held", objects=1)
    aws.answers["DeleteObjects"] = {"Errors": [{"Key": "0", "Message": "It is locked."}]}

    with pytest.raises(Exception, match="It is locked"):
        kinds.empty_bucket(here, REGION, "held")
    assert kinds.empty_bucket(here, REGION, "no-such-bucket") == 0


def test_a_stack_whose_deletion_takes_too_long_is_told(
    cloudformation: CloudFormation, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudformation.add("Parley-dev-Data")
    [identifier] = cloudformation.stacks
    cloudformation.stacks[identifier]["StackStatus"] = "UPDATE_IN_PROGRESS"
    monkeypatch.setattr("operations.teardown.time.monotonic", iter(range(0, 100_000, 1_800)).__next__)

    failures = teardown.remove_stacks(
        place(region=REGION), [Stack("Parley-dev-Data", identifier, REGION, "UPDATE_IN_PROGRESS")], lambda _: None
    )

    assert failures == ["Parley-dev-Data: it was not removed within 60 minutes"]


def test_kinds_have_patterns_of_their_own() -> None:
    arns = {
        "functions": f"arn:aws:lambda:{REGION}:1:function:f",
        "APIs": f"arn:aws:apigateway:{REGION}::/apis/abc",
        "queues": f"arn:aws:sqs:{REGION}:1:q",
        "user pools": f"arn:aws:cognito-idp:{REGION}:1:userpool/p",
        "tables": f"arn:aws:dynamodb:{REGION}:1:table/t",
        "buckets": "arn:aws:s3:::b",
        "vector buckets": f"arn:aws:s3vectors:{REGION}:1:bucket/v",
        "collections": f"arn:aws:aoss:{REGION}:1:collection/c",
        "collection groups": f"arn:aws:aoss:{REGION}:1:collection-group/g",
        "network interfaces": f"arn:aws:ec2:{REGION}:1:network-interface/eni-1",
        "log groups": f"arn:aws:logs:{REGION}:1:log-group:/aws/lambda/f",
    }

    def matching(arn: str) -> list[str]:
        return [kind.what for kind in kinds.KINDS if re.search(kind.arn, arn)]

    assert {what: matching(arn) for what, arn in arns.items()} == {what: [what] for what in arns}
