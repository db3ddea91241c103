"""The AI endpoints over TLS on a free port, and AWS's own SDKs pointed at them."""

import asyncio
import base64
import contextlib
import json
import ssl
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig
from aws_sdk_bedrock_runtime.models import (
    BidirectionalInputPayloadPart,
    InvokeModelWithBidirectionalStreamInputChunk,
    InvokeModelWithBidirectionalStreamOperationInput,
)
from awscrt.io import ClientTlsContext, TlsContextOptions
from smithy_http.aio.crt import AWSCRTHTTPClient

from sandbox.certificates import certificate
from sandbox.models.app import create_models
from sandbox.models.speech.audio import resample
from sandbox.models.speech.espeak import espeak
from sandbox.server import bind, serve_encrypted

MODEL = "amazon.nova-2-sonic-v1:0"
RATE = 16_000
FRAME = 1_024  # 32 ms
SILENCE = b"\0" * FRAME
PATIENCE = 20.0

DOCUMENT = """# WebSocket

A WebSocket frame may be 32 KB large. A message may be 128 KB large.

# Tickets

A ticket is valid for 60 seconds. It opens one connection.
"""
QUESTIONS = [
    "How large may a WebSocket frame be?",
    "How long is a ticket valid?",
    "What time is it?",
    "Stop please.",
]


@dataclass(frozen=True)
class Endpoint:
    """Where the endpoints listen, and whom their clients trust."""

    url: str
    authority: Path

    @property
    def context(self) -> ClientTlsContext:
        options = TlsContextOptions()
        options.override_default_trust_store_from_path(None, str(self.authority))
        return ClientTlsContext(options)

    def control(self, method: str, path: str, document: Any = None) -> Any:
        trusted = ssl.create_default_context(cafile=str(self.authority))
        answer = httpx.request(method, self.url + path, json=document, verify=trusted, timeout=60)
        assert answer.status_code in (200, 400), answer.text
        return answer.json()

    @contextlib.asynccontextmanager
    async def sdk(self) -> AsyncIterator[dict[str, Any]]:
        """The settings of an SDK's client, with a connection that is closed afterwards."""
        transport = AWSCRTHTTPClient()
        transport._tls_ctx = self.context
        try:
            yield {
                "endpoint_uri": self.url,
                "region": "us-east-1",
                "aws_access_key_id": "test",
                "aws_secret_access_key": "test",
                "transport": transport,
            }
        finally:
            await transport.close()


