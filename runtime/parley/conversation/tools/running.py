"""Running a tool: whatever happens in it, the model gets a result, in time and of a bounded size."""

import contextlib
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from parley.conversation.deadline import Deadline
from parley.conversation.tools.tool import Tool, ToolCall, ToolResult
from parley.errors import ParleyError

TOOL_SECONDS = 8.0
"""The longest that an answer waits for one tool: as long as it waits for passages."""

RESULT_CHARACTERS = 24_000
"""Characters of a result's JSON: about 6,000 tokens, twice what a search gives."""

RUNNING_TOOLS = 16
"""Handlers that may run in one process, those nobody waits for any more included: a thread cannot be stopped."""

_places = threading.BoundedSemaphore(RUNNING_TOOLS)


def run_tool(call: ToolCall, tools: Mapping[str, Tool], *, timeout_seconds: float = TOOL_SECONDS) -> ToolResult:
    """The result of one of `tools` (those that the model was offered), at the latest after `timeout_seconds`.

    Never raises for what a model or a handler does: that is a result with `is_error`. Blocks; an event loop calls it
    in a thread.
    """
    tool = tools.get(call.name)
    if tool is None:
        return _error("unknown_tool", "There is no such tool.")
    try:
        # Not strict: models write numbers as texts.
        arguments = msgspec.convert(call.arguments, tool.arguments, strict=False)
    except msgspec.ValidationError as error:
        return _error("bad_arguments", f"These arguments do not fit the tool's schema: {error}")
    seconds = min(timeout_seconds, call.deadline.remaining)
    if seconds <= 0:
        return _error("timeout", "There is no time left for this tool.")
    if not _places.acquire(blocking=False):
        return _error("timeout", "Too many tools are running; go on without this one.")
    outcomes: SimpleQueue[ToolResult] = SimpleQueue()
    limited = msgspec.structs.replace(call, deadline=Deadline.after(seconds, call.deadline.clock))

    def work() -> None:
        try:
            outcomes.put(_outcome(tool, arguments, limited))
        finally:
            _places.release()

    # A daemon, because a process that ends does not wait for it.
    threading.Thread(target=work, name=f"tool-{tool.name}", daemon=True).start()
    with contextlib.suppress(Empty):
        return outcomes.get(timeout=seconds)
    return _error("timeout", "The tool took too long; go on without it.")


def _outcome(tool: Tool, arguments: msgspec.Struct, call: ToolCall) -> ToolResult:
    try:
        result = tool.handler(arguments, call)
        encoded = msgspec.json.encode(result.content)
        content = msgspec.json.decode(encoded, type=dict[str, Any])
    except ParleyError as error:
        return _error(type(error).__name__, error.message)
    # A tool is an application's own code: it may raise anything, and its message may hold anything.
    except Exception as error:
        return _error(type(error).__name__, "The tool failed; go on without it.")
    if (size := len(encoded.decode())) > RESULT_CHARACTERS:
        return _error("too_large", f"The result has {size} characters, more than {RESULT_CHARACTERS}: ask for less.")
    return msgspec.structs.replace(result, content=content)


def _error(kind: str, message: str) -> ToolResult:
    return ToolResult(content={"error": message}, is_error=True, error_kind=kind)
