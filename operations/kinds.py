"""The kinds of resources that cost money or hold data when they are left behind, and how each is found and removed."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from operations.deployed import is_named_after
from operations.environment import OperationError, Place

_BATCH = 1_000
"""Objects that one request to S3 deletes, at most."""

_MISSING = re.compile(r"NotFound|NoSuch|NonExistent|DoesNotExist")


Names = tuple[str, ...]
"""The id of a resource, and the other names by which it may be known."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource."""

    what: str
    """Its name in the plural, for people."""
    types: tuple[str, ...]
    """The types, in CloudFormation, whose physical ids are among its names; the first is its own."""
    arn: str
    """A pattern of its ARNs; what it captures is the id."""
    listed: Callable[[Place, str], Iterator[Names]]
    """Everything of this kind in a region, whosever it is."""
    remove: Callable[[Place, str, str], None]
    """Remove one, with all that is in it. Called with a region and an id."""
    by_name: bool = False
    """Whether AWS makes these itself, and names them after what they are for."""


@dataclass(frozen=True, slots=True)
class Search:
    """What belongs to an environment, by what is known of it."""

    ids: Mapping[str, Set[str]]
    """Physical ids by type that its stacks have, or had, or that its tags are on."""
    stacks: Set[str]
    """The names of its stacks, from which names of resources are made."""
    whole_account: bool = False
    """Whether everything there belongs to it, as in the sandbox."""

    def find(self, kind: Kind, place: Place, region: str) -> dict[str, bool]:
        """The ids of those of a kind that are there, and of each whether it may be removed.

        What is known by its name alone may be somebody else's, unless AWS makes such things itself.
        """
        known = {identifier for type_ in kind.types for identifier in self.ids.get(type_, ())}
        found: dict[str, bool] = {}
        for names in kind.listed(place, region):
            if self.whole_account or known.intersection(names):
                found[names[0]] = True
            elif any(is_named_after(name, self.stacks) for name in names):
                found[names[0]] = kind.by_name
        return found


def is_unknown_service(error: ClientError | BotoCoreError) -> bool:
    """Whether what answered is an emulator that has no such service."""
    if not isinstance(error, ClientError):
        return False
    code = str(error.response.get("Error", {}).get("Code", ""))
    return not code or code == "400" or code in {"UnsupportedOperation", "UnknownOperationException", "InvalidAction"}


def is_missing(error: ClientError) -> bool:
    """Whether the error says that the thing is not there."""
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    return bool(_MISSING.search(code)) or code == "404" or "does not exist" in message


def empty_bucket(place: Place, region: str, bucket: str) -> int:
    """Delete every version of every object; returns how many. A bucket that is not there has none."""
    s3 = place.client("s3", region)
    removed = 0
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            # A version's id is "null" where the bucket had no versioning.
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
            for start in range(0, len(objects), _BATCH):
                batch = objects[start : start + _BATCH]
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                if errors := answer.get("Errors"):
                    raise OperationError(
                        f"{len(errors)} objects of the bucket {bucket} were not deleted: {errors[0].get('Message', '')}"
                    )
                removed += len(batch)
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except ClientError as error:
        if not is_missing(error):
            raise
    return removed


def empty_vector_bucket(place: Place, region: str, bucket: str) -> None:
    """Delete every index of an S3 vector bucket, given by its name or ARN."""
    s3vectors = place.client("s3vectors", region)
    which = {"vectorBucketArn": bucket} if bucket.startswith("arn:") else {"vectorBucketName": bucket}
    for page in s3vectors.get_paginator("list_indexes").paginate(**which):
        for index in page["indexes"]:
            s3vectors.delete_index(indexArn=index["indexArn"])


def unprotect_table(place: Place, region: str, table: str) -> None:
    """Let a table be deleted."""
    dynamodb = place.client("dynamodb", region)
    if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.get_waiter("table_exists").wait(TableName=table)


def _tables(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("dynamodb", region).get_paginator("list_tables").paginate():
        yield from ((name,) for name in page["TableNames"])


def _remove_table(place: Place, region: str, table: str) -> None:
    unprotect_table(place, region, table)
    dynamodb = place.client("dynamodb", region)
    dynamodb.delete_table(TableName=table)
    dynamodb.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig={"Delay": 2, "MaxAttempts": 150})


