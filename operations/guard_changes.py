"""What a change of templates does to resources, and above all to those that hold what cannot be made again."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from operations.assembly import Assembly

STATEFUL = frozenset(
    {
        "AWS::Cognito::UserPool",
        "AWS::DynamoDB::GlobalTable",
        "AWS::DynamoDB::Table",
        "AWS::KMS::Key",
        "AWS::KMS::ReplicaKey",
        "AWS::OpenSearchServerless::Collection",
        "AWS::OpenSearchServerless::CollectionGroup",
        "AWS::OpenSearchServerless::Index",
        "AWS::S3::Bucket",
        "AWS::S3Vectors::Index",
        "AWS::S3Vectors::VectorBucket",
    }
)
"""Types whose resources hold data, or open it. A replaced one begins empty."""

# The region decides nothing: a schema says the same of a property everywhere.
_SCHEMAS_OF = "us-east-1"
_REFERENCES = ("Ref", "Fn::GetAtt", "Fn::GetStackOutput", "Fn::ImportValue", "Fn::Sub")


class Kind(StrEnum):
    """What becomes of a resource."""

    ADDED = "added"
    CHANGED = "changed"
    REPLACED = "replaced"
    DELETED = "deleted"
    ORPHANED = "orphaned"
    """Its stack is no longer deployed; it stays, until somebody deletes the stack."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one resource."""

    kind: Kind
    stack: str
    logical_id: str
    type: str
    properties: tuple[str, ...] = ()
    """Those that change; of a replacement, those that force it."""
    is_kept: bool = False
    """Whether what is deleted or replaced stays in the account, out of the stack's hands."""

    @property
    def name(self) -> str:
        """`stack/logical id`: what a reviewer accepts."""
        return f"{self.stack}/{self.logical_id}"

    @property
    def loses_data(self) -> bool:
        """Whether a resource that holds data goes, or is made anew."""
        return self.type in STATEFUL and self.kind in (Kind.REPLACED, Kind.DELETED, Kind.ORPHANED)

    @property
    def sentence(self) -> str:
        """What happens, in words."""
        because = f" because of {', '.join(self.properties)}" if self.properties else ""
        if self.kind is Kind.ORPHANED:
            return f"{self.type} {self.name} is left behind: its stack is no longer deployed"
        which = "the old one" if self.kind is Kind.REPLACED else "it"
        kept = f"; {which} stays in the account, and nothing uses it" if self.is_kept else ""
        return f"{self.type} {self.name} would be {self.kind.value}{because}{kept}"


def changes(before: Assembly, after: Assembly) -> list[Change]:
    """Everything that differs, by stack and logical id. `before` may lack stacks: theirs is all new."""
    found: dict[str, Change] = {}
    for stack in sorted({*before.stacks, *after.stacks}):
        old, new = _resources(before, stack), _resources(after, stack)
        for logical_id in sorted({*old, *new}):
            change = _change(stack, logical_id, old.get(logical_id), new.get(logical_id), stack in after.stacks)
            if change is not None:
                found[change.name] = change
    _follow_replacements(found, before, after)
    return list(found.values())


def _resources(assembly: Assembly, stack: str) -> Mapping[str, Mapping[str, Any]]:
    resources = assembly.stacks.get(stack, {}).get("Resources", {})
    return {key: body for key, body in resources.items() if body["Type"] != "AWS::CDK::Metadata"}


def _change(
    stack: str, logical_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, is_deployed: bool
) -> Change | None:
    if old is None:
        return None if new is None else Change(Kind.ADDED, stack, logical_id, new["Type"])
    if new is None:
        kind = Kind.DELETED if is_deployed else Kind.ORPHANED
        return Change(kind, stack, logical_id, old["Type"], is_kept=_keeps(old, "DeletionPolicy"))
    if old["Type"] != new["Type"]:
        # CloudFormation refuses to change a type; whatever replaces it, the old one goes.
        return Change(Kind.REPLACED, stack, logical_id, old["Type"], ("Type",), _keeps(old, "DeletionPolicy"))
    before, after = old.get("Properties", {}), new.get("Properties", {})
    forcing = tuple(name for name in _replacing(old["Type"]) if not _same(_at(before, name), _at(after, name)))
    if forcing:
        kept = _keeps(new, "UpdateReplacePolicy")
        return Change(Kind.REPLACED, stack, logical_id, old["Type"], forcing, is_kept=kept)
    if _without_metadata(old) == _without_metadata(new):
        return None
    differing = tuple(key for key in sorted({*before, *after}) if before.get(key) != after.get(key))
    return Change(Kind.CHANGED, stack, logical_id, old["Type"], differing)


