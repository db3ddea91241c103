"""What tests say and compare as users of the shared sandbox, whose people are `sandbox.people`'s."""

import uuid
from typing import Any

from sandbox.people import ANSWER_SECONDS, Connected, Person, Sandbox

__all__ = ["ANSWER_SECONDS", "Connected", "Person", "Sandbox", "unique", "without_links"]


def unique(text: str) -> str:
    """`text` with a word in it that nobody else says."""
    return f"{text} ({uuid.uuid4().hex})"


def without_links(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of POST /chat as it is stored: a fresh one also links to the documents that it cites."""
    return answer | {"citations": [citation | {"source_url": None} for citation in answer["citations"]]}
