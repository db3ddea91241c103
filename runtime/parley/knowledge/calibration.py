"""What retrieval's numbers are for each pair of vector store and embedding model, and where each comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Calibration:
    """Numbers that belong to a store and an embedder."""

    minimum_score: float
    """A passage with this cosine similarity may hold the answer, whatever its words."""
    minimum_coverage: float
    """So may one that has this much of the question's words (see Hit). 1 where the store cannot tell."""
    source: str


_STARTING_POINT = (
    "no measurement: with the sandbox's stand-in for this model 0.08 refuses hardly any question that has an answer, and "
    "few that have none; measure with scripts/evaluate --env"
)

CALIBRATIONS = {
    ("faiss", "amazon.titan-embed-text-v2:0"): Calibration(
        0.25,
        0.14,
        "scripts/evaluate --thresholds, XQuAD in English, Spanish and Vietnamese, with the sandbox's stand-in for this "
        "model: of the questions that hybrid search answers 0.7 to 1.8 % are refused, of those without an answer 54 to "
        "70 %. Not measured with the model itself",
    ),
    ("s3vectors", "amazon.titan-embed-text-v2:0"): Calibration(0.08, 1.0, _STARTING_POINT),
    ("opensearch", "amazon.titan-embed-text-v2:0"): Calibration(0.08, 1.0, _STARTING_POINT),
}
"""By store and embedding model."""

UNKNOWN = Calibration(0.08, 1.0, "no measurement for this store and embedding model: see docs/how-to/measure-retrieval.md")


def calibration(vector_store: str, embedding_model: str) -> Calibration:
    """The numbers for a store and an embedder; those of no measurement where there is none."""
    return CALIBRATIONS.get((vector_store, embedding_model), UNKNOWN)
