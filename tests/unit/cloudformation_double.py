"""An account whose stacks are a double's and whose services are moto's, for what takes environments away."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws

from operations import deployed, destroy
from operations.environment import Place
from tests.unit.aws_double import Account, account

NOW = datetime(2026, 11, 21, tzinfo=UTC)
REGION = "eu-central-1"
TABLE, BUCKET, KEY = "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key"


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


def make_bucket(where: Place, name: str, *, objects: int = 0) -> None:
    s3 = where.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for number in range(objects):
        s3.put_object(Bucket=name, Key=f"{number}", Body=b"x")
        s3.put_object(Bucket=name, Key=f"{number}", Body=b"y")
        s3.delete_object(Bucket=name, Key=f"{number}")
