"""What `scripts/cost` shows: tables, JSON and Markdown of the same estimates."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich.text import Text

from operations import command, prices
from operations.assembly import Assembly
from operations.cost.bill import Line, by_service, times, total
from operations.cost.idle import Idle, idle
from operations.cost.profiles import Profile
from operations.cost.usage import Usage, usage
from operations.prices import Price

_THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one environment costs."""

    name: str
    region: str | None
    idle: Idle
    usage: Usage

    @property
    def month(self) -> list[Line]:
        """The profile's month, idle cost and use."""
        return [*self.idle.lines, *self.usage.month]


def estimate(name: str, assembly: Assembly, profile: Profile) -> Estimate:
    """What the environment of an assembly costs."""
    # The region of the environment, not that of what CloudFront wants in us-east-1.
    regions = [region for stack, region in assembly.regions.items() if not stack.endswith("-Edge")]
    return Estimate(name, next(iter(regions), None), idle(assembly), usage(assembly, profile))


PARTS: Mapping[str, Callable[[Estimate], list[Line]]] = {
    "idle, a month": lambda it: it.idle.lines,
    "1,000 text turns": lambda it: times(it.usage.turn, _THOUSAND),
    "a minute of voice": lambda it: it.usage.voice_minute,
    "1,000 documents": lambda it: times(it.usage.document, _THOUSAND),
    "the month": lambda it: it.month,
}
"""What is shown of each estimate, in this order."""


def document(estimates: Sequence[Estimate], profile: Profile) -> dict[str, Any]:
    """All of it for programs."""
    return {
        "currency": "USD",
        "prices": {"region": "us-east-1", "read": prices.READ},
        "profile": {field.name: getattr(profile, field.name) for field in fields(profile)},
        "environments": {
            it.name: {
                "region": it.region,
                **{part: _document_of(lines(it)) for part, lines in PARTS.items()},
                "by_use": it.idle.by_use,
                "free": it.idle.free,
                "unpriced": [*it.idle.unpriced, *it.usage.unpriced],
            }
            for it in estimates
        },
    }


def _document_of(lines: list[Line]) -> dict[str, Any]:
    return {
        "usd": round(total(lines), 6),
        "services": {service: round(usd, 6) for service, usd in by_service(lines).items()},
        "lines": [
            {
                "service": line.service,
                "what": line.what,
                "count": line.count,
                "unit": line.price.unit,
                "usd": round(line.usd, 9),
                "price": line.price.usd,
                "source": line.price.source,
                "read_at": line.price.read_at or line.price.source,
                "read": line.price.read,
            }
            for line in lines
        ],
    }


def show(estimates: Sequence[Estimate], profile: Profile) -> None:
    """All of it for people."""
    names = [it.name for it in estimates]
    for part, lines in PARTS.items():
        title = f"the month of the profile {profile.name}, idle cost included" if part == "the month" else part
        rows = _side_by_side([by_service(lines(it)) for it in estimates])
        command.print_table((f"{title}, US dollars", *names), rows)
        print()
    command.print_table(("what the idle month is made of", "", *names), _idle_lines(estimates))
    print()
    for note in _notes(estimates, profile):
        print(note)


def sources(estimates: Sequence[Estimate]) -> list[tuple[str, str, str]]:
    """Every price that was used: what of, how much, and where it was read."""
    used: dict[Price, str] = {}
    for it in estimates:
        for line in [*it.idle.lines, *it.usage.turn, *it.usage.voice_minute, *it.usage.document, *it.usage.month]:
            used.setdefault(line.price, line.service)
    rows = [(f"{service}: {price.unit}", f"{price.usd:.10g}", price.where) for price, service in used.items()]
    return sorted(rows)


def _side_by_side(columns: Sequence[Mapping[str, float]]) -> list[list[str | Text]]:
    services = dict.fromkeys(service for column in columns for service, usd in column.items() if usd)
    order = sorted(services, key=lambda service: -max(column.get(service, 0.0) for column in columns))
    rows: list[list[str | Text]] = [
        [service, *(_cell(column.get(service, 0.0)) for column in columns)] for service in order
    ]
    return [*rows, ["total", *(_cell(sum(column.values())) for column in columns)]]


