"""Chunks, and how the vector index names them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

type FieldValue = str | int | float | bool

type Metadata = dict[str, FieldValue]
"""A record's fields by name."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document small enough to embed: about 512 tokens."""

    number: int
    """Its place among the document's chunks, from 0."""
    text: str
    heading: str = ""
    """The heading path to it ("The sandbox > Gateway"); empty where the document has no headings."""
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)
    """The fields of the record it is, where its document is a list of records."""

    def embedded_text(self) -> str:
        """What its embedding is made from: the headings say what a paragraph full of "it" is about."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text

    def embedded_digest(self) -> str:
        """What tells whether an embedding was made from this text: it differs whenever `embedded_text` does."""
        return hashlib.sha256(self.embedded_text().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChunkId:
    """A chunk of one version of one document; unique in the knowledge base."""

    owner: str
    document_id: str
    version: str
    number: int


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk as the vector index holds it."""

    id: ChunkId
    vector: Sequence[float]
    text: str = ""
    """What its vector was made from, for stores that also search by words."""
    metadata: Metadata = field(default_factory=dict)
    """The fields it can be filtered by: `filterable` has cut them to what every store can hold."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found, with its cosine similarity to the query."""

    id: ChunkId
    score: float
    coverage: float = 0.0
    """How much of the question's words it has, in [0, 1]: its BM25 score as a share of the highest that any text could
    have. The words that the index does not know count most. 0 where the store cannot tell."""
