"""Load a FAISS index and ask it, in a process that does nothing else.

Usage: faiss_serve DATA PLACE CHUNKS_PER_DOCUMENT WORDS_PER_TEXT, where PLACE is a folder or an S3's address. Prints
{"load_s", "load_cpu_s", "recall", "queries": {mode: [ms]}, "cpu": {mode: [ms]}, "peak_mb"} as JSON. The modes are
`vector`, and with texts `hybrid` and `filtered` (hybrid among the chunks of one kind).
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from parley.aws import clients
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import Hit

from benchmarks.knowledge_local import LocalObjects
from benchmarks.processes.faiss_data import NEAREST, QUESTION_WORDS, texts
from benchmarks.processes.peak_memory import peak_megabytes

WARM_UP = 20


def main(data: Path, place: str, per_document: int, words: int) -> None:
    """Load, ask, and print."""
    queries = [query.tolist() for query in np.load(data / "queries.npy")]
    exact = np.load(data / "exact.npy").tolist()
    client: Any = clients.s3() if place.startswith("http") else LocalObjects.client(Path(place))
    store = FaissStore(client, "local", "faiss/")
    started, cpu_started = time.perf_counter(), time.process_time()
    store.prepare()
    loaded, cpu_loaded = time.perf_counter() - started, time.process_time() - cpu_started

    found = [store.search(query, owners=["shared"], limit=NEAREST) for query in queries]
    numbers = [{int(hit.id.document_id) * per_document + hit.id.number for hit in hits} for hits in found]
    recall = [len(mine & set(best)) / NEAREST for mine, best in zip(numbers, exact, strict=True)]

    said = texts(1_000_003, QUESTION_WORDS)
    questions = [next(said) for _ in queries]
    ask: dict[str, Callable[[int], list[Hit]]] = {
        "vector": lambda n: store.search(queries[n], owners=["shared"], limit=NEAREST)
    }
    if words:
        ask["hybrid"] = lambda n: store.search(queries[n], owners=["shared"], limit=NEAREST, text=questions[n])
        ask["filtered"] = lambda n: store.search(
            queries[n], owners=["shared"], limit=NEAREST, text=questions[n], where={"kind": ("kind-3",)}
        )
    wall, cpu = {}, {}
    for mode, search in ask.items():
        for number in range(WARM_UP):
            search(number)
        wall[mode], cpu[mode] = _timed(search, len(queries))
    print(
        json.dumps(
            {
                "load_s": loaded,
                "load_cpu_s": cpu_loaded,
                "recall": float(np.mean(recall)),
                "queries": wall,
                "cpu": cpu,
                "peak_mb": peak_megabytes(),
            }
        )
    )


def _timed(search: Callable[[int], list[Hit]], count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each search: on the clock, and of this thread's processor time."""
    wall, cpu = [], []
    for number in range(count):
        started, cpu_started = time.perf_counter(), time.thread_time()
        search(number)
        cpu.append((time.thread_time() - cpu_started) * 1000)
        wall.append((time.perf_counter() - started) * 1000)
    return wall, cpu


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
