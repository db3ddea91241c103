"""What a deployment would change, by comparing what was synthesized with what CloudFormation has."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operations import command
from operations.assembly import Assembly
from operations.deployed import template
from operations.environment import Place
from operations.guard_changes import STATEFUL

_HASH = re.compile(r"\b[0-9a-f]{64}\b")
# The CDK's own record of which constructs were used.
_ANALYTICS = "AWS::CDK::Metadata"


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one stack. The lists hold logical ids with their types."""

    stack: str
    is_new: bool
    added: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]
    data_at_stake: Sequence[str]
    """Those of `changed` and `removed` that hold data: a change may replace them."""

    @property
    def is_nothing(self) -> bool:
        """Whether the stack stays as it is."""
        return not (self.is_new or self.added or self.changed or self.removed)

    def document(self) -> dict[str, Any]:
        """The change as JSON."""
        return {
            "stack": self.stack,
            "new": self.is_new,
            "added": list(self.added),
            "changed": list(self.changed),
            "removed": list(self.removed),
            "data_at_stake": list(self.data_at_stake),
        }


def compare(place: Place, assembly: Assembly, *, but_for_code: bool = False) -> list[Change]:
    """The change of every stack, in the order in which the assembly lists them.

    Templates are compared, so that a resource that somebody changed by hand counts as unchanged. `but_for_code` leaves
    the hashes of packages aside, which an assembly without packages does not have.
    """
    read = _without_hashes if but_for_code else dict
    return [
        _change(name, read(template(place, name, assembly.regions[name])), read(wanted))
        for name, wanted in assembly.stacks.items()
    ]


def print_changes(changes: Sequence[Change]) -> None:
    """A row for every stack, and by name what holds data and is not left as it is."""
    rows = [
        (
            change.stack,
            "new" if change.is_new else "unchanged" if change.is_nothing else "changes",
            *(len(part) or None for part in (change.added, change.changed, change.removed)),
        )
        for change in changes
    ]
    command.print_table(("stack", "", "added", "changed", "removed"), rows)
    for change in changes:
        for resource in change.data_at_stake:
            print(f"  holds data, and is changed or removed: {resource} in {change.stack}")


def in_words(changes: Sequence[Change]) -> str:
    """One line for all stacks."""
    moving = [change for change in changes if not change.is_nothing]
    if not moving:
        return "nothing changes"
    counts = [
        f"{sum(len(part) for part in parts)} {word}"
        for word, parts in (
            ("added", [change.added for change in moving]),
            ("changed", [change.changed for change in moving]),
            ("removed", [change.removed for change in moving]),
        )
        if any(parts)
    ]
    return f"{len(moving)} of {len(changes)} stacks: {', '.join(counts) or 'outputs alone'}"


def _change(stack: str, deployed: Mapping[str, Any], wanted: Mapping[str, Any]) -> Change:
    before, after = _resources(deployed), _resources(wanted)
    changed = [logical_id for logical_id in after if logical_id in before and before[logical_id] != after[logical_id]]
    removed = [logical_id for logical_id in before if logical_id not in after]
    return Change(
        stack=stack,
        is_new=not deployed,
        added=[_named(after, logical_id) for logical_id in after if logical_id not in before],
        changed=[_named(after, logical_id) for logical_id in changed],
        removed=[_named(before, logical_id) for logical_id in removed],
        data_at_stake=[
            _named(before, logical_id) for logical_id in (*changed, *removed) if before[logical_id]["Type"] in STATEFUL
        ],
    )


def _without_hashes(template_: Mapping[str, Any]) -> dict[str, Any]:
    stripped: dict[str, Any] = json.loads(_HASH.sub("#", json.dumps(template_)))
    return stripped


def _resources(template_: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Without what only the CDK reads."""
    return {
        logical_id: {key: value for key, value in body.items() if key != "Metadata"}
        for logical_id, body in template_.get("Resources", {}).items()
        if body["Type"] != _ANALYTICS
    }


def _named(resources: Mapping[str, Mapping[str, Any]], logical_id: str) -> str:
    return f"{logical_id} ({resources[logical_id]['Type']})"
