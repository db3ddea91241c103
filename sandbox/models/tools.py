"""Tools that a model is offered, and when the models without weights use one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.models.text import STOP_WORDS, words

_SEARCHES = re.compile(r"search|knowledge|retriev|look_?up|document", re.IGNORECASE)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class Tool:
    """A tool that the client offers; `schema` is its input's JSON schema."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class ToolUse:
    """The model asks for a tool."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


def choose(tools: Sequence[Tool], said: str) -> Tool | None:
    """The tool that a user's words ask for: one whose name they use, else a search when they are about anything."""
    asked = {word for word in words(said) if word not in STOP_WORDS}
    if not asked:
        return None
    searches = [tool for tool in tools if _SEARCHES.search(tool.name)]
    others = [tool for tool in tools if tool not in searches]
    for tool in others:
        if asked & {word for part in _PARTS.findall(tool.name) for word in words(part)} - STOP_WORDS:
            return tool
    return searches[0] if searches else None


def arguments(tool: Tool, said: str) -> dict[str, Any]:
    """The tool's required inputs: the user's words where it wants text, the least value elsewhere."""
    properties = tool.schema.get("properties", {})
    wanted = tool.schema.get("required") or list(properties)[:1]
    return {name: _argument(properties.get(name, {}), said) for name in wanted}


def _argument(schema: Any, said: str) -> Any:
    if schema.get("enum"):
        return next((value for value in schema["enum"] if str(value).lower() in said.lower()), schema["enum"][0])
    kind = schema.get("type", "string")
    return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": False}.get(kind, said)
