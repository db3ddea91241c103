"""Nova 2 Sonic's input events: read, checked for their order and limits, and put together.

From "Handling input events" in the Nova 2 user guide, with the limits that its users report. The service says only
"Invalid input request"; the rest of each message here says why.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.models.speech.duplex import ServiceError
from sandbox.models.speech.voices import NOVA, Voice
from sandbox.models.tools import Tool

INPUT_RATES = (8_000, 16_000, 24_000)
OUTPUT_RATES = (8_000, 16_000, 24_000)
MESSAGE_BYTES, HISTORY_BYTES = 50 * 1024, 200 * 1024
# How long a user may pause without ending the turn, by `endpointingSensitivity` ("Turn-taking controllability").
PAUSES: Mapping[str, float] = {"HIGH": 1.5, "MEDIUM": 1.75, "LOW": 2.0}
_ROLES = {"TEXT": ("SYSTEM", "USER", "ASSISTANT"), "AUDIO": ("USER",), "TOOL": ("TOOL",)}
_PAYLOADS = {"textInput": "TEXT", "audioInput": "AUDIO", "toolResult": "TOOL"}


@dataclass(frozen=True)
class SessionStart:
    """The session's settings: how long a pause ends a turn, and the inference options."""

    pause: float
    max_tokens: int


@dataclass(frozen=True)
class PromptStart:
    """How the model speaks, and with which tools."""

    name: str
    voice: Voice
    rate: int
    tools: tuple[Tool, ...]


@dataclass(frozen=True)
class Text:
    """A whole text: the system prompt, a message of the history, or (`interactive`) something the user typed."""

    role: str
    text: str
    interactive: bool


@dataclass(frozen=True)
class Audio:
    """Samples of the user's microphone."""

    pcm: bytes
    rate: int


@dataclass(frozen=True)
class AudioEnd:
    """The user's microphone is closed."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool found."""

    tool_use_id: str
    content: str


@dataclass(frozen=True)
class PromptEnd:
    """Nothing more will be asked."""


@dataclass(frozen=True)
class SessionEnd:
    """The client leaves."""


type Input = SessionStart | PromptStart | Text | Audio | AudioEnd | ToolResult | PromptEnd | SessionEnd


@dataclass
class _Content:
    type: str
    role: str
    interactive: bool
    rate: int = 0
    tool_use_id: str = ""
    parts: list[str] = field(default_factory=list)


