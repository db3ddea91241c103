"""Ollama as the language model, when it answers at its usual address (or at `OLLAMA_HOST`)."""

import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sandbox.models.tools import Tool, ToolUse

_PROBE_AGE = 10.0


class ToolsUnsupported(Exception):
    """The model cannot use tools."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation; role is `system`, `user`, `assistant`, or `tool` for one tool's result."""

    role: str
    text: str
    tool_uses: tuple[ToolUse, ...] = ()
    tool_name: str = ""

    def as_ollama(self) -> dict[str, Any]:
        """The message as Ollama takes it."""
        uses = [{"function": {"name": use.name, "arguments": use.arguments}} for use in self.tool_uses]
        given = {"tool_calls": uses, "tool_name": self.tool_name}
        return {"role": self.role, "content": self.text} | {name: value for name, value in given.items() if value}


class Ollama:
    """Finds out now and then whether Ollama answers, and with which model."""

    def __init__(self, host: str | None = None) -> None:
        address = host or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
        self._client = httpx.AsyncClient(
            base_url=address if "://" in address else f"http://{address}",
            timeout=httpx.Timeout(120, connect=0.5),
            trust_env=False,
        )
        self._model: str | None = None
        self._probed_at: float | None = None

    async def model(self) -> str | None:
        """The model that would answer: `OLLAMA_MODEL`, else the one used last; None when Ollama is not there."""
        if self._probed_at is None or time.monotonic() - self._probed_at > _PROBE_AGE:
            self._probed_at = time.monotonic()
            self._model = await self._probe()
        return self._model

    async def _probe(self) -> str | None:
        try:
            listed = (await self._client.get("/api/tags", timeout=1)).json().get("models", [])
        except (httpx.HTTPError, ValueError):
            return None
        names = [item["name"] for item in sorted(listed, key=lambda item: item.get("modified_at", ""), reverse=True)]
        talking = [name for name in names if "embed" not in name]
        return os.environ.get("OLLAMA_MODEL") or (talking[0] if talking else None)

    async def stream(
        self, model: str, messages: Sequence[Message], options: dict[str, Any], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[str | ToolUse]:
        """The answer in pieces, as they come. Raises `httpx.HTTPError` or ToolsUnsupported."""
        body: dict[str, Any] = {"model": model, "messages": [m.as_ollama() for m in messages], "options": options}
        if tools:
            body["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in tools
            ]
        async with self._client.stream("POST", "/api/chat", json=body) as response:
            if response.status_code == 400 and b"does not support tools" in await response.aread():
                raise ToolsUnsupported
            response.raise_for_status()
            async for line in response.aiter_lines():
                message = json.loads(line).get("message", {}) if line else {}
                if piece := message.get("content", ""):
                    yield piece
                for call in message.get("tool_calls") or []:
                    yield ToolUse(call["function"]["name"], call["function"].get("arguments") or {})
