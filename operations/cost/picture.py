"""The estimates as stacked bars: for each environment an idle month beside the month of the profile."""

from collections.abc import Sequence
from pathlib import Path

from operations.cost.bill import by_service
from operations.cost.profiles import Profile
from operations.cost.report import Estimate

_SMALL = 0.01
"""Of the longest bar of an environment: what is less becomes one of the others."""


def draw(estimates: Sequence[Estimate], profile: Profile, path: Path) -> None:
    """Write the picture; its format is that of the file's name. Each environment has a scale of its own."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (it, [("idle", by_service(it.idle.lines)), (f"with {profile.name}", by_service(it.month))]) for it in estimates
    ]
    services = _services([services for _, pair in bars for _, services in pair])
    palette = [*(f"C{place}" for place in range(10)), "gold", "teal", "salmon", "navy", "plum", "olivedrab"]
    colours = {service: palette[place % len(palette)] for place, service in enumerate(services)}
    colours["others"] = "lightgrey"
    figure, rows = pyplot.subplots(len(bars), 1, figsize=(9, 0.8 + 1.5 * len(bars)), squeeze=False)
    for axes, (it, pair) in zip(rows[:, 0], bars, strict=True):
        longest = max(sum(services.values()) for _, services in pair) or 1.0
        for place, (label, found) in enumerate(reversed(pair)):
            left = 0.0
            for service, usd in _gathered(found, longest * _SMALL).items():
                axes.barh(place, usd, left=left, color=colours[service], label=service, edgecolor="white")
                left += usd
            axes.text(left + longest * 0.01, place, f"${left:,.2f}", va="center", fontsize=9)
            axes.text(-longest * 0.01, place, label, va="center", ha="right", fontsize=9)
        axes.set_xlim(0, longest * 1.15)
        axes.set_yticks([])
        axes.set_title(it.name, loc="left", fontsize=10, fontweight="bold")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    shown = {
        label: handle for axes in rows[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = [service for service in (*services, "others") if service in shown]
    figure.legend([shown[service] for service in order], order, loc="center right", fontsize=8, frameon=False)
    figure.supxlabel("US dollars a month, us-east-1; each environment has its own scale", fontsize=9)
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    figure.savefig(path)
    pyplot.close(figure)


def _services(found: Sequence[dict[str, float]]) -> list[str]:
    """All services, the dearest first, so that a colour means the same in every bar."""
    largest: dict[str, float] = {}
    for services in found:
        whole = sum(services.values()) or 1.0
        for service, usd in services.items():
            largest[service] = max(largest.get(service, 0.0), usd / whole)
    return sorted(largest, key=lambda service: -largest[service])


def _gathered(services: dict[str, float], small: float) -> dict[str, float]:
    kept = {service: usd for service, usd in services.items() if usd >= small}
    rest = sum(services.values()) - sum(kept.values())
    return {**kept, "others": rest} if rest > 0 else kept
