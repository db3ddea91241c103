"""The picture of `scripts/evaluate --plot`: one panel a measure, one bar a store and mode."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.knowledge_quality import Quality

_SHARES = {"recall@1": "recall_at_1", "recall@5": "recall_at_5", "MRR": "mean_reciprocal_rank"}
_LATENCIES = {"p50 (ms)": "p50_ms", "p99 (ms)": "p99_ms"}


def plot(qualities: Sequence[Quality], path: Path) -> None:
    """Draw recall, rank and latency of each data set, store and mode into a PNG file."""
    # Imported here because it takes longer than many an evaluation.
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(quality.data_set for quality in qualities))
    bars = list(dict.fromkeys((quality.store, quality.mode) for quality in qualities))
    by_key = {(quality.data_set, quality.store, quality.mode): quality for quality in qualities}
    figure = Figure(figsize=(15, 4.2), layout="constrained")
    panels = figure.subplots(1, len(_SHARES) + len(_LATENCIES))
    width = 0.8 / len(bars)
    for axes, (title, attribute) in zip(panels, (_SHARES | _LATENCIES).items(), strict=True):
        for position, (store, mode) in enumerate(bars):
            heights = [getattr(by_key[name, store, mode], attribute) for name in names]
            places = [number + (position - (len(bars) - 1) / 2) * width for number in range(len(names))]
            axes.bar(places, heights, width, label=f"{store} {mode}")
        axes.set_title(title)
        axes.set_xticks(range(len(names)), names, rotation=20)
        axes.spines[["top", "right"]].set_visible(False)
    lowest = min(getattr(quality, attribute) for quality in qualities for attribute in _SHARES.values())
    # One scale for all shares; it leaves out what all of them reach, so that differences show.
    bottom = max(0.0, lowest - 0.05) // 0.05 * 0.05
    for axes in panels[: len(_SHARES)]:
        axes.set_ylim(bottom, 1)
        axes.set_ylabel(f"from {bottom:.2f}" if bottom else "")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(bars), frameon=False)
    figure.savefig(path, dpi=120, format="png")
