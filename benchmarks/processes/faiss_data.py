"""The vectors and texts with which the FAISS store is measured.

Usage: faiss_data FOLDER. Writes vectors.npy, queries.npy, more.npy (1,000 vectors to add) and exact.npy (the places of
each query's 10 nearest vectors).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CHUNKS, DIMENSIONS = 100_000, 1_024
LATENT, CLUSTERS = 64, 1_000
QUERIES, NEAREST = 300, 10
MORE = 1_000
"""Vectors that are added to the index afterwards."""
VOCABULARY, TEXT_WORDS, QUESTION_WORDS = 50_000, 80, 10


class Clusters:
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
        """So many unit vectors."""
        centres = self._centres[self._generator.integers(CLUSTERS, size=count)]
        noise = self._generator.standard_normal((count, LATENT)).astype(np.float32) * np.float32(self._noise)
        rows = (centres + noise) @ self._projection
        found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found


def texts(seed: int, words: int) -> Iterator[str]:
    """Endless texts of so many words each: as often as Zipf's law has it, the commonest one word in 11."""
    generator = np.random.default_rng(seed)
    letters = np.random.default_rng(0).integers(97, 123, size=(VOCABULARY, 12), dtype=np.uint8)
    vocabulary = [row[: 2 + rank % 10].tobytes().decode() for rank, row in enumerate(letters)]
    shares = 1 / np.arange(1, VOCABULARY + 1)
    ends = np.cumsum(shares / shares.sum())
    while True:
        for row in np.searchsorted(ends, generator.random((1_000, words))).tolist():
            yield " ".join(vocabulary[min(rank, VOCABULARY - 1)] for rank in row)


def main(folder: Path) -> None:
    """Write the files."""
    clusters = Clusters(np.random.default_rng(0))
    vectors, queries, more = clusters.sample(CHUNKS), clusters.sample(QUERIES), clusters.sample(MORE)
    exact = np.stack([np.argpartition(-(vectors @ query), NEAREST)[:NEAREST] for query in queries])
    for name, array in {"vectors": vectors, "queries": queries, "more": more, "exact": exact}.items():
        np.save(folder / f"{name}.npy", array)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
