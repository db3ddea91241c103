"""What CloudFormation says of an environment: its stacks, alive and deleted, and what they hold or have held."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from operations.environment import Place

EDGE_REGION = "us-east-1"
"""Where CloudFront finds web ACLs and certificates."""

REMOVAL_ORDER = ("Monitoring", "Web", "Edge", "Assistant", "Knowledge", "Data", "Network")
"""The parts of an environment, those first that others do not need. Parts that are not named here go before them."""

# The tags that stacks/environment_stack.py gives; importing it would start the CDK.
_APPLICATION = "parley"
_DELETED = "DELETE_COMPLETE"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource that a stack has or had."""

    stack: str
    region: str
    logical_id: str
    type: str
    physical_id: str
    retained: bool = False
    """Whether the stack's template leaves it behind."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack."""

    name: str
    id: str
    region: str
    status: str
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    is_protected: bool = False
    """Against being deleted."""
    changed_at: str = ""
    """When it was last created or updated, in ISO 8601."""

    @property
    def part(self) -> str:
        """What it is in its environment: `Data`, `Assistant`, ..."""
        return self.name.rpartition("-")[2]

    @property
    def is_settled(self) -> bool:
        """Whether its last operation ended well."""
        return self.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}


def stacks(place: Place) -> list[Stack]:
    """The environment's stacks that are there, in its region and in us-east-1, in the order in which to remove them."""
    return sorted(
        (stack for region in regions(place) for stack in _living(place, region)),
        key=lambda stack: REMOVAL_ORDER.index(stack.part) if stack.part in REMOVAL_ORDER else -1,
    )


def regions(place: Place) -> list[str]:
    """Where an environment may have stacks."""
    return [place.region] if place.is_sandbox else list(dict.fromkeys((place.region, EDGE_REGION)))


def stack_named(place: Place, name: str, region: str | None = None) -> Stack | None:
    """The stack of this name or id, if there is one; one that is deleted is found by its id."""
    region = region or place.region
    try:
        [found] = place.client("cloudformation", region).describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return _stack(found, region)


def history(place: Place) -> list[Resource]:
    """Everything that the environment's stacks hold, and what those held that were deleted in the last 90 days.

    CloudFormation remembers deleted stacks for that long. What it has deleted itself is left out.
    """
    found: dict[tuple[str, str], Resource] = {}
    for region in regions(place):
        for name, stack_id in _ever(place, region):
            for resource in resources(place, name, stack_id, region):
                found.setdefault((resource.type, resource.physical_id), resource)
    return list(found.values())


def resources(place: Place, name: str, stack_id: str, region: str) -> list[Resource]:
    """What a stack holds, or left behind when it was deleted."""
    cloudformation = place.client("cloudformation", region)
    retained = {
        logical_id
        for logical_id, body in template(place, stack_id, region).get("Resources", {}).items()
        if str(body.get("DeletionPolicy", "")).startswith("Retain")
    }
    return [
        Resource(
            stack=name,
            region=region,
            logical_id=item["LogicalResourceId"],
            type=item["ResourceType"],
            physical_id=item["PhysicalResourceId"],
            retained=item["LogicalResourceId"] in retained,
        )
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack_id)
        for item in page["StackResourceSummaries"]
        if item.get("PhysicalResourceId") and item["ResourceStatus"] != _DELETED
    ]


def template(place: Place, stack: str, region: str | None = None) -> dict[str, Any]:
    """The template that a stack was deployed with; empty when CloudFormation has none, or one in YAML.

    The CDK writes JSON, which botocore decodes; only its own bootstrap stack is in YAML.
    """
    try:
        body: Any = place.client("cloudformation", region).get_template(StackName=stack)["TemplateBody"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return {}
        raise
    return dict(body) if isinstance(body, Mapping) else {}


def orphans(deployed: Iterable[Stack], synthesized: Iterable[str]) -> list[Stack]:
    """The stacks that are deployed and that the app no longer has: a flag that was turned off has left them behind."""
    wanted = set(synthesized)
    return [stack for stack in deployed if stack.name not in wanted]


def troubles(place: Place, stack: Stack, *, limit: int = 3) -> list[str]:
    """Why the last operation of a stack failed: its first failures, oldest first."""
    pages = place.client("cloudformation", stack.region).get_paginator("describe_stack_events")
    said: list[str] = []
    for page in pages.paginate(StackName=stack.id):
        for event in page["StackEvents"]:
            status, reason = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
            if status.endswith("_IN_PROGRESS") and event["LogicalResourceId"] == stack.name and reason:
                # The events before this one belong to earlier operations.
                return _first(said, limit)
            if status.endswith("_FAILED") and "cancelled" not in reason.lower():
                said.append(f"{event['LogicalResourceId']} ({event.get('ResourceType', '')}): {reason}")
    return _first(said, limit)


def is_named_after(name: str, stack_names: Iterable[str]) -> bool:
    """Whether CloudFormation, or a service on its behalf, gave this name to something in one of the stacks."""
    return any(re.search(rf"(^|/){re.escape(stack)}([-/]|$)", name, re.IGNORECASE) is not None for stack in stack_names)


def _first(said: Sequence[str], limit: int) -> list[str]:
    return list(reversed(said))[:limit]


def _living(place: Place, region: str) -> list[Stack]:
    pages = place.client("cloudformation", region).get_paginator("describe_stacks").paginate()
    found = (_stack(item, region) for page in pages for item in page["Stacks"])
    wanted = {"application": _APPLICATION, "environment": place.name}
    return [
        stack
        for stack in found
        if _is_of(stack.name, place.name) and wanted.items() <= stack.tags.items() and stack.status != _DELETED
    ]


def _ever(place: Place, region: str) -> list[tuple[str, str]]:
    """The name and id of every stack that the environment has or had."""
    pages = place.client("cloudformation", region).get_paginator("list_stacks").paginate()
    return [
        (item["StackName"], item["StackId"])
        for page in pages
        for item in page["StackSummaries"]
        if _is_of(item["StackName"], place.name)
    ]


def _is_of(stack: str, environment: str) -> bool:
    """By the name: `Parley-dev-2-Data` is none of dev's."""
    return re.fullmatch(rf"Parley-{re.escape(environment)}-[A-Z][A-Za-z]*", stack) is not None


def _stack(item: Mapping[str, Any], region: str) -> Stack:
    return Stack(
        name=item["StackName"],
        id=item["StackId"],
        region=region,
        status=item["StackStatus"],
        reason=item.get("StackStatusReason", ""),
        tags={tag["Key"]: tag["Value"] for tag in item.get("Tags", [])},
        outputs={output["OutputKey"]: output["OutputValue"] for output in item.get("Outputs", [])},
        is_protected=bool(item.get("EnableTerminationProtection")),
        changed_at=(item.get("LastUpdatedTime") or item["CreationTime"]).isoformat(timespec="seconds"),
    )
