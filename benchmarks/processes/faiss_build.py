"""Build a FAISS index of the vectors of `faiss_data` in a folder, 500 chunks at a time, as ingestion does.

Usage: faiss_build DATA FOLDER CHUNKS_PER_DOCUMENT WORDS_PER_TEXT. Prints {"bytes": on disk, "uploaded": in all, "more":
uploaded for 1,000 chunks more, "peak_mb"} as JSON. The 1,000 are not left in the index.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import ChunkId, IndexedChunk

from benchmarks.knowledge_local import LocalObjects
from benchmarks.processes.faiss_data import CHUNKS, MORE, texts
from benchmarks.processes.peak_memory import peak_megabytes

BATCH = 500
KINDS = 10


def main(data: Path, folder: Path, per_document: int, words: int) -> None:
    """Build it."""
    client = LocalObjects.client(folder)
    store = FaissStore(client, "local", "faiss/")
    for start, rows in _batches(data / "vectors.npy"):
        store.add(list(_chunks(rows, start, per_document, words)))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    peak, uploaded = peak_megabytes(), client.bytes_written
    for start, rows in _batches(data / "more.npy"):
        store.add(list(_chunks(rows, CHUNKS + start, per_document, words)))
    added = client.bytes_written - uploaded
    store.remove([ChunkId("shared", str((CHUNKS + n) // per_document), "v1", 0) for n in range(MORE)])
    print(json.dumps({"bytes": size, "uploaded": uploaded, "more": added, "peak_mb": peak}))


def _batches(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a file, a batch at a time: never all of them in memory, nor mapped into it."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (count, dimensions), _, type_ = np.lib.format.read_array_header_1_0(file)
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            yield start, np.fromfile(file, dtype=type_, count=size * dimensions).reshape(size, dimensions)


def _chunks(rows: np.ndarray, first: int, per_document: int, words: int) -> Iterator[IndexedChunk]:
    said = texts(first, words)
    for number, row in enumerate(rows, first):
        yield IndexedChunk(
            ChunkId("shared", str(number // per_document), "v1", number % per_document),
            row.tolist(),
            next(said) if words else "",
            {"kind": f"kind-{number % KINDS}", "number": number} if words else {},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