def _keeps(body: Mapping[str, Any], policy: str) -> bool:
    # A default that a template need not write: what is deleted is gone, but for a snapshot where there is one.
    return str(body.get(policy, "Delete")).startswith("Retain")


def _without_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "Metadata"}


def _same(old: Any, new: Any) -> bool:
    """Whether two values are one to CloudFormation, which knows numbers and truth also as text."""
    return bool(json.dumps(_plain(old), sort_keys=True) == json.dumps(_plain(new), sort_keys=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _at(properties: Any, path: str) -> Any:
    """The value at a path such as `Settings.Analysis`; `*` gathers what all members of a list have there."""
    value = properties
    parts = path.split(".")
    for place, part in enumerate(parts):
        if part == "*":
            members = value if isinstance(value, list) else []
            return [_at(member, ".".join(parts[place + 1 :])) for member in members]
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


@cache
def _replacing(resource_type: str) -> tuple[str, ...]:
    """The properties of a type whose change makes CloudFormation replace it, from the schema of its provider.

    What a schema calls conditional counts: whether the condition holds, only CloudFormation knows.
    """
    # cfn-lint brings the schemas along, and takes a second to load.
    from cfnlint.schema import ResourceNotFoundError
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    if resource_type.startswith("Custom::"):
        return ("ServiceToken",)
    try:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(_SCHEMAS_OF, resource_type).schema
    except ResourceNotFoundError:
        return ()
    pointers = [*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])]
    return tuple(pointer.removeprefix("/properties/").replace("/", ".") for pointer in pointers)


def _follow_replacements(found: dict[str, Change], before: Assembly, after: Assembly) -> None:
    """Add what is replaced because it names something that is, from stack to stack until nothing is added."""
    exported = _exports(after)
    while True:
        replaced = {change.name for change in found.values() if change.kind is Kind.REPLACED}
        added = False
        for stack in after.stacks:
            old, new = _resources(before, stack), _resources(after, stack)
            for logical_id in old.keys() & new.keys():
                name = f"{stack}/{logical_id}"
                if name in replaced:
                    continue
                body = new[logical_id]
                forcing = tuple(
                    path
                    for path in _replacing(body["Type"])
                    if replaced & set(_named(_at(body.get("Properties", {}), path), stack, exported))
                )
                if forcing:
                    kept = _keeps(body, "UpdateReplacePolicy")
                    found[name] = Change(Kind.REPLACED, stack, logical_id, body["Type"], forcing, is_kept=kept)
                    added = True
        if not added:
            return


def _exports(assembly: Assembly) -> dict[str, list[str]]:
    """The resources that each output of a stack names, by `stack/output` and by the name it is exported under."""
    named: dict[str, list[str]] = {}
    for stack, template in assembly.stacks.items():
        for key, output in template.get("Outputs", {}).items():
            resources = list(_named(output.get("Value"), stack, {}))
            named[f"{stack}/{key}"] = resources
            if isinstance(export := output.get("Export", {}).get("Name"), str):
                named[export] = resources
    return named


def _named(value: Any, stack: str, exported: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The resources that a value refers to, as `stack/logical id`."""
    if isinstance(value, list):
        for part in value:
            yield from _named(part, stack, exported)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if key in _REFERENCES:
                yield from _referred(key, part, stack, exported)
            else:
                yield from _named(part, stack, exported)


def _referred(function: str, argument: Any, stack: str, exported: Mapping[str, Iterable[str]]) -> Iterator[str]:
    match function, argument:
        case "Ref", str():
            yield f"{stack}/{argument}"
        case "Fn::GetAtt", [str(logical_id), *_]:
            yield f"{stack}/{logical_id}"
        case "Fn::GetAtt", str():
            yield f"{stack}/{argument.partition('.')[0]}"
        case "Fn::GetStackOutput", {"StackName": str(other), "OutputName": str(output)}:
            yield from exported.get(f"{other}/{output}", ())
        case "Fn::ImportValue", str():
            yield from exported.get(argument, ())
        case "Fn::Sub", _:
            text = argument[0] if isinstance(argument, list) else argument
            for part in str(text).split("${")[1:]:
                yield f"{stack}/{part.partition('}')[0].partition('.')[0]}"
