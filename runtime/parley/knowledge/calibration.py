"""What retrieval's numbers are for each pair of vector store and embedding model, and where each comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """Numbers that belong to a store and an embedder."""

    minimum_score: float
    """When no passage's score reaches this, the documents hold no answer."""
    source: str


_STARTING_POINT = "taken over from faiss with the sandbox's embedder; not measured with this store"

CALIBRATIONS = {
    ("faiss", "amazon.titan-embed-text-v2:0"): Calibration(
        0.08,
        "scripts/evaluate --thresholds, XQuAD in English, Spanish and Vietnamese, with the sandbox's stand-in for this "
        "model: at least 99.7 % of the questions that hybrid search answers stay answered; of those without an answer "
        "1 to 5 % are refused. Not measured with the model itself",
    ),
    ("s3vectors", "amazon.titan-embed-text-v2:0"): Calibration(0.08, _STARTING_POINT),
    ("opensearch", "amazon.titan-embed-text-v2:0"): Calibration(0.08, _STARTING_POINT),
}
"""By store and embedding model."""

UNKNOWN = Calibration(0.08, "no measurement for this store and embedding model: see docs/how-to/measure-retrieval.md")


def calibration(vector_store: str, embedding_model: str) -> Calibration:
    """The numbers for a store and an embedder; those of no measurement where there is none."""
    return CALIBRATIONS.get((vector_store, embedding_model), UNKNOWN)
