"""Nova 2 Sonic's output events: content blocks, one after another, within one completion."""

import base64
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

type Stage = Literal["SPECULATIVE", "FINAL"]
type StopReason = Literal["PARTIAL_TURN", "END_TURN", "INTERRUPTED", "TOOL_USE"]
# What the service sends, to the letter, where the user interrupted: samples and frameworks compare it as a string.
INTERRUPTED_TEXT = '{ "interrupted" : true }'
# Speech tokens are counted like this here; the service's own count is not documented.
_SPEECH_TOKENS_A_SECOND = 25


class Outputs:
    """Writes the events of one session; `send` takes each as JSON."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], rate: int, prompt: str) -> None:
        self._send = send
        self._rate = rate
        self._ids = {"sessionId": str(uuid.uuid4()), "promptName": prompt, "completionId": str(uuid.uuid4())}
        self._totals = {"input": {"speechTokens": 0, "textTokens": 0}, "output": {"speechTokens": 0, "textTokens": 0}}
        self._started = False

    async def start(self) -> None:
        """Open the completion, once."""
        if not self._started:
            self._started = True
            await self._event("completionStart", {})

    async def text(self, role: str, text: str, stage: Stage, stop: StopReason = "PARTIAL_TURN") -> None:
        """A whole text block."""
        content = await self._begin("TEXT", role, {"textOutputConfiguration": {"mediaType": "text/plain"}}, stage)
        await self._event("textOutput", {"contentId": content, "role": role, "content": text})
        await self._end(content, "TEXT", stop)

    async def tool_use(self, tool_use_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """A whole tool block; its result will name the id."""
        content = await self._begin("TOOL", "TOOL", {"toolUseOutputConfiguration": {"mediaType": "application/json"}})
        fields = {"contentId": content, "role": "TOOL", "toolName": name, "toolUseId": tool_use_id}
        await self._event("toolUse", fields | {"content": json.dumps(arguments, ensure_ascii=False)})
        await self._end(content, "TOOL", "TOOL_USE")

    async def begin_audio(self) -> str:
        """Open an audio block; returns its id."""
        audio = {
            "mediaType": "audio/lpcm",
            "sampleRateHertz": self._rate,
            "sampleSizeBits": 16,
            "encoding": "base64",
            "channelCount": 1,
        }
        return await self._begin("AUDIO", "ASSISTANT", {"audioOutputConfiguration": audio})

    async def audio(self, content: str, pcm: bytes) -> None:
        """Some samples."""
        await self._event("audioOutput", {"contentId": content, "content": base64.b64encode(pcm).decode()})

    async def end_audio(self, content: str, stop: StopReason) -> None:
        """Close an audio block."""
        await self._end(content, "AUDIO", stop)

    async def usage(self, *, heard: float, read: int, spoken: float, written: int) -> None:
        """What a turn took: seconds of speech and tokens of text."""
        delta = {
            "input": {"speechTokens": round(heard * _SPEECH_TOKENS_A_SECOND), "textTokens": read},
            "output": {"speechTokens": round(spoken * _SPEECH_TOKENS_A_SECOND), "textTokens": written},
        }
        for side, counts in delta.items():
            for kind, count in counts.items():
                self._totals[side][kind] += count
        taken, given = (sum(self._totals[side].values()) for side in ("input", "output"))
        totals = {"totalInputTokens": taken, "totalOutputTokens": given, "totalTokens": taken + given}
        await self._event("usageEvent", {"details": {"delta": delta, "total": self._totals}} | totals)

    async def finish(self) -> None:
        """Close the completion, if one is open."""
        if self._started:
            self._started = False
            await self._event("completionEnd", {"stopReason": "END_TURN"})

    async def _begin(self, kind: str, role: str, configuration: Mapping[str, Any], stage: Stage | None = None) -> str:
        content = str(uuid.uuid4())
        fields: dict[str, Any] = {"contentId": content, "type": kind, "role": role, **configuration}
        if stage:
            fields["additionalModelFields"] = json.dumps({"generationStage": stage}, separators=(",", ":"))
        await self._event("contentStart", fields)
        return content

    async def _end(self, content: str, kind: str, stop: StopReason) -> None:
        await self._event("contentEnd", {"contentId": content, "type": kind, "stopReason": stop})

    async def _event(self, name: str, fields: Mapping[str, Any]) -> None:
        await self._send(json.dumps({"event": {name: self._ids | dict(fields)}}, ensure_ascii=False).encode())
