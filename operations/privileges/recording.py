"""A recording of the sandbox, told in the names of the templates."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from operations.environment import OperationError
from operations.privileges.policies import Call
from sandbox.calls import access_key
from sandbox.calls.needs import CALLBACK
from sandbox.state import STACK_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient


_ID = re.compile(r"\b[0-9a-f][0-9a-f-]{14,}[0-9a-f]\b|\d{8}T\d{9}Z")
"""Ids, and the times in the names of archived sound."""


@dataclass(frozen=True)
class Recorded:
    """One call of a deployed function, in the deployment's own names."""

    key: str
    call: Call


def read_recording(file: Path) -> list[Recorded]:
    """The calls in a file that the sandbox has written. Raises OperationError when there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise OperationError(f"There is no recording {file}: {error.strerror}.") from error
    found = {}
    for line in lines:
        if line not in found:
            said = json.loads(line)
            context = tuple(sorted(said["context"].items()))
            found[line] = Recorded(said["key"], Call(said["action"], said["resource"], context))
    return list(found.values())


@dataclass(frozen=True)
class Deployment:
    """What the deployed resources are called: their names in the templates by their own."""

    names: Mapping[str, str]

    def calls(
        self, recording: Iterable[Recorded], *, environment: str, callback: str, region: str
    ) -> dict[str, set[Call]]:
        """Each function's calls, as they would be in an environment whose `Templates` have this callback and region.

        What differs from one run to the next, ids above all, is the same in all of them. Calls of functions that are
        not the deployment's raise OperationError.
        """
        functions = {access_key(own): name for own, name in self.names.items()}
        found: dict[str, set[Call]] = {}
        for recorded in recording:
            if recorded.key not in functions:
                raise OperationError(f"{recorded.call} was made with credentials that no deployed function has.")

            def translated(text: str) -> str:
                text = re.sub(r"[^:/]+", lambda part: self.names.get(part[0], part[0]), text)
                text = text.replace(CALLBACK, callback).replace(f"{STACK_PREFIX}_", f"Parley-{environment}_")
                return _ID.sub("ID", text.replace(":us-east-1:", f":{region}:"))

            call = recorded.call
            context = tuple((key, translated(value)) for key, value in call.context)
            found.setdefault(functions[recorded.key], set()).add(Call(call.action, translated(call.resource), context))
        return found


def read_deployment(cloudformation: "CloudFormationClient") -> Deployment:
    """The names of everything that the sandbox has deployed."""
    names: dict[str, str] = {}
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            if not stack["StackName"].startswith(f"{STACK_PREFIX}-"):
                continue
            part = stack["StackName"].removeprefix(f"{STACK_PREFIX}-")
            for resources in cloudformation.get_paginator("list_stack_resources").paginate(
                StackName=stack["StackName"]
            ):
                for resource in resources["StackResourceSummaries"]:
                    # A queue's id is its address, a topic's its ARN; neither is a name.
                    own = re.split(r"[:/]", resource.get("PhysicalResourceId", ""))[-1]
                    names[own] = f"{part}.{resource['LogicalResourceId']}"
    return Deployment(names)
