"""Acknowledging the wildcard at the end of an ARN whose rest is known only when CDK has linked the stacks."""

import json

import jsii
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import IConstruct, IValidation

from parley_constructs.findings import acknowledge


def acknowledge_wildcard(grantee: iam.IGrantable, resource_arn: str, reason: str) -> None:
    """Acknowledge `AwsSolutions-IAM5[Resource::<resource_arn>]` on the policy that holds `grantee`'s grants.

    How the ARN of another stack's resource reads in a finding is known only when CDK has linked the stacks; so the
    acknowledgment is made then: validation runs after that, and before cdk-nag looks.
    """
    principal = grantee.grant_principal
    policy = principal.node.try_find_child("DefaultPolicy") if isinstance(principal, iam.Role) else None
    if policy is not None:
        policy.node.add_validation(_LateAcknowledgment(policy, resource_arn, reason))


@jsii.implements(IValidation)
class _LateAcknowledgment:
    def __init__(self, policy: IConstruct, resource_arn: str, reason: str) -> None:
        self._policy = policy
        self._resource_arn = resource_arn
        self._reason = reason

    def validate(self) -> list[str]:
        """Acknowledge, and find nothing wrong."""
        arn = _as_nag_writes(Stack.of(self._policy).resolve(self._resource_arn))
        acknowledge(self._policy, {f"AwsSolutions-IAM5[Resource::{arn}]": self._reason})
        return []


def _as_nag_writes(value: object) -> str:
    """An ARN the way cdk-nag names it in a finding (its `flattenCfnReference`)."""
    match value:
        case str():
            return value.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [str(delimiter), list(items)]}:
            return delimiter.join(_as_nag_writes(item) for item in items)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{_as_nag_writes(resource)}.{_as_nag_writes(attribute)}>"
        case {"Fn::ImportValue": name}:
            return _as_nag_writes(name)
        case {"Fn::Sub": text}:
            return _as_nag_writes(text)
        case {"Ref": name}:
            return f"<{_as_nag_writes(name)}>"
        case _:
            # What cdk-nag has no short form for, such as `Fn::GetStackOutput`, it writes as JSON.
            return json.dumps(value, separators=(",", ":"))
