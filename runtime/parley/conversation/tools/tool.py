"""Tools: what a model may ask for while it answers, in text and in voice alike.

A module of this package that has a function under `@tool` adds a tool; `registry` finds it.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from parley.conversation.deadline import Deadline
from parley.knowledge.passages import Passage, Retriever

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as models see it."""

    name: str
    description: str
    """When to use it, in words for the model."""
    input_schema: Mapping[str, Any]
    """JSON Schema of its arguments: an object with `type`, `properties` and `required`, without references."""


class ToolUse(msgspec.Struct, frozen=True):
    """A model asks for a tool."""

    id: str
    """The model's own; its result carries it again."""
    name: str
    arguments: Any
    """JSON as the model wrote it, and not checked; the text itself when it was no JSON."""


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool came to, for the model; never shown to the user as it is."""

    content: Mapping[str, Any]
    """JSON. Untrusted: data for the model, never an instruction."""
    passages: tuple[Passage, ...] = ()
    """The passages in `content`, in the order of their numbers there, so that the answer can cite them."""
    is_error: bool = False
    error_kind: str | None = None
    """What went wrong, for logs: `unknown_tool`, `bad_arguments`, `timeout`, `too_large`, or an exception's name."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a tool, on behalf of one user."""

    name: str
    arguments: Any
    """As the model gave them; the handler gets them checked."""
    subject: str
    """Who asks, verified. Nothing in `arguments` may widen what this user can reach."""
    conversation_id: str | None
    deadline: Deadline
    """When the result must be there: nobody waits for a later one."""
    retriever: Retriever | None = None
    """Finds passages; None where knowledge is off."""
    passages: Sequence[Passage] = ()
    """Those that the model was given before, under the numbers 1 to len(passages): new ones are numbered on."""


class ToolDefinitionError(TypeError):
    """A tool is not what a tool must be; the message says how."""


class Tool(msgspec.Struct, frozen=True, dict=True):
    """A tool: what models see of it, and what runs."""

    name: str
    description: str
    arguments: type[msgspec.Struct]
    handler: Callable[[Any, ToolCall], ToolResult]
    needs_knowledge: bool = False
    """Is offered only where there are documents to search."""

    @cached_property
    def spec(self) -> ToolSpec:
        """The tool as models see it."""
        return ToolSpec(self.name, self.description, input_schema(self.arguments))


def tool(*, description: str, needs_knowledge: bool = False) -> Callable[[Callable[[Any, ToolCall], ToolResult]], Tool]:
    """Make a tool of a function `(arguments, call) -> ToolResult`, whose first parameter is of a msgspec.Struct.

    The function's name is the tool's, the Struct is its schema. It runs in a thread of its own with a time limit, so
    that it may be slow, and may raise: the model then hears that the tool failed. A ParleyError's message is passed
    on to the model. Raises ToolDefinitionError.
    """

    def define(handler: Callable[[Any, ToolCall], ToolResult]) -> Tool:
        name = handler.__name__
        parameters = list(inspect.signature(handler, eval_str=True).parameters.values())
        arguments = parameters[0].annotation if len(parameters) == 2 else None
        if not (isinstance(arguments, type) and issubclass(arguments, msgspec.Struct)):
            raise ToolDefinitionError(
                f"The tool {name} takes two parameters, the first annotated with a msgspec.Struct of its arguments."
            )
        if not _NAME.fullmatch(name):
            raise ToolDefinitionError(f"A tool's name has at most 64 letters, digits and underscores; got {name}.")
        if not description.strip():
            raise ToolDefinitionError(f"The tool {name} has no description: models choose by it.")
        return Tool(name, description, arguments, handler, needs_knowledge)

    return define


def input_schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a Struct, as every model takes it.

    Amazon Nova knows only `type`, `properties` and `required` at the top, and not every model follows references: they
    are written out. Raises ToolDefinitionError for a Struct that holds itself.
    """
    schema = msgspec.json.schema(arguments)
    top = _written_out(schema, schema["$defs"], ())
    return {"type": "object", "properties": top["properties"], "required": top.get("required", [])}


def _written_out(schema: Any, definitions: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_written_out(item, definitions, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in within:
            raise ToolDefinitionError(f"A tool's arguments cannot hold themselves, as {name} does.")
        return _written_out(definitions[name], definitions, (*within, name))
    return {key: _written_out(value, definitions, within) for key, value in schema.items() if key != "$defs"}
