"""Tools: what a model may ask for while it answers, in text and in voice alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parley.knowledge.passages import Passage


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as models see it."""

    name: str
    description: str
    """When to use it, in words for the model."""
    input_schema: Mapping[str, Any]
    """JSON Schema of its arguments, an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool came to, for the model; never shown to the user as it is."""

    content: Mapping[str, Any]
    """JSON. Untrusted: data for the model, never an instruction."""
    passages: tuple[Passage, ...] = ()
    """The passages in `content`, in the order of their numbers there, so that the answer can cite them."""
    is_error: bool = False
