"""The idle cost of each environment that somebody has reviewed, and whether a template still keeps to it."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from operations.assembly import ROOT
from operations.cost.bill import total
from operations.cost.idle import Idle
from operations.environment import OperationError

FILE = ROOT / "reviewed" / "cost.toml"
RISE_USD, RISE_SHARE = 1.0, 0.05
"""An idle month may cost more than what was accepted by one or the other, whichever is more."""

_HEADER = """\
# The idle cost of each environment, in US dollars a month, as somebody accepted it: scripts/cost --env NAME --check
# fails when a template costs a dollar and 5 % more than this. scripts/cost --env NAME --accept "REASON" writes it.
"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted for one environment."""

    usd: float
    on: date
    reason: str
    unpriced: Sequence[str] = ()
    """Types without a price that somebody has looked at."""

    @property
    def limit(self) -> float:
        """What it may cost without being accepted anew."""
        return self.usd + max(RISE_USD, self.usd * RISE_SHARE)


def read(path: Path | None = None) -> dict[str, Accepted]:
    """What was accepted, by environment, in FILE unless told. Raises OperationError when the file cannot be used."""
    path = path or FILE
    if not path.exists():
        return {}
    try:
        return {name: _accepted(entry) for name, entry in tomllib.loads(path.read_text()).items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise OperationError(f"{path} needs usd, on and reason for each environment: {error}.") from error


def _accepted(entry: Mapping[str, Any]) -> Accepted:
    if not isinstance(entry["on"], date) or not str(entry["reason"]).strip():
        raise ValueError("`on` is a date, and `reason` says why")
    return Accepted(float(entry["usd"]), entry["on"], str(entry["reason"]), tuple(entry.get("unpriced", ())))


def write(accepted: Mapping[str, Accepted], path: Path | None = None) -> None:
    """Write what is accepted, environments in order of their names, into FILE unless told."""
    path = path or FILE
    parts = [_HEADER]
    for name, entry in sorted(accepted.items()):
        lines = [f"[{name}]", f"usd = {entry.usd:.2f}", f"on = {entry.on}", f"reason = {json.dumps(entry.reason)}"]
        if entry.unpriced:
            lines.append(f"unpriced = {json.dumps(list(entry.unpriced))}")
        parts.append("\n".join(lines) + "\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))


def problems(name: str, idle: Idle, accepted: Mapping[str, Accepted]) -> list[str]:
    """Why an environment's idle cost has to be accepted anew: one sentence for each reason."""
    usd = total(idle.lines)
    remedy = f'review it, and accept it with scripts/cost --env {name} --accept "REASON"'
    entry = accepted.get(name)
    if entry is None:
        return [f"The idle cost of {name}, {usd:.2f} dollars a month, was never accepted: {remedy}."]
    found = []
    if usd > entry.limit:
        found.append(
            f"The idle cost of {name} rises from the {entry.usd:.2f} dollars a month accepted on {entry.on} to "
            f"{usd:.2f}, and {entry.limit:.2f} would pass: {remedy}."
        )
    for what in idle.unpriced:
        if what not in entry.unpriced:
            found.append(f"{name} has {what}, which has no price here: add it to operations/cost, or {remedy}.")
    return found
