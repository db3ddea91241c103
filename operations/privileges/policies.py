"""IAM's evaluation of identity policies, for the statement forms that the templates contain and no others.

Effect, Action, Resource and the condition operator StringEquals; anything else raises `UnsupportedForm`, because a form
that is read wrongly would prove nothing. Resource policies, permissions boundaries and organizations' policies are not
looked at: within one account the first can only add, and the templates make none of the others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from operations.environment import OperationError

_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_CONDITION_KEYS = {"bedrock:InferenceProfileArn", "kms:ViaService", "transcribe:OutputBucketName"}
"""Those whose value in a request is known: of any other, a condition could not be judged."""


class UnsupportedForm(OperationError):
    """A policy or a template has a form that is not evaluated here."""


@dataclass(frozen=True)
class Call:
    """One action on one resource, with the condition keys of its request."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Statement:
    """One statement with its values resolved. `conditions` holds for each key the values of which it must have one."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def applies_to(self, call: Call) -> bool:
        """Whether action, resource and conditions all match."""
        return (
            any(action_matches(pattern, call.action) for pattern in self.actions)
            and any(resource_matches(pattern, call.resource) for pattern in self.resources)
            and self.admits(call.context)
        )

    def admits(self, context: Iterable[tuple[str, str]]) -> bool:
        """Whether every condition holds: a key that the request lacks never equals anything."""
        has = dict(context)
        return all(has.get(key) in values for key, values in self.conditions)


def allows(statements: Iterable[Statement], call: Call) -> bool:
    """IAM's decision: an explicit deny wins, then an allow, and what nothing allows is denied.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
    """
    applying = [statement.effect for statement in statements if statement.applies_to(call)]
    return "Allow" in applying and "Deny" not in applying


def read_statements(document: Mapping[str, Any]) -> list[Statement]:
    """The statements of a policy document whose intrinsic functions are resolved. Raises `UnsupportedForm`."""
    return [_statement(statement) for statement in _listed(document["Statement"])]


def action_matches(pattern: str, action: str) -> bool:
    """Whether an Action element covers an action; case does not matter.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
    """
    return bool(_wildcards(pattern.lower()).fullmatch(action.lower()))


def resource_matches(pattern: str, resource: str) -> bool:
    """Whether a Resource element covers an ARN: wildcards stand for text within one of its parts between colons.

    The last part may hold colons itself. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    if pattern == "*":
        return True
    parts, values = pattern.split(":", 5), resource.split(":", 5)
    return len(parts) == len(values) and all(
        _wildcards(part).fullmatch(value) for part, value in zip(parts, values, strict=True)
    )


@cache
def _wildcards(pattern: str) -> re.Pattern[str]:
    special = {"*": ".*", "?": "."}
    return re.compile("".join(special.get(character) or re.escape(character) for character in pattern), re.DOTALL)


def _statement(statement: Mapping[str, Any]) -> Statement:
    if unknown := statement.keys() - _ELEMENTS:
        raise UnsupportedForm(f"A statement has the element {min(unknown)}, which is not evaluated: {statement}.")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise UnsupportedForm(f"A statement's effect is Allow or Deny: {statement}.")
    resources = _strings(statement["Resource"])
    for resource in resources:
        if "${" in resource:
            raise UnsupportedForm(f"Policy variables are not evaluated: {resource}.")
        if resource != "*" and resource.count(":") < 5:
            raise UnsupportedForm(f"A resource is * or an ARN of six parts: {resource}.")
    return Statement(statement["Effect"], _strings(statement["Action"]), resources, _conditions(statement))


def _conditions(statement: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    conditions: list[tuple[str, tuple[str, ...]]] = []
    for operator, keys in statement.get("Condition", {}).items():
        if operator != "StringEquals":
            raise UnsupportedForm(f"The condition operator {operator} is not evaluated: {statement}.")
        for key, values in keys.items():
            if key not in _CONDITION_KEYS:
                raise UnsupportedForm(f"What a request has as {key} is not known: {statement}.")
            if any("${" in value for value in _strings(values)):
                raise UnsupportedForm(f"Policy variables are not evaluated: {values}.")
            conditions.append((key, _strings(values)))
    return tuple(conditions)


def _strings(value: Any) -> tuple[str, ...]:
    values = tuple(_listed(value))
    if not all(isinstance(one, str) for one in values):
        raise UnsupportedForm(f"Expected text, got {value}.")
    return values


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
