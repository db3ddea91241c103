"""Acknowledging the wildcard at the end of an ARN whose rest is known only when CDK has linked the stacks."""

import json
from collections.abc import Callable

import jsii
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import IValidation

from parley_constructs.findings import acknowledge


def acknowledge_wildcard(grantee: iam.IGrantable, resource_arn: str, reason: str) -> None:
    """Acknowledge `AwsSolutions-IAM5[Resource::<resource_arn>]` on the policy that holds `grantee`'s grants.

    How the ARN of another stack's resource reads in a finding is known only when CDK has linked the stacks; so the
    acknowledgment is made then: validation runs after that, and before cdk-nag looks.
    """
    _acknowledge_late(grantee, reason, lambda policy: [_as_nag_writes(Stack.of(policy).resolve(resource_arn))])


def acknowledge_object_wildcards(grantee: iam.IGrantable, reason: str) -> None:
    """Acknowledge on the policy that holds `grantee`'s grants what says "all objects of this bucket"."""
    _acknowledge_late(grantee, reason, lambda policy: [arn for arn in _resources(policy) if arn.endswith("/*")])


def _acknowledge_late(grantee: iam.IGrantable, reason: str, arns: Callable[[iam.Policy], list[str]]) -> None:
    principal = grantee.grant_principal
    policy = principal.node.try_find_child("DefaultPolicy") if isinstance(principal, iam.Role) else None
    if isinstance(policy, iam.Policy):
        policy.node.add_validation(_LateAcknowledgment(policy, reason, arns))


@jsii.implements(IValidation)
class _LateAcknowledgment:
    def __init__(self, policy: iam.Policy, reason: str, arns: Callable[[iam.Policy], list[str]]) -> None:
        self._policy = policy
        self._reason = reason
        self._arns = arns

    def validate(self) -> list[str]:
        """Acknowledge, and find nothing wrong."""
        findings = {f"AwsSolutions-IAM5[Resource::{arn}]": self._reason for arn in self._arns(self._policy)}
        acknowledge(self._policy, findings)
        return []


def _resources(policy: iam.Policy) -> list[str]:
    document = Stack.of(policy).resolve(policy.document)
    resources = [statement["Resource"] for statement in document["Statement"]]
    return [_as_nag_writes(arn) for each in resources for arn in (each if isinstance(each, list) else [each])]


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
