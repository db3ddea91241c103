"""Nova 2 Sonic's events: what is sent to it, and what comes back.

docs.aws.amazon.com/nova/latest/nova2-userguide/sonic-input-events.html and sonic-output-events.html.
"""

import base64
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from parley.conversation.models import Message
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.speech.audio import FRAME_SECONDS, INPUT_RATE, OUTPUT_RATE, input_bytes

type Event = Mapping[str, Any]
type Sensitivity = Literal["HIGH", "MEDIUM", "LOW"]

MESSAGE_BYTES, HISTORY_BYTES = 50 * 1024, 200 * 1024
"""What the service takes of the history: in one message, and in all."""

PIECE_BYTES = input_bytes(FRAME_SECONDS)
"""Audio in one event at most: a client's frame. Frames come whole, so that cutting them would make nothing earlier, and
the SDK's work is a signature for each event. Amazon documents no limit: the guide speaks of "approximately 32 ms", its
example (docs.aws.amazon.com/nova/latest/userguide/s2s-example.html) sends 64 ms."""

_PLAIN = {"mediaType": "text/plain"}
_JSON = {"mediaType": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the model answers, and how soon: a pause of 1.5 s (`HIGH`), 1.75 s or 2 s (`LOW`) ends an utterance."""

    max_tokens: int = 1024
    top_p: float = 0.9
    temperature: float = 0.7
    sensitivity: Sensitivity = "HIGH"


class Script:
    """Writes the events of one session in their order, each as the service wants it."""

    def __init__(self) -> None:
        self._prompt = str(uuid.uuid4())
        self._microphone = str(uuid.uuid4())

    def opening(
        self, *, system: str, history: Sequence[Message], tools: Sequence[ToolSpec], voice: str, tuning: Tuning
    ) -> Iterator[Event]:
        """From the session's start to the open microphone."""
        yield _event(
            "sessionStart",
            inferenceConfiguration={
                "maxTokens": tuning.max_tokens,
                "topP": tuning.top_p,
                "temperature": tuning.temperature,
            },
            turnDetectionConfiguration={"endpointingSensitivity": tuning.sensitivity},
        )
        prompt: dict[str, Any] = {
            "promptName": self._prompt,
            "textOutputConfiguration": _PLAIN,
            "audioOutputConfiguration": _audio(OUTPUT_RATE) | {"voiceId": voice},
        }
        if tools:
            prompt["toolUseOutputConfiguration"] = _JSON
            prompt["toolConfiguration"] = {"tools": [_tool(spec) for spec in tools]}
        yield _event("promptStart", **prompt)
        yield from self._text("SYSTEM", system, interactive=False)
        for message in trimmed(history):
            yield from self._text(message.role.upper(), message.text, interactive=False)
        yield _event(
            "contentStart",
            **self._names(self._microphone),
            type="AUDIO",
            role="USER",
            interactive=True,
            audioInputConfiguration=_audio(INPUT_RATE),
        )

    def audio(self, pcm: bytes) -> Iterator[Event]:
        """What the microphone took."""
        names = self._names(self._microphone)
        for start in range(0, len(pcm), PIECE_BYTES):
            content = base64.b64encode(pcm[start : start + PIECE_BYTES]).decode()
            yield _event("audioInput", **names, content=content)

    def typed(self, text: str) -> Iterator[Event]:
        """What the user typed while the microphone is open."""
        return self._text("USER", text, interactive=True)

    def tool_result(self, tool_use_id: str, result: ToolResult) -> Iterator[Event]:
        """What a tool came to."""
        names = self._names(str(uuid.uuid4()))
        yield _event(
            "contentStart",
            **names,
            type="TOOL",
            role="TOOL",
            interactive=False,
            toolResultInputConfiguration={
                "toolUseId": tool_use_id,
                "type": "TEXT",
                "textInputConfiguration": _PLAIN,
            },
        )
        yield _event("toolResult", **names, content=json.dumps(dict(result.content), ensure_ascii=False))
        yield _event("contentEnd", **names)

    def closing(self) -> Iterator[Event]:
        """From the microphone's end to the session's."""
        yield _event("contentEnd", **self._names(self._microphone))
        yield _event("promptEnd", promptName=self._prompt)
        yield _event("sessionEnd")

    def _text(self, role: str, text: str, *, interactive: bool) -> Iterator[Event]:
        names = self._names(str(uuid.uuid4()))
        yield _event(
            "contentStart", **names, type="TEXT", role=role, interactive=interactive, textInputConfiguration=_PLAIN
        )
        yield _event("textInput", **names, content=text)
        yield _event("contentEnd", **names)

    def _names(self, content: str) -> dict[str, str]:
        return {"promptName": self._prompt, "contentName": content}


def trimmed(history: Sequence[Message]) -> list[Message]:
    """The end of the history that the service takes: within its limits, without empty texts, the user's first."""
    kept: list[Message] = []
    left = HISTORY_BYTES
    for message in reversed(history):
        text = _cut(message.text.strip(), MESSAGE_BYTES)
        left -= len(text.encode())
        if left < 0:
            break
        if text:
            kept.append(Message(role=message.role, text=text))
    while kept and kept[-1].role != "user":
        kept.pop()
    return kept[::-1]


@dataclass(frozen=True, slots=True)
class Said:
    """A text block, complete: what the user said, or what the assistant will say (`planned`) or has said."""

    role: str
    text: str
    planned: bool
    stop: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the answer's audio."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class SoundEnd:
    """An audio block is complete."""

    stop: str


@dataclass(frozen=True, slots=True)
class Use:
    """The model wants a tool."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of the session so far."""

    input: int
    output: int


type Output = Said | Sound | SoundEnd | Use | Tokens


class Reader:
    """Puts output events together; what it does not know, as a later version's events, it leaves out."""

    def __init__(self) -> None:
        self._blocks: dict[str, dict[str, Any]] = {}

    def read(self, payload: bytes) -> Output | None:
        """What this event completes, if anything. Raises ValueError for what is no event."""
        try:
            ((name, body),) = msgspec.json.decode(payload)["event"].items()
            return self._read(name, body)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an event of Nova Sonic: {error!r}") from error

    def _read(self, name: str, body: Mapping[str, Any]) -> Output | None:
        match name:
            case "contentStart":
                extra = json.loads(body.get("additionalModelFields") or "{}")
                self._blocks[body["contentId"]] = {
                    "type": body["type"],
                    "role": body.get("role", ""),
                    "planned": extra.get("generationStage") == "SPECULATIVE",
                    "text": "",
                }
            case "textOutput":
                self._blocks[body["contentId"]]["text"] += body["content"]
            case "audioOutput":
                return Sound(base64.b64decode(body["content"]))
            case "toolUse":
                return Use(body["toolUseId"], body["toolName"], _arguments(body.get("content")))
            case "contentEnd":
                return self._end(body)
            case "usageEvent":
                return Tokens(int(body["totalInputTokens"]), int(body["totalOutputTokens"]))
        return None

    def _end(self, body: Mapping[str, Any]) -> Output | None:
        block = self._blocks.pop(body["contentId"], None)
        stop = body.get("stopReason", "")
        if block is None:
            return None
        if block["type"] == "AUDIO":
            return SoundEnd(stop)
        if block["type"] != "TEXT":
            return None
        text = block["text"]
        if stop == "INTERRUPTED" or _is_interruption(text):
            return Said(block["role"], "", planned=False, stop="INTERRUPTED")
        return Said(block["role"], text, block["planned"], stop)


def _event(name: str, **fields: Any) -> Event:
    return {"event": {name: fields}}


def _audio(rate: int) -> dict[str, Any]:
    return {
        "mediaType": "audio/lpcm",
        "sampleRateHertz": rate,
        "sampleSizeBits": 16,
        "channelCount": 1,
        "encoding": "base64",
        "audioType": "SPEECH",
    }


def _tool(spec: ToolSpec) -> dict[str, Any]:
    schema = {"json": json.dumps(spec.input_schema)}
    return {"toolSpec": {"name": spec.name, "description": spec.description, "inputSchema": schema}}


def _arguments(content: Any) -> Mapping[str, Any]:
    """A tool's arguments, which come as JSON in a text; a model may write anything there."""
    try:
        parsed = json.loads(content)
    except (TypeError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _is_interruption(text: str) -> bool:
    """The service marks an interruption by a text that is this JSON."""
    if "interrupted" not in text:
        return False
    try:
        return bool(json.loads(text) == {"interrupted": True})
    except ValueError:
        return False


def _cut(text: str, limit: int) -> str:
    """As much of the text's beginning as fits into `limit` bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")
