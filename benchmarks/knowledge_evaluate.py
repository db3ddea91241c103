"""`scripts/evaluate DATASET`: how well and how fast retrieval finds the paragraphs that answer questions.

Without --env it runs in this process, with the sandbox's embedder and FAISS over local files. With it the embedding
model of that environment is asked, and its vector store holds a temporary index, deleted at the end.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from parley.aws.clients import make_client
from parley.aws.embeddings import TitanEmbeddings
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.calibration import calibration
from parley.knowledge.ports import Embedder
from rich.console import Console
from rich.table import Table

from benchmarks.knowledge_held_out import at, calibrated, evidence, half_of
from benchmarks.knowledge_local import SandboxEmbedder
from benchmarks.knowledge_plot import plot
from benchmarks.knowledge_quality import Evidence, Library, Quality, evaluate, refused_share
from benchmarks.knowledge_squad import DataSet, load_all
from benchmarks.knowledge_stores import MODES, OpenIndex, opened
from operations.environment import LOCAL, Environment, OperationError, resolve

TITAN = "amazon.titan-embed-text-v2:0"
"""What the runtime believes to ask, also where the sandbox's embedder answers."""

_SCORES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
_COVERAGES = (0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25)
_EXAMPLES = """examples:
  scripts/evaluate questions.json
  scripts/evaluate folder-of-data-sets --mode hybrid --plot retrieval.png
  scripts/evaluate questions.json --thresholds
  scripts/evaluate questions.json --env dev --store faiss --store s3vectors
"""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a threshold would do to one data set's questions on the half of its articles that did not choose it."""

    data_set: str
    store: str
    of: str
    """What the threshold is of: `coverage` or `score`."""
    threshold: float
    refused_with_answer: float
    """The share of questions with their paragraph among the first 5 that would be refused."""
    refused_without: float
    """The share of questions that would be refused when the article that answers is not there."""
    calibrated: bool
    """Is it the one that the other half's questions choose?"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the data sets that were asked for; the exit status is 1 when that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, help="a file in SQuAD's JSON format, or a folder of such files")
    parser.add_argument(
        "--store", action="append", choices=list(MODES), help="a vector store (default: the deployed one)"
    )
    parser.add_argument("--mode", action="append", choices=MODES["faiss"], help="a retrieval mode (default: all)")
    parser.add_argument("--env", help="a deployed environment, reached with your AWS credentials (default: none)")
    parser.add_argument("--region", help="its AWS region (default: that of your AWS profile or shell)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the table")
    parser.add_argument("--json", action="store_true", help="one JSON object per data set, store and mode")
    parser.add_argument("--thresholds", action="store_true", help="show what it costs to say `I do not know` instead")
    options = parser.parse_args(arguments)
    # So that an index in the cloud is deleted also when the process is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        data_sets = load_all(options.dataset)
        environment = None if options.env in (None, LOCAL) else resolve(options.env, options.region)
        _run(data_sets, environment, options)
    except (ValueError, OperationError) as error:
        print(error, file=sys.stderr)
        return 1
    except (KnowledgeUnavailable, StoreUnavailable) as error:
        print(f"{error.message} The evaluation ended early.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(data_sets: Sequence[DataSet], environment: Environment | None, options: argparse.Namespace) -> None:
    settings = environment.function_settings("Retrieval") if environment else {}
    stores: list[str] = options.store or [settings.get("VECTOR_STORE", "faiss")]
    modes = {store: [mode for mode in MODES[store] if mode in (options.mode or MODES[store])] for store in stores}
    if none := [store for store, possible in modes.items() if not possible]:
        raise OperationError(f"{none[0]} has no mode {options.mode[0]}: it has {', '.join(MODES[none[0]])}.")
    libraries = [Library(data, _embedder(environment, settings)) for data in data_sets]
    qualities: list[Quality] = []
    seen: dict[str, list[tuple[str, list[Evidence]]]] = {store: [] for store in stores}
    for store in stores:
        for library in libraries:
            with tempfile.TemporaryDirectory() as folder, opened(store, Path(folder), environment) as index:
                _fill(index, library)
                if options.thresholds:
                    seen[store].append((library.data.name, evidence(library, index.deployed, store)))
                else:
                    qualities += [evaluate(library, index.modes[mode], store, mode) for mode in modes[store]]
    if options.thresholds:
        model = settings.get("EMBEDDING_MODEL", TITAN)
        _report_thresholds([row for store in stores for row in thresholds(seen[store], store, model)], options.json)
        return
    _report(qualities, options.json)
    if options.plot is not None:
        plot(qualities, options.plot)


def _embedder(environment: Environment | None, settings: Mapping[str, str]) -> Embedder:
    if environment is None:
        return SandboxEmbedder()
    # Patient: the whole data set is embedded at once, and being throttled is part of that.
    runtime = make_client("bedrock-runtime", read_timeout=10.0, attempts=8, **environment.client_options)
    return TitanEmbeddings(settings["EMBEDDING_MODEL"], runtime)


def _fill(index: OpenIndex, library: Library) -> None:
    chunks = library.chunks()
    index.deployed.add(chunks)
    index.settle(len(chunks))


def thresholds(data_sets: Sequence[tuple[str, list[Evidence]]], store: str, model: str) -> list[Threshold]:
    """What thresholds do on odd articles; one of a kind is what the even articles of all data sets together choose.

    Those of the score stand alone; those of coverage, where the store tells it, beside the deployed one of the score.
    """
    everything = [each for _, seen in data_sets for each in seen]
    deployed = calibration(store, model)
    kinds = {"score": (_SCORES, replace(deployed, minimum_coverage=1.0), False)}
    if any(each.coverage > 0 for each in everything):
        kinds["coverage"] = (_COVERAGES, deployed, True)
    rows = []
    for kind, (tried, start, by_coverage) in kinds.items():
        chosen = calibrated(half_of(everything, 0), start, by_coverage=by_coverage)
        for name, seen in data_sets:
            odd = half_of(seen, 1)
            for threshold in sorted({*tried, chosen}):
                candidate = at(start, threshold, by_coverage=by_coverage)
                rows.append(
                    Threshold(
                        data_set=name,
                        store=store,
                        of=kind,
                        threshold=threshold,
                        refused_with_answer=refused_share(odd, candidate, answerable=True),
                        refused_without=refused_share(odd, candidate, answerable=False),
                        calibrated=threshold == chosen,
                    )
                )
    return rows


def _report(qualities: Sequence[Quality], as_json: bool) -> None:
    if as_json:
        for quality in qualities:
            print(json.dumps(asdict(quality)))
        return
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


def _report_thresholds(rows: Sequence[Threshold], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    table = Table(title="Questions that are refused, on odd articles", caption="* what the even articles choose")
    for column in ("data set", "store", "threshold of"):
        table.add_column(column)
    for column in ("threshold", "with an answer", "without one"):
        table.add_column(column, justify="right")
    for row in rows:
        mark = "* " if row.calibrated else ""
        shares = (f"{row.refused_with_answer:.1%}", f"{row.refused_without:.1%}")
        table.add_row(row.data_set, row.store, row.of, f"{mark}{row.threshold:.2f}", *shares)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