class Inputs:
    """Takes one event after another; each method raises `ServiceError` for what the service refuses."""

    def __init__(self) -> None:
        self._stage = "new"
        self._prompt = ""
        self._contents: dict[str, _Content] = {}
        self._used: set[str] = set()
        self._history = 0
        self._has_history = False
        self._has_system = False
        self._heard_user = False
        self._readers: dict[str, Callable[[Mapping[str, Any]], Input | None]] = {
            "sessionStart": self._session_start,
            "promptStart": self._prompt_start,
            "contentStart": self._content_start,
            "textInput": self._payload,
            "audioInput": self._payload,
            "toolResult": self._payload,
            "contentEnd": self._content_end,
            "promptEnd": self._prompt_end,
            "sessionEnd": self._session_end,
        }
        self._event = ""

    def take(self, payload: bytes) -> Input | None:
        """What an event completes, if anything."""
        try:
            event = json.loads(payload)["event"]
            ((name, body),) = event.items()
            reader = self._readers[name]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise invalid("an event is {'event': {its name: its fields}}") from None
        if not isinstance(body, dict):
            raise invalid(f"{name} holds no fields")
        if (self._stage == "new") != (name == "sessionStart"):
            raise invalid("a session begins with one sessionStart")
        if self._stage == "ended":
            raise invalid(f"{name} came after sessionEnd")
        self._event = name
        try:
            return reader(body)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise invalid(f"{name} is wrong or incomplete: {error!r}") from None

    def _session_start(self, body: Mapping[str, Any]) -> SessionStart:
        _only(body, "inferenceConfiguration", "turnDetectionConfiguration")
        turn_taking = body.get("turnDetectionConfiguration", {})
        _only(turn_taking, "endpointingSensitivity")
        sensitivity = turn_taking.get("endpointingSensitivity", "HIGH")
        if sensitivity not in PAUSES:
            raise invalid(f"endpointingSensitivity is one of {', '.join(PAUSES)}")
        inference = body["inferenceConfiguration"]
        _only(inference, "maxTokens", "topP", "temperature")
        self._stage = "session"
        return SessionStart(PAUSES[sensitivity], int(inference.get("maxTokens", 1024)))

    def _prompt_start(self, body: Mapping[str, Any]) -> PromptStart:
        if self._stage != "session":
            raise invalid("a session has one promptStart")
        output = body["audioOutputConfiguration"]
        voice = NOVA.get(output["voiceId"])
        if voice is None:
            raise invalid(f"voiceId is one of {', '.join(NOVA)}")
        if output["mediaType"] != "audio/lpcm" or output["sampleRateHertz"] not in OUTPUT_RATES:
            raise invalid(f"audio comes as audio/lpcm at one of {OUTPUT_RATES}")
        specifications = [tool["toolSpec"] for tool in body.get("toolConfiguration", {}).get("tools", [])]
        tools = tuple(
            Tool(tool["name"], tool.get("description", ""), json.loads(tool["inputSchema"]["json"]))
            for tool in specifications
        )
        self._stage, self._prompt = "prompt", str(body["promptName"])
        return PromptStart(self._prompt, voice, output["sampleRateHertz"], tools)

    def _content_start(self, body: Mapping[str, Any]) -> None:
        name = self._named(body)
        content = _Content(body["type"], body["role"], bool(body.get("interactive", False)))
        if content.role not in _ROLES[content.type]:
            raise invalid(f"{content.role} is no role of {content.type}")
        if name in self._used:
            raise invalid("a contentName is used once")
        if content.type == "AUDIO":
            audio = body["audioInputConfiguration"]
            content.rate = audio["sampleRateHertz"]
            if audio["mediaType"] != "audio/lpcm" or audio["sampleSizeBits"] != 16 or audio["channelCount"] != 1:
                raise invalid("audio goes as audio/lpcm of 16 bits and one channel")
            if content.rate not in INPUT_RATES:
                raise invalid(f"sampleRateHertz is one of {INPUT_RATES}")
        elif content.type == "TOOL":
            content.tool_use_id = str(body["toolResultInputConfiguration"]["toolUseId"])
        else:
            self._check_text(content)
        if content.interactive:
            if not self._has_system:
                raise invalid("the system prompt comes before what the user says")
            self._heard_user = True
        self._used.add(name)
        self._contents[name] = content

    def _check_text(self, content: _Content) -> None:
        if content.role == "SYSTEM":
            if self._has_system:
                raise invalid("there is one system prompt")
            self._has_system = True
            return
        if not self._has_system:
            raise invalid("the system prompt comes first")
        if content.interactive and content.role != "USER":
            raise invalid("interactive text comes from the user")
        if content.interactive:
            return
        if self._heard_user:
            raise invalid("the history goes before what the user says")
        if not self._has_history and content.role != "USER":
            raise invalid("the first message of the history must be from the USER")
        self._has_history = True

    def _payload(self, body: Mapping[str, Any]) -> Input | None:
        content = self._open(body)
        if content.type != _PAYLOADS[self._event]:
            raise invalid(f"{self._event} does not belong into {content.type}")
        if content.type == "AUDIO":
            pcm = base64.b64decode(body["content"], validate=True)
            if len(pcm) % 2:
                raise invalid("16-bit audio has an even number of bytes")
            return Audio(pcm, content.rate)
        if not isinstance(body["content"], str):
            raise invalid("content is text")
        content.parts.append(body["content"])
        size = sum(len(part.encode()) for part in content.parts)
        if content.type == "TEXT" and content.role != "SYSTEM" and not content.interactive:
            self._history += len(body["content"].encode())
            if size > MESSAGE_BYTES or self._history > HISTORY_BYTES:
                raise ServiceError("ValidationException", "Chat history is over max limit")
        return None

    def _content_end(self, body: Mapping[str, Any]) -> Input | None:
        content = self._open(body)
        del self._contents[str(body["contentName"])]
        text = "".join(content.parts)
        if content.type == "AUDIO":
            return AudioEnd()
        if content.type == "TOOL":
            return ToolResult(content.tool_use_id, text)
        if not text.strip():
            raise invalid("a text is empty")
        return Text(content.role, text, content.interactive)

    def _prompt_end(self, body: Mapping[str, Any]) -> PromptEnd:
        self._check_prompt(body)
        if self._contents:
            raise invalid("promptEnd comes after the last contentEnd")
        self._stage = "after"
        return PromptEnd()

    def _session_end(self, body: Mapping[str, Any]) -> SessionEnd:
        self._stage = "ended"
        return SessionEnd()

    def _named(self, body: Mapping[str, Any]) -> str:
        self._check_prompt(body)
        return str(body["contentName"])

    def _open(self, body: Mapping[str, Any]) -> _Content:
        content = self._contents.get(self._named(body))
        if content is None:
            raise invalid("there is no open content of this name")
        return content

    def _check_prompt(self, body: Mapping[str, Any]) -> None:
        if self._stage != "prompt" or body["promptName"] != self._prompt:
            raise invalid("there is no open prompt of this name")


def invalid(reason: str) -> ServiceError:
    """What the service says to a malformed event, with the reason that it keeps to itself."""
    return ServiceError("ValidationException", f"Invalid input request, please fix your input and try again: {reason}.")


def _only(body: Mapping[str, Any], *known: str) -> None:
    # The service has refused unknown fields since mid-2026 (livekit/agents issue 6200).
    if unknown := body.keys() - set(known):
        raise invalid(f"{min(unknown)} is not permitted here")
