"""Findings of cdk-nag that this library answers with a reason rather than a change."""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(resource: IConstruct, reasons: Mapping[str, str]) -> None:
    """Acknowledge findings (by id, with the reason) on the resource itself, not on what stands below it."""
    target = resource.node.default_child or resource
    for finding, reason in reasons.items():
        Validations.of(target).acknowledge(Acknowledgment(id=finding, reason=reason))
