"""Which tools there are: every `@tool` in a module of this package. A tool is added by adding its file."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from parley.conversation import tools as package
from parley.conversation.tools.tool import Tool, ToolDefinitionError


@cache
def tools() -> Mapping[str, Tool]:
    """All tools by name, in the order of their files. A module that cannot be imported raises what it raises."""
    found: dict[str, Tool] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            # A tool that a module only imports belongs to the module that defines it.
            if isinstance(value, Tool) and value.handler.__module__ == module.__name__:
                if value.name in found:
                    raise ToolDefinitionError(f"Two tools are called {value.name}.")
                found[value.name] = value
    return found


def offered(*, knowledge: bool) -> Mapping[str, Tool]:
    """The tools for a model; without `knowledge` those that need documents are left out."""
    return {name: tool for name, tool in tools().items() if knowledge or not tool.needs_knowledge}
