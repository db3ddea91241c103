"""What Parley adds to a warm `POST /rag/query`: the handler's time less embedding, search and waiting for DynamoDB."""

import json
import tempfile
from pathlib import Path

from benchmarks.functions import SETTINGS, http_event, knowledge_package
from benchmarks.instant_aws import InstantAws
from benchmarks.report import Measurement, measurement
from benchmarks.samples import deployed_environment, process, run

LIMIT_MS = 10.0
"""What the median must keep."""

QUESTIONS = 500

RETRIEVAL_SETTINGS = {"VECTOR_STORE": "faiss", "EMBEDDING_MODEL": "amazon.titan-embed-text-v2:0"}


def measure() -> dict[str, Measurement]:
    """Milliseconds of a question that five passages of four documents answer, in the function's deployed package."""
    # The requests' counters are answered: where they were refused, the handling of that would be measured.
    with tempfile.TemporaryDirectory() as folder, InstantAws() as aws:
        package = knowledge_package(Path(folder))
        printed = run(
            process("warm_queries", str(QUESTIONS)),
            environment=deployed_environment(aws.url, package.folder) | SETTINGS | RETRIEVAL_SETTINGS,
            given=json.dumps(http_event("POST", "/rag/query", {"query": "How long is a ticket valid?"})),
        )
    taken = json.loads(printed.splitlines()[-1])
    limit = "baseline: the limit of the median"
    notes = {
        "p50": f"{limit}; reads of the table a question: {taken['calls']:.0f}",
        "p99": limit,
        "processor": f"{limit}; the median of the processor's time, which a busy machine does not lengthen so much",
    }
    return {
        f"query overhead {name}": measurement(taken[name], "ms", baseline=LIMIT_MS, note=note)
        for name, note in notes.items()
    }