@contextlib.contextmanager
def endpoints(folder: Path) -> Iterator[Endpoint]:
    """Serve until the block ends, in a thread of their own."""
    trusted, listener = certificate(folder), bind(0)
    port = listener.getsockname()[1]
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        started.set()
        # Port 1 refuses: no Ollama of this machine answers in place of the model that is tested.
        await serve_encrypted(create_models("127.0.0.1:1"), listener, trusted, stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        yield Endpoint(f"https://127.0.0.1:{port}", trusted.authority)
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def speech(text: str, voice: str = "en-us", rate: int = RATE) -> bytes:
    """A person asks."""
    spoken = espeak().speak(text, voice, words_a_minute=150)
    return resample(spoken.pcm, spoken.rate, rate)


@dataclass
class Talk:
    """A Nova 2 Sonic session: what is said to it, and every event that came back."""

    stream: Any
    prompt: str = field(default_factory=lambda: str(uuid.uuid4()))
    microphone: str = field(default_factory=lambda: str(uuid.uuid4()))
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, name: str, **fields: Any) -> None:
        event = json.dumps({"event": {name: fields}}).encode()
        part = BidirectionalInputPayloadPart(bytes_=event)
        await self.stream.input_stream.send(InvokeModelWithBidirectionalStreamInputChunk(value=part))

    async def text(self, role: str, text: str, *, interactive: bool = False) -> None:
        names = {"promptName": self.prompt, "contentName": str(uuid.uuid4())}
        configuration = {"textInputConfiguration": {"mediaType": "text/plain"}}
        await self.send("contentStart", **names, type="TEXT", role=role, interactive=interactive, **configuration)
        await self.send("textInput", **names, content=text)
        await self.send("contentEnd", **names)

    async def begin(
        self, tools: list[dict[str, Any]] | None = None, voice: str = "matthew", sensitivity: str = "HIGH"
    ) -> None:
        await self.send(
            "sessionStart",
            inferenceConfiguration={"maxTokens": 1024, "topP": 0.9, "temperature": 0.7},
            turnDetectionConfiguration={"endpointingSensitivity": sensitivity},
        )
        extra: dict[str, Any] = {"toolConfiguration": {"tools": tools}} if tools else {}
        await self.send("promptStart", **self.prompt_fields(voice), **extra)
        await self.text("SYSTEM", "You are a friendly assistant.")

    def prompt_fields(self, voice: str) -> dict[str, Any]:
        output = {
            "mediaType": "audio/lpcm",
            "sampleRateHertz": 24_000,
            "sampleSizeBits": 16,
            "channelCount": 1,
            "voiceId": voice,
            "encoding": "base64",
            "audioType": "SPEECH",
        }
        text = {"mediaType": "text/plain"}
        return {"promptName": self.prompt, "textOutputConfiguration": text, "audioOutputConfiguration": output}

    async def open_microphone(self, rate: int = RATE) -> None:
        configuration = {
            "mediaType": "audio/lpcm",
            "sampleRateHertz": rate,
            "sampleSizeBits": 16,
            "channelCount": 1,
            "audioType": "SPEECH",
            "encoding": "base64",
        }
        names = {"promptName": self.prompt, "contentName": self.microphone}
        fields = {"type": "AUDIO", "role": "USER", "interactive": True, "audioInputConfiguration": configuration}
        await self.send("contentStart", **names, **fields)

    async def hear(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), FRAME):
            content = base64.b64encode(pcm[start : start + FRAME]).decode()
            await self.send("audioInput", promptName=self.prompt, contentName=self.microphone, content=content)

    async def say(self, text: str) -> None:
        """Speech, and the silence that ends it."""
        await self.hear(speech(text) + SILENCE * 25)

    async def tool_result(self, tool_use_id: str, content: str) -> None:
        names = {"promptName": self.prompt, "contentName": str(uuid.uuid4())}
        text = {"mediaType": "text/plain"}
        configuration = {"toolUseId": tool_use_id, "type": "TEXT", "textInputConfiguration": text}
        fields = {"type": "TOOL", "role": "TOOL", "interactive": False, "toolResultInputConfiguration": configuration}
        await self.send("contentStart", **names, **fields)
        await self.send("toolResult", **names, content=content)
        await self.send("contentEnd", **names)

    async def end(self) -> None:
        await self.send("contentEnd", promptName=self.prompt, contentName=self.microphone)
        await self.send("promptEnd", promptName=self.prompt)
        await self.send("sessionEnd")
        await self.stream.input_stream.close()

    async def next(self) -> tuple[str, dict[str, Any]] | None:
        """The next event's name and fields; None at the end."""
        if not hasattr(self, "_receiver"):
            _, self._receiver = await asyncio.wait_for(self.stream.await_output(), PATIENCE)
        received = await asyncio.wait_for(self._receiver.receive(), PATIENCE)
        if received is None:
            return None
        event = json.loads(received.value.bytes_)["event"]
        self.events.append(event)
        ((name, fields),) = event.items()
        return name, fields

    async def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Read on to an event of this name with these fields."""
        while (event := await self.next()) is not None:
            if event[0] == name and wanted.items() <= event[1].items():
                return event[1]
        raise AssertionError(f"the stream ended before {name} {wanted}")

    def blocks(self) -> list[tuple[str, str, str, str, str]]:
        """Role, type, stage, content and stop reason of each content block."""
        found, current = [], {}
        for event in self.events:
            ((name, fields),) = event.items()
            if name == "contentStart":
                stage = json.loads(fields.get("additionalModelFields", "{}")).get("generationStage", "")
                current = {"role": fields["role"], "type": fields["type"], "stage": stage, "content": ""}
            elif name in ("textOutput", "toolUse"):
                current["content"] += fields["content"]
            elif name == "contentEnd":
                keys = ("role", "type", "stage", "content")
                found.append((*(current[key] for key in keys), fields["stopReason"]))
        return found

    def audio(self) -> bytes:
        chunks = [event["audioOutput"]["content"] for event in self.events if "audioOutput" in event]
        return b"".join(base64.b64decode(chunk) for chunk in chunks)


@contextlib.asynccontextmanager
async def talk(endpoint: Endpoint, model: str = MODEL) -> AsyncIterator[Talk]:
    """An open session."""
    async with endpoint.sdk() as settings:
        client = AsyncBedrockRuntimeClient(await AsyncBedrockRuntimeConfig.resolve(**settings))
        request = InvokeModelWithBidirectionalStreamOperationInput(model_id=model)
        stream = await client.invoke_model_with_bidirectional_stream(request)
        try:
            yield Talk(stream)
        finally:
            with contextlib.suppress(OSError):
                await stream.close()


async def end_of(session: Talk) -> None:
    """Read on to the end of the stream."""
    with contextlib.suppress(AssertionError):
        await session.until("nothing")


_SERVED = pytest.StashKey[Endpoint]()


@pytest.fixture(scope="session")
def served(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    # A fixture that several modules import is one fixture each: what it starts is kept where all of them find it.
    if _SERVED not in pytestconfig.stash:
        serving = contextlib.ExitStack()
        endpoint = serving.enter_context(endpoints(tmp_path_factory.mktemp("certificates")))
        pytestconfig.add_cleanup(serving.close)
        endpoint.control("POST", "/_speech", {"listen": {"texts": [DOCUMENT], "questions": QUESTIONS}})
        pytestconfig.stash[_SERVED] = endpoint
    return pytestconfig.stash[_SERVED]


@pytest.fixture
def endpoint(served: Endpoint) -> Iterator[Endpoint]:
    served.control("POST", "/_speech", {"pause": 0.4})
    yield served
    served.control("DELETE", "/_speech")
    served.control("DELETE", "/_faults")
