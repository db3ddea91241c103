"""Takes an environment away: its stacks, and then what they leave behind. Every step can be taken again."""

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from operations.deployed import Resource, Stack, history, regions, stack_named, troubles
from operations.environment import Place
from operations.kinds import (
    KINDS,
    Search,
    empty_bucket,
    empty_vector_bucket,
    is_missing,
    is_unknown_service,
    unprotect_table,
)

KEY_DAYS = 30
"""How long a key can still be saved (`aws kms cancel-key-deletion`): the longest that KMS allows."""

KEY = "AWS::KMS::Key"

LONGEST_REMOVAL = 3_600.0
"""Seconds that a stack may take: network interfaces of functions and distributions take most of them."""

_ATTEMPTS = 3
# A stack whose first change set was never executed.
_NEVER_BEGUN = "REVIEW_IN_PROGRESS"
_ROLE = "AWS::IAM::Role"

Report = Callable[[str], None]


def belongings(place: Place) -> list[Resource]:
    """What the environment's stacks hold or have left behind, and what else carries its tags."""
    found = {(one.type, one.physical_id): one for one in history(place)}
    for region in regions(place):
        for arn in tagged(place, region):
            for type_, pattern in ((KEY, r":key/([^/]+)$"), *((kind.types[0], kind.arn) for kind in KINDS)):
                match = re.search(pattern, arn)
                # A queue's physical id is its address, which ends with its name.
                if match and not any(one == type_ and known.endswith(match[1]) for one, known in found):
                    # A key that is pending deletion keeps its tags: that it is there says nothing.
                    found[type_, match[1]] = Resource("", region, "", type_, match[1], retained=type_ != KEY)
    return list(found.values())


def tagged(place: Place, region: str) -> list[str]:
    """The ARNs of everything with the environment's tags, of whatever kind."""
    tags = [{"Key": "application", "Values": ["parley"]}, {"Key": "environment", "Values": [place.name]}]
    pages = place.client("resourcegroupstaggingapi", region).get_paginator("get_resources").paginate(TagFilters=tags)
    return [item["ResourceARN"] for page in pages for item in page["ResourceTagMappingList"]]


def search_for(things: Iterable[Resource], names: Iterable[str], *, whole_account: bool = False) -> Search:
    """How to find what is left of these resources, of stacks of these names, or of everything in the account."""
    ids: dict[str, set[str]] = defaultdict(set)
    for thing in things:
        ids[thing.type].add(thing.physical_id)
    return Search(ids=ids, stacks=set(names), whole_account=whole_account)


def remove_stacks(place: Place, wanted: Sequence[Stack], report: Report) -> list[str]:
    """Delete stacks in the order given, as often as one's end lets another go. Returns why any of them is left."""
    left = list(wanted)
    failures: dict[str, list[str]] = {}
    for _ in range(_ATTEMPTS):
        remaining = []
        for stack in left:
            report(f"emptying {stack.name}")
            _prepare(place, stack)
            failures[stack.name] = _delete(place, stack, report)
            if failures[stack.name]:
                remaining.append(stack)
        if not remaining:
            return []
        left = remaining
    return [f"{stack.name}: {reason}" for stack in left for reason in failures[stack.name]]


def remove_rest(place: Place, search: Search, where: Iterable[str], report: Report) -> list[str]:
    """Remove what no stack has any more. Returns why any of it is left."""
    refused: list[str] = []
    for kind in KINDS:
        for region in where:
            try:
                found = search.find(kind, place, region)
            except (BotoCoreError, ClientError) as error:
                if place.is_sandbox and is_unknown_service(error):
                    continue
                raise
            for identifier, may_go in found.items():
                if not may_go:
                    continue
                report(f"{kind.what}: {identifier}")
                try:
                    kind.remove(place, region, identifier)
                except WaiterError as error:
                    refused.append(f"{identifier}: {error}")
                except ClientError as error:
                    if not is_missing(error):
                        refused.append(f"{identifier}: {error.response['Error'].get('Message', error)}")
    return refused


def remove_roles(place: Place, things: Iterable[Resource]) -> None:
    """Remove roles that their stack has left behind: they cost nothing, but an empty account has none."""
    iam = place.client("iam")
    for role in {thing.physical_id for thing in things if thing.type == _ROLE}:
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
                iam.detach_role_policy(RoleName=role, PolicyArn=policy["PolicyArn"])
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                iam.delete_role_policy(RoleName=role, PolicyName=name)
            iam.delete_role(RoleName=role)


def retire_keys(place: Place, things: Iterable[Resource], report: Report) -> None:
    """Schedule the deletion of every key that is not scheduled for it yet, and remove its aliases."""
    for thing in things:
        if thing.type != KEY:
            continue
        kms = place.client("kms", thing.region)
        with contextlib.suppress(kms.exceptions.NotFoundException):
            if kms.describe_key(KeyId=thing.physical_id)["KeyMetadata"]["KeyState"] != "PendingDeletion":
                report(f"keys: {thing.physical_id}")
                for alias in kms.list_aliases(KeyId=thing.physical_id)["Aliases"]:
                    kms.delete_alias(AliasName=alias["AliasName"])
                kms.schedule_key_deletion(KeyId=thing.physical_id, PendingWindowInDays=KEY_DAYS)


def _prepare(place: Place, stack: Stack) -> None:
    """Take away what would keep a stack from being deleted: protections, and what is in its buckets."""
    cloudformation = place.client("cloudformation", stack.region)
    present = stack_named(place, stack.id, stack.region)
    if present is None or present.status == "DELETE_COMPLETE":
        return
    if present.is_protected:
        cloudformation.update_termination_protection(EnableTerminationProtection=False, StackName=stack.id)
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack.id):
        for item in page["StackResourceSummaries"]:
            _empty(place, stack.region, item["ResourceType"], item.get("PhysicalResourceId", ""))


def _empty(place: Place, region: str, type_: str, identifier: str) -> None:
    what = {
        "AWS::S3::Bucket": empty_bucket,
        "AWS::S3Vectors::VectorBucket": empty_vector_bucket,
        "AWS::DynamoDB::Table": unprotect_table,
    }.get(type_)
    if what is None or not identifier:
        return
    try:
        what(place, region, identifier)
    except ClientError as error:
        if not is_missing(error):
            raise


def _delete(place: Place, stack: Stack, report: Report) -> list[str]:
    """Delete a stack and wait for it. Returns why it is still there."""
    cloudformation = place.client("cloudformation", stack.region)
    started = time.monotonic()
    pause = 0.3 if place.is_sandbox else 5.0
    asked = False
    while time.monotonic() - started < LONGEST_REMOVAL:
        present = stack_named(place, stack.id, stack.region)
        if present is None or present.status == "DELETE_COMPLETE":
            report(f"{stack.name} removed")
            return []
        if present.status == "DELETE_FAILED" and asked:
            return troubles(place, present) or [present.reason or "it could not be deleted"]
        # What is being created or updated must come to its end first; what is being deleted already, too.
        if not asked and (not present.status.endswith("_IN_PROGRESS") or present.status == _NEVER_BEGUN):
            try:
                cloudformation.delete_stack(StackName=stack.id)
            except ClientError as error:
                return [error.response["Error"].get("Message", str(error))]
            asked = True
        report(f"{stack.name} {present.status}")
        time.sleep(pause)
    return [f"it was not removed within {LONGEST_REMOVAL / 60:.0f} minutes"]
