"""Lines of a bill, and their sums."""

from collections.abc import Iterable
from dataclasses import dataclass

from operations.prices import Price


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of something at a price."""

    service: str
    what: str
    count: float
    price: Price

    @property
    def usd(self) -> float:
        """What it costs."""
        return self.count * self.price.usd


def total(lines: Iterable[Line]) -> float:
    """What the lines cost together."""
    return sum(line.usd for line in lines)


def by_service(lines: Iterable[Line]) -> dict[str, float]:
    """The sum of each service, the dearest first."""
    sums: dict[str, float] = {}
    for line in lines:
        sums[line.service] = sums.get(line.service, 0.0) + line.usd
    return dict(sorted(sums.items(), key=lambda pair: -pair[1]))


def times(lines: Iterable[Line], factor: float) -> list[Line]:
    """The same lines, `factor` times as many of each."""
    return [Line(line.service, line.what, line.count * factor, line.price) for line in lines]
