"""Converse: a request's messages and tools, read as strictly as the service reads them, and an answer's blocks."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.models.ollama import Message
from sandbox.models.tools import Tool, ToolUse

GUARDRAIL_REFUSES = "ignore all previous instructions"
"""What the sandbox's guardrail takes for an attack. The service judges by meaning; this is for trying the protocol."""

GUARDRAIL_SAYS = "I cannot help with that."

type Event = tuple[str, dict[str, Any]]


class InvalidRequest(ValueError):
    """The service would refuse the request with this message."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a model."""

    messages: tuple[Message, ...]
    options: dict[str, Any]
    tools: tuple[Tool, ...]
    blocked: bool = False
    """Does the request's guardrail refuse it?"""


def read_converse(body: dict[str, Any]) -> Asked:
    """A request's body. Raises InvalidRequest."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("A conversation must start with a user message.")
    system = " ".join(block.get("text", "") for block in body.get("system") or [])
    read = [Message("system", system)] if system else []
    expected = "user"
    uses: tuple[ToolUse, ...] = ()
    for number, item in enumerate(messages):
        role = item.get("role") if isinstance(item, dict) else None
        blocks = item.get("content") if isinstance(item, dict) else None
        if role != expected:
            raise InvalidRequest(
                "A conversation must alternate between user and assistant roles and start with a user message."
            )
        if not isinstance(blocks, list) or not blocks or not all(isinstance(block, dict) for block in blocks):
            raise InvalidRequest(
                "The content field in the Message object is empty. Add a ContentBlock object and try again."
            )
        results = list(_results(blocks, uses, number))
        uses = tuple(
            ToolUse(block["toolUse"]["name"], block["toolUse"]["input"], block["toolUse"]["toolUseId"])
            for block in blocks
            if "toolUse" in block
        )
        texts = [_text(block) for block in blocks if "text" in block or "guardContent" in block]
        if not all(text.strip() for text in texts) or not (texts or results or uses):
            raise InvalidRequest(
                "The text field in the ContentBlock object is blank. Add text to the text field, and try again."
            )
        if (results or uses) and not body.get("toolConfig"):
            raise InvalidRequest(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            )
        read += results
        if texts or uses:
            read.append(Message(role, "\n".join(texts), uses))
        expected = "assistant" if role == "user" else "user"
    if expected == "user":
        raise InvalidRequest("The model does not support assistant message prefill.")
    inference = body.get("inferenceConfig") or {}
    options = {"num_predict": inference.get("maxTokens"), "temperature": inference.get("temperature")}
    given = {name: value for name, value in options.items() if value is not None}
    return Asked(tuple(read), given, tuple(_tools(body)), _is_blocked(body))


def _text(block: Mapping[str, Any]) -> str:
    if "guardContent" in block:
        return str(block["guardContent"]["text"]["text"])
    return str(block["text"])


def _is_blocked(body: Mapping[str, Any]) -> bool:
    """Whether the guardrail that the request names refuses the question: here, one that holds GUARDRAIL_REFUSES.

    As in the service, it judges the blocks that are marked for it, or everything when none is.
    """
    configuration = body.get("guardrailConfig")
    if configuration is None:
        return False
    if not configuration.get("guardrailIdentifier") or not configuration.get("guardrailVersion"):
        raise InvalidRequest("The guardrailConfig needs a guardrailIdentifier and a guardrailVersion.")
    blocks = [block for message in body["messages"] for block in message["content"]]
    judged = [block for block in blocks if "guardContent" in block] or [block for block in blocks if "text" in block]
    return any(GUARDRAIL_REFUSES in _text(block).lower() for block in judged)


def results_of(messages: Sequence[Message]) -> list[Mapping[str, Any]]:
    """What tools gave for the last question."""
    results: list[Mapping[str, Any]] = []
    for message in messages:
        if message.role == "user":
            results.clear()
        elif message.role == "tool":
            results.append(json.loads(message.text))
    return results


class StreamedBlocks:
    """The events of an answer's blocks, piece by piece."""

    def __init__(self) -> None:
        self._index = 0
        self._speaks = False
        self._uses_tools = False

    def events(self, piece: str | ToolUse) -> Iterator[Event]:
        """The events of the next piece."""
        if isinstance(piece, str):
            self._speaks = True
            yield "contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": self._index}
            return
        yield from self._close()
        self._uses_tools = True
        yield "contentBlockStart", {"start": {"toolUse": tool_use_start(piece)}, "contentBlockIndex": self._index}
        written = json.dumps(piece.arguments, ensure_ascii=False)
        # As the service does it, the arguments come in pieces that are no JSON by themselves.
        for part in (written[:5], written[5:]):
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": part}}, "contentBlockIndex": self._index}
        self._speaks = True
        yield from self._close()

    def end(self, reason: str | None = None) -> Iterator[Event]:
        """The events that end the message, for this reason or the one that its blocks give."""
        yield from self._close()
        yield "messageStop", {"stopReason": reason or ("tool_use" if self._uses_tools else "end_turn")}

    def _close(self) -> Iterator[Event]:
        if self._speaks:
            yield "contentBlockStop", {"contentBlockIndex": self._index}
            self._index += 1
            self._speaks = False


def tool_use_start(use: ToolUse) -> dict[str, Any]:
    """A use as the service announces it."""
    return {"toolUseId": use.id or f"tooluse_{uuid.uuid4().hex[:22]}", "name": use.name}


def _results(blocks: Sequence[dict[str, Any]], uses: Sequence[ToolUse], number: int) -> Iterator[Message]:
    given = {block["toolResult"]["toolUseId"]: block["toolResult"] for block in blocks if "toolResult" in block}
    missing = [use.id for use in uses if use.id not in given]
    if missing:
        raise InvalidRequest(
            f"Expected toolResult blocks at messages.{number}.content for the following Ids: {', '.join(missing)}"
        )
    if len(given) > len(uses):
        raise InvalidRequest(
            f"The number of toolResult blocks at messages.{number}.content exceeds the number of toolUse blocks of "
            "previous turn."
        )
    for use in uses:
        contents = given[use.id]["content"]
        found = [block["json"] if "json" in block else {"text": block.get("text", "")} for block in contents]
        yield Message("tool", json.dumps(found[0] if found else {}, ensure_ascii=False), tool_name=use.name)


def _tools(body: dict[str, Any]) -> Iterator[Tool]:
    configuration = body.get("toolConfig")
    if configuration is None:
        return
    listed = configuration.get("tools") if isinstance(configuration, dict) else None
    if not listed:
        raise InvalidRequest("The toolConfig.tools field must hold at least one tool.")
    for item in listed:
        specification = item["toolSpec"]
        schema = specification["inputSchema"]["json"]
        if schema.get("type") != "object":
            raise InvalidRequest(
                "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."
            )
        yield Tool(specification["name"], specification.get("description", ""), schema)
