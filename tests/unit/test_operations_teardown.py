"""Each kind of thing is found by its id or its name and removed, and what is refused is told."""

import re
from typing import Any

import pytest

from operations import deployed, kinds, teardown
from operations.deployed import Resource, Stack
from operations.kinds import Search
from tests.unit.aws_double import Account, place, refusal
from tests.unit.cloudformation_double import REGION, CloudFormation, aws, cloudformation, make_bucket

__all__ = ["aws", "cloudformation"]

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
        {"AWS::SQS::Queue": {"https://sqs/1/Parley-dev-Knowledge-Queue-1"}},
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
