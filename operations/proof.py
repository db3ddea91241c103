"""Looks for what is left of an environment that was taken away, and says what it looked for."""

import re
import time
from collections.abc import Iterable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from operations.command import Check, Mark
from operations.deployed import Resource, stacks
from operations.environment import Place
from operations.kinds import KINDS, Kind, Search, is_missing, is_unknown_service
from operations.teardown import KEY, tagged

PATIENCE = 60.0
"""Seconds in which AWS's lists may still name what has been deleted."""

_SHOWN = 3


def prove(
    place: Place,
    search: Search,
    things: Sequence[Resource],
    where: Sequence[str],
    *,
    patience: float = PATIENCE,
) -> list[Check]:
    """One check for each kind of resource: it fails when something of that kind is left.

    Where a list names something, it is asked again for `patience` seconds before that counts. `things` are what the
    environment had; `where` are its regions.
    """
    until = time.monotonic() + patience
    checks = [_stacks(place)]
    for kind in KINDS:
        had = sum(thing.type == kind.types[0] for thing in things)
        checks.append(_of_kind(place, search, kind, where, had, until))
    checks.append(_keys(place, things))
    checks.append(_anything_tagged(place, where, until))
    return checks


def _stacks(place: Place) -> Check:
    left = [stack.name for stack in stacks(place)]
    if left:
        return Check("stacks", Mark.FAILED, f"{len(left)} left: {_some(left)}", "Run it again.")
    return Check("stacks", Mark.OK, "none left")


def _of_kind(place: Place, search: Search, kind: Kind, where: Iterable[str], had: int, until: float) -> Check:
    looked = f"none left; its stacks had {had}"
    left: dict[str, bool] = {}
    for region in where:
        try:
            left |= _lasting(place, search, kind, region, until)
        except (BotoCoreError, ClientError) as error:
            if place.is_sandbox and is_unknown_service(error):
                return Check(
                    kind.what,
                    Mark.SKIPPED,
                    "the sandbox's AWS has no such service, so that there can be none: nothing was proved",
                )
            reason = error.response["Error"].get("Message", "") if isinstance(error, ClientError) else str(error)
            return Check(
                kind.what,
                Mark.FAILED,
                f"could not be listed in {region}: {reason}",
                "Give the credentials the permission to list them, and run it again.",
            )
    if not left:
        return Check(kind.what, Mark.OK, looked)
    remedy = "Run it again."
    if strangers := [identifier for identifier, may_go in left.items() if not may_go]:
        remedy = (
            f"{_some(strangers)}: no stack of {place.name} is known to have made this, "
            "but its name says so. Delete it by hand if it is yours."
        )
    elif kind.what == "network interfaces":
        remedy = "A service gives its interfaces up by itself, Lambda within 40 minutes: run it again then."
    return Check(kind.what, Mark.FAILED, f"{len(left)} left: {_some(list(left))}", remedy)


def _lasting(place: Place, search: Search, kind: Kind, region: str, until: float) -> dict[str, bool]:
    """What is still listed at the end of the patience, or the first time that nothing is."""
    pause = 0.5
    while True:
        left = search.find(kind, place, region)
        if not left or time.monotonic() + pause > until:
            return left
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def _keys(place: Place, things: Iterable[Resource]) -> Check:
    """Every key must be pending deletion: KMS deletes none at once."""
    keys = [thing for thing in things if thing.type == KEY]
    alive, pending = [], 0
    for key in keys:
        try:
            state = place.client("kms", key.region).describe_key(KeyId=key.physical_id)["KeyMetadata"]["KeyState"]
        except ClientError as error:
            if not is_missing(error):
                raise
            continue
        if state == "PendingDeletion":
            pending += 1
        else:
            alive.append(f"{key.physical_id} ({state})")
    if alive:
        return Check("keys", Mark.FAILED, f"{len(alive)} not pending deletion: {_some(alive)}", "Run it again.")
    return Check("keys", Mark.OK, f"all {len(keys)} that its stacks had: {pending} pending deletion, the rest gone")


def _anything_tagged(place: Place, where: Iterable[str], until: float) -> Check:
    """Whatever carries the environment's tags and was not looked for itself."""
    pause = 0.5
    while True:
        left = [arn for region in where for arn in tagged(place, region) if not _is_looked_for(arn)]
        if not left or time.monotonic() + pause > until:
            break
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
    if left:
        return Check(
            "anything else with its tags",
            Mark.WARNING,
            f"{len(left)} still in AWS's index of tags: {_some(left)}",
            "The index may be behind by hours; what it names a day later is really there.",
        )
    return Check("anything else with its tags", Mark.OK, "none left")


def _is_looked_for(arn: str) -> bool:
    return ":kms:" in arn or any(re.search(kind.arn, arn) for kind in KINDS)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