def _cell(usd: float) -> Text:
    return Text(money(usd), justify="right")


def _idle_lines(estimates: Sequence[Estimate]) -> list[list[str | Text]]:
    sums: dict[tuple[str, str], list[float]] = {}
    for column, it in enumerate(estimates):
        for line in it.idle.lines:
            sums.setdefault((line.service, line.what), [0.0] * len(estimates))[column] += line.usd
    return [[service, what, *map(_cell, usd)] for (service, what), usd in sorted(sums.items())]


def _notes(estimates: Sequence[Estimate], profile: Profile) -> Iterable[str]:
    yield (
        f"Prices are those of us-east-1, on demand, read on {prices.READ}; --sources says where. Estimated from "
        "templates and from what the code sends: no invoice has confirmed it. Support, taxes and the free tier of new "
        "accounts are not in it."
    )
    yield (
        f"Profile {profile.name}: {profile.conversations:,.0f} conversations of {profile.turns:g} turns with "
        f"{profile.input_tokens:,.0f} tokens in and {profile.output_tokens:,.0f} out, {profile.voice_minutes:,.0f} "
        f"minutes of voice, {profile.documents:,.0f} documents, {profile.users:,.0f} users."
    )
    for it in estimates:
        if it.name == command.LOCAL:
            yield "local runs in the sandbox, for nothing: this is what its stacks would cost on AWS."
        if it.region not in (None, "us-east-1"):
            yield f"{it.name} is in {it.region}, where prices differ."
        for what in (*it.idle.unpriced, *it.usage.unpriced):
            yield f"{it.name}: no price for {what}; it is in none of the sums."
        yield f"{it.name}: paid by use alone: {_counted(it.idle.by_use)}."
        yield f"{it.name}: free: {_counted(it.idle.free)}."


def _counted(types: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.removeprefix('AWS::')}" for name, count in types.items()) or "nothing"


def money(usd: float) -> str:
    """Cents, and more places where there are not ten of them."""
    if abs(usd) < 5e-6:
        return "-"
    return f"{usd:,.2f}" if abs(usd) >= 0.1 else f"{usd:.5f}"


def markdown(before: Mapping[str, Estimate], after: Sequence[Estimate], profile: Profile) -> str:
    """A pull request's comment: what its templates change. `before` may lack environments."""
    head = ["environment", *(name for name in PARTS if name != "the month"), f"month of profile {profile.name}"]
    lines = ["### Cost", "", _row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    changes: list[str] = []
    for it in after:
        old = before.get(it.name)
        cells = [_change(None if old is None else total(part(old)), total(part(it))) for part in PARTS.values()]
        lines.append(_row([it.name, *cells]))
        changes += _changed_lines(it, old)
    lines += ["", f"US dollars, us-east-1, prices of {prices.READ}. Before → after where they differ."]
    if changes:
        lines += ["", "What changes in an idle month:", "", *changes]
    missing = [f"- **{it.name}**: no price for {what}" for it in after for what in it.idle.unpriced]
    if missing:
        lines += ["", "In none of the sums:", "", *missing]
    return "\n".join(lines) + "\n"


def _changed_lines(it: Estimate, old: Estimate | None) -> list[str]:
    if old is None:
        return []
    was, now = _idle_sums(old), _idle_sums(it)
    return [
        f"- **{it.name}** {service}, {what}: {money(was.get((service, what), 0.0))} → "
        f"{money(now.get((service, what), 0.0))}"
        for service, what in sorted({*was, *now})
        if abs(was.get((service, what), 0.0) - now.get((service, what), 0.0)) >= 0.005
    ]


def _idle_sums(it: Estimate) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = {}
    for line in it.idle.lines:
        sums[line.service, line.what] = sums.get((line.service, line.what), 0.0) + line.usd
    return sums


def _change(was: float | None, now: float) -> str:
    if was is None or money(was) == money(now):
        return money(now)
    share = f" ({(now - was) / was:+.0%})" if was else ""
    return f"{money(was)} → **{money(now)}**{share}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
