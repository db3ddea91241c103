"""`scripts/evaluate DATASET`: how well and how fast retrieval finds the paragraphs that answer questions."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from parley.knowledge.calibration import calibration
from rich.console import Console
from rich.table import Table

from benchmarks.knowledge_local import SandboxEmbedder
from benchmarks.knowledge_quality import MODES, Collection, Quality, Threshold, evaluate, thresholds
from benchmarks.knowledge_squad import DataSet, load_all

_EMBEDDING_MODEL = "amazon.titan-embed-text-v2:0"
_SCORES = (0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the data sets that were asked for; the exit status is 1 when one cannot be read."""
    parser = argparse.ArgumentParser(prog="scripts/evaluate", description=__doc__)
    parser.add_argument("dataset", type=Path, help="a file in SQuAD's JSON format, or a folder of such files")
    parser.add_argument("--mode", action="append", choices=MODES, help="a retrieval mode (default: all)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the table")
    parser.add_argument("--json", action="store_true", help="one JSON object per data set and mode")
    parser.add_argument("--thresholds", action="store_true", help="show what minimum scores would do instead")
    options = parser.parse_args(arguments)
    try:
        data_sets = load_all(options.dataset)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if options.thresholds:
        _show_thresholds({data.name: _thresholds(data) for data in data_sets})
        return 0
    qualities = [quality for data in data_sets for quality in _qualities(data, options.mode or list(MODES))]
    if options.json:
        for quality in qualities:
            print(json.dumps(asdict(quality)))
    else:
        _show(qualities)
    if options.plot is not None:
        plot(qualities, options.plot)
    return 0


def _qualities(data: DataSet, modes: Sequence[str]) -> list[Quality]:
    score = calibration("faiss", _EMBEDDING_MODEL).minimum_score
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection(data, SandboxEmbedder(), Path(folder))
        return [evaluate(collection, mode, minimum_score=score) for mode in modes]


def _thresholds(data: DataSet) -> list[Threshold]:
    with tempfile.TemporaryDirectory() as folder:
        return thresholds(Collection(data, SandboxEmbedder(), Path(folder)), _SCORES)


def _show(qualities: Sequence[Quality]) -> None:
    table = Table(title="Retrieval")
    for column in ("data set", "store", "mode"):
        table.add_column(column)
    for column in ("recall@1", "recall@5", "MRR", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for q in qualities:
        found = (q.recall_at_1, q.recall_at_5, q.mean_reciprocal_rank)
        numbers = [*(f"{value:.4f}" for value in found), f"{q.p50_ms:.1f}", f"{q.p99_ms:.1f}"]
        table.add_row(q.data_set, q.store, q.mode, *numbers)
    Console().print(table)


def _show_thresholds(found: dict[str, list[Threshold]]) -> None:
    table = Table(title="What a minimum score does, hybrid search")
    table.add_column("data set")
    for column in ("minimum score", "answered", "refused"):
        table.add_column(column, justify="right")
    for name, entries in found.items():
        for entry in entries:
            table.add_row(name, f"{entry.score:g}", f"{entry.answered:.1%}", f"{entry.refused:.1%}")
    Console().print(table)


def plot(qualities: Sequence[Quality], path: Path) -> None:
    """Draw recall, rank and latency of each data set and mode into a PNG file."""
    # Imported here because it takes longer than many an evaluation.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    names = sorted({quality.data_set for quality in qualities})
    modes = sorted({(quality.store, quality.mode) for quality in qualities})
    by_key = {(quality.data_set, quality.store, quality.mode): quality for quality in qualities}
    panels = {"recall@1": "recall_at_1", "recall@5": "recall_at_5", "MRR": "mean_reciprocal_rank", "p50 (ms)": "p50_ms"}
    for axes, (title, attribute) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        width = 0.8 / len(modes)
        for position, (store, mode) in enumerate(modes):
            heights = [getattr(by_key[name, store, mode], attribute) for name in names]
            places = [number + (position - (len(modes) - 1) / 2) * width for number in range(len(names))]
            axes.bar(places, heights, width, label=f"{store} {mode}")
        axes.set_title(title)
        axes.set_xticks(range(len(names)), names, rotation=20)
        if attribute != "p50_ms":
            axes.set_ylim(min(0.75, *(getattr(q, attribute) for q in qualities)), 1)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    sys.exit(main())
