"""The FAISS store with 100,000 chunks of 1,024 dimensions, over local files, beside exact search."""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from parley.aws.faiss_store import FaissStore
from parley.knowledge.chunks import ChunkId, IndexedChunk

from benchmarks.knowledge_local import LocalObjects
from benchmarks.report import Measurement, measurement

CHUNKS, DIMENSIONS = 100_000, 1024
LATENT, CLUSTERS = 64, 1_000
QUERIES = 300
_BATCH = 500


def measure() -> dict[str, Measurement]:
    """Sizes, times and recall; each baseline is the limit that it must keep, but for recall's: exact search's 1."""
    generator = np.random.default_rng(0)
    draw = _Clusters(generator)
    vectors, queries, more = draw.sample(CHUNKS), draw.sample(QUERIES), draw.sample(1_000)
    with tempfile.TemporaryDirectory() as folder:
        client = LocalObjects.client(Path(folder))
        store = FaissStore(client, "local", "faiss/")
        for start in range(0, CHUNKS, _BATCH):
            store.add(_chunks(vectors[start : start + _BATCH], start))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        fresh = FaissStore(client, "local", "faiss/")
        started = time.perf_counter()
        fresh.prepare()
        loaded = time.perf_counter() - started
        seconds, recall = [], []
        for query in queries:
            values = query.tolist()
            started = time.perf_counter()
            hits = fresh.search(values, owners=["shared"], limit=10)
            seconds.append(time.perf_counter() - started)
            exact = np.argpartition(-(vectors @ query), 10)[:10]
            recall.append(len({int(hit.id.document_id) for hit in hits} & set(exact.tolist())) / 10)
        before = client.bytes_written
        for start in range(0, len(more), _BATCH):
            store.add(_chunks(more[start : start + _BATCH], CHUNKS + start))
        uploaded = client.bytes_written - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99]).tolist()
    limit = "baseline: the limit"
    return {
        "faiss size": measurement(size / 1e6, "MB", baseline=150, note=limit),
        "faiss load": measurement(loaded, "s", baseline=0.5, note=f"{limit}; local files"),
        "faiss query p50": measurement(p50, "ms", baseline=5, note=limit),
        "faiss query p99": measurement(p99, "ms", baseline=5, note=limit),
        "faiss recall@10": measurement(float(np.mean(recall)), "", baseline=1, note="baseline: exact; at least 0.97"),
        "faiss add 1,000": measurement(uploaded / 1e6, "MB", baseline=5, note=f"{limit}; uploaded"),
        "faiss peak memory": measurement(
            peak, "MiB", baseline=700, note=f"{limit}; whole benchmark with its 410 MB of vectors, so an upper bound"
        ),
    }


class _Clusters:
    """Gaussian clusters on a latent space, projected, with noise of half the spacing of the clusters, normalised."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._centres = generator.standard_normal((CLUSTERS, LATENT)).astype(np.float32)
        self._projection = generator.standard_normal((LATENT, DIMENSIONS)).astype(np.float32)
        distances = np.linalg.norm(self._centres[:200, None] - self._centres[None, :], axis=2)
        distances[distances == 0] = np.inf
        # The spacing is the mean distance to the nearest other centre; the noise's length is half of it.
        self._noise = float(distances.min(axis=1).mean()) / 2 / LATENT**0.5

    def sample(self, count: int) -> np.ndarray:
        centres = self._centres[self._generator.integers(CLUSTERS, size=count)]
        noise = self._generator.standard_normal((count, LATENT)).astype(np.float32) * np.float32(self._noise)
        rows = (centres + noise) @ self._projection
        found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found


def _chunks(rows: np.ndarray, first: int) -> list[IndexedChunk]:
    return [
        IndexedChunk(ChunkId("shared", f"{first + number:06d}", "v1", 0), row.tolist())
        for number, row in enumerate(rows)
    ]