def _buckets(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("s3", region).get_paginator("list_buckets").paginate(BucketRegion=region):
        for bucket in page["Buckets"]:
            if bucket.get("BucketRegion", region) == region:
                yield (bucket["Name"],)


def _remove_bucket(place: Place, region: str, bucket: str) -> None:
    empty_bucket(place, region, bucket)
    place.client("s3", region).delete_bucket(Bucket=bucket)


def _vector_buckets(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("s3vectors", region).get_paginator("list_vector_buckets").paginate():
        for bucket in page["vectorBuckets"]:
            yield bucket["vectorBucketArn"], bucket["vectorBucketName"]


def _remove_vector_bucket(place: Place, region: str, bucket: str) -> None:
    empty_vector_bucket(place, region, bucket)
    place.client("s3vectors", region).delete_vector_bucket(vectorBucketArn=bucket)


def _collections(place: Place, region: str) -> Iterator[Names]:
    for page in _pages(place.client("opensearchserverless", region).list_collections, "nextToken"):
        for collection in page["collectionSummaries"]:
            yield collection["id"], collection["name"]


def _remove_collection(place: Place, region: str, collection: str) -> None:
    place.client("opensearchserverless", region).delete_collection(id=collection)


def _collection_groups(place: Place, region: str) -> Iterator[Names]:
    for page in _pages(place.client("opensearchserverless", region).list_collection_groups, "nextToken"):
        for group in page["collectionGroupSummaries"]:
            yield group["id"], group["name"]


def _remove_collection_group(place: Place, region: str, group: str) -> None:
    place.client("opensearchserverless", region).delete_collection_group(id=group)


def _functions(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("lambda", region).get_paginator("list_functions").paginate():
        yield from ((function["FunctionName"],) for function in page["Functions"])


def _remove_function(place: Place, region: str, function: str) -> None:
    place.client("lambda", region).delete_function(FunctionName=function)


def _log_groups(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("logs", region).get_paginator("describe_log_groups").paginate():
        yield from ((group["logGroupName"],) for group in page["logGroups"])


def _remove_log_group(place: Place, region: str, group: str) -> None:
    place.client("logs", region).delete_log_group(logGroupName=group)


def _queues(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("sqs", region).get_paginator("list_queues").paginate():
        yield from ((url, url.rpartition("/")[2]) for url in page.get("QueueUrls", []))


def _remove_queue(place: Place, region: str, url: str) -> None:
    place.client("sqs", region).delete_queue(QueueUrl=url)


def _user_pools(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("cognito-idp", region).get_paginator("list_user_pools").paginate(MaxResults=60):
        yield from ((pool["Id"], pool["Name"]) for pool in page["UserPools"])


def _remove_user_pool(place: Place, region: str, pool: str) -> None:
    cognito = place.client("cognito-idp", region)
    if cognito.describe_user_pool(UserPoolId=pool)["UserPool"].get("DeletionProtection") == "ACTIVE":
        # It resets the pool's other settings, which go with it in the next line.
        cognito.update_user_pool(UserPoolId=pool, DeletionProtection="INACTIVE")
    cognito.delete_user_pool(UserPoolId=pool)


def _apis(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("apigatewayv2", region).get_paginator("get_apis").paginate():
        yield from ((api["ApiId"],) for api in page["Items"])


def _remove_api(place: Place, region: str, api: str) -> None:
    place.client("apigatewayv2", region).delete_api(ApiId=api)


def _network_interfaces(place: Place, region: str) -> Iterator[Names]:
    for page in place.client("ec2", region).get_paginator("describe_network_interfaces").paginate():
        for interface in page["NetworkInterfaces"]:
            groups = [group["GroupId"] for group in interface.get("Groups", [])]
            # "AWS Lambda VPC ENI-<function>-<uuid>"
            function = interface.get("Description", "").removeprefix("AWS Lambda VPC ENI-")
            yield interface["NetworkInterfaceId"], interface.get("VpcId", ""), function, *groups


def _remove_network_interface(place: Place, region: str, interface: str) -> None:
    # One in use is refused: its service gives it up by itself, Lambda within 40 minutes.
    place.client("ec2", region).delete_network_interface(NetworkInterfaceId=interface)


KINDS = (
    Kind("functions", ("AWS::Lambda::Function",), r":function:([^:]+)$", _functions, _remove_function),
    Kind("APIs", ("AWS::ApiGatewayV2::Api",), r":/apis/([^/]+)$", _apis, _remove_api),
    Kind("queues", ("AWS::SQS::Queue",), r"^arn:[\w-]+:sqs:.*:([^:]+)$", _queues, _remove_queue),
    Kind("user pools", ("AWS::Cognito::UserPool",), r":userpool/(.+)$", _user_pools, _remove_user_pool),
    Kind("tables", ("AWS::DynamoDB::Table",), r":table/([^/]+)$", _tables, _remove_table),
    Kind("buckets", ("AWS::S3::Bucket",), r"^arn:[\w-]+:s3:::([^/]+)$", _buckets, _remove_bucket),
    Kind(
        "vector buckets",
        ("AWS::S3Vectors::VectorBucket",),
        r"^(arn:[\w-]+:s3vectors:.*:bucket/[^/]+)$",
        _vector_buckets,
        _remove_vector_bucket,
    ),
    Kind(
        "collections",
        ("AWS::OpenSearchServerless::Collection",),
        r":collection/([^/]+)$",
        _collections,
        _remove_collection,
    ),
    Kind(
        "collection groups",
        ("AWS::OpenSearchServerless::CollectionGroup",),
        r":collection-group/([^/]+)$",
        _collection_groups,
        _remove_collection_group,
    ),
    Kind(
        "network interfaces",
        ("AWS::EC2::NetworkInterface", "AWS::EC2::VPC", "AWS::EC2::SecurityGroup", "AWS::Lambda::Function"),
        r":network-interface/(.+)$",
        _network_interfaces,
        _remove_network_interface,
        by_name=True,
    ),
    # The last, because what goes before writes logs until it is gone.
    Kind("log groups", ("AWS::Logs::LogGroup",), r":log-group:([^:]+)", _log_groups, _remove_log_group, by_name=True),
)
"""All but keys, which nobody can delete at once, in the order in which they are removed."""


def _pages(operation: Callable[..., Any], token: str) -> Iterable[Any]:
    """The pages of an operation for which botocore has no paginator."""
    page = operation()
    yield page
    while page.get(token):
        page = operation(**{token: page[token]})
        yield page
