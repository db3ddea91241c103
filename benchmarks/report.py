"""One shape for every measurement: a table for people, an object for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured thing beside its baseline, both in `unit`."""

    value: float
    unit: str
    baseline: float
    ratio: float
    note: str = ""


def measurement(value: float, unit: str, *, baseline: float, note: str = "") -> Measurement:
    """A measurement whose ratio is `value` over `baseline`, rounded to what the noise of a laptop allows."""
    return Measurement(
        value=round(value, 4), unit=unit, baseline=round(baseline, 4), ratio=round(value / baseline, 3), note=note
    )


def show(title: str, baseline: str, measurements: Mapping[str, Measurement], *, as_json: bool) -> None:
    """Print the measurements: a table that names the baseline, or with `as_json` one JSON object on one line."""
    if as_json:
        print(json.dumps({name: asdict(entry) for name, entry in measurements.items()}))
        return
    table = Table(title=title, caption=f"baseline: {baseline}", caption_justify="left")
    table.add_column("measured")
    for column in ("value", "baseline", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for name, entry in measurements.items():
        table.add_row(
            name, f"{entry.value:g} {entry.unit}", f"{entry.baseline:g} {entry.unit}", f"{entry.ratio:.2f}", entry.note
        )
    Console().print(table)
