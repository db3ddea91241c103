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


_SIMILARITY_ALONE = (
    "as for faiss, by similarity alone and not in this store: chosen on even articles; on odd ones it refuses 0.9 to "
    "1.6 % of the questions with an answer, and 9 to 37 % of those without; measure with scripts/evaluate --env"
)

CALIBRATIONS = {
    ("faiss", "amazon.titan-embed-text-v2:0"): Calibration(
        0.25,
        0.14,
        "scripts/evaluate --thresholds, XQuAD in English, Spanish and Vietnamese, with the sandbox's lexical stand-in "
        "for this model: chosen on even articles; on odd ones it refuses 0.7 to 1.7 % of the questions that hybrid "
        "search answers, and 51 to 67 % of those without an answer. Not measured with the model itself",
    ),
    ("s3vectors", "amazon.titan-embed-text-v2:0"): Calibration(0.12, 1.0, _SIMILARITY_ALONE),
    ("opensearch", "amazon.titan-embed-text-v2:0"): Calibration(0.12, 1.0, _SIMILARITY_ALONE),
}
"""By store and embedding model."""

UNKNOWN = Calibration(0.08, 1.0, "no measurement for this store and model: see docs/how-to/measure-retrieval.md")


def calibration(vector_store: str, embedding_model: str) -> Calibration:
    """The numbers for a store and an embedder; those of no measurement where there is none."""
    return CALIBRATIONS.get((vector_store, embedding_model), UNKNOWN)
