"""The engine on Nova 2 Sonic through AWS's own SDK, TLS and HTTP/2, against the AI endpoints."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parley.aws import bidirectional, http2
from parley.aws.nova_sonic import nova_sonic_factory
from parley.conversation.models import Message
from parley.conversation.tools.tool import ToolResult, ToolSpec
from parley.speech.audio import output_seconds
from parley.speech.engine import (
    AssistantAudio,
    EngineClosed,
    EngineRequest,
    EngineUnavailable,
    Interrupted,
    SpeechEngine,
    ToolRequest,
    TurnEnded,
    UserTranscript,
)

from sandbox.certificates import certificate
from sandbox.server import bind, serve_encrypted
from tests.unit.engine_doubles import point_at, say, witnessed
from tests.unit.speech_doubles import Endpoint, endpoints, speech

QUESTION = "How large may a frame be?"
SEARCH = ToolSpec(
    "search_knowledge",
    "Finds passages.",
    {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
FOUND = ToolResult(content={"passages": [{"document": "limits.md", "text": "A frame may be 32 KB large."}]})


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoints(tmp_path_factory.mktemp("certificate")) as served:
        yield served


@pytest.fixture(autouse=True)
def service(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    point_at(monkeypatch, endpoint)
    behave(endpoint)
    yield
    endpoint.control("DELETE", "/_speech")
    endpoint.control("DELETE", "/_faults")


def behave(endpoint: Endpoint, **settings: Any) -> None:
    """What is heard is given, so that only the path is tested; short pauses end an utterance."""
    endpoint.control("POST", "/_speech", {"transcript": QUESTION, "pause": 0.4, "pace": 20} | settings)


async def opened(**fields: Any) -> SpeechEngine:
    request = EngineRequest(**({"system": "Be kind.", "language": "en-US"} | fields))
    return await nova_sonic_factory().open(request)


def test_a_spoken_question_is_answered_with_what_a_tool_found() -> None:
    async def scenario() -> None:
        history = [Message(role="user", text="Good morning."), Message(role="assistant", text="Good morning!")]
        async with witnessed(await opened(history=history, tools=[SEARCH])) as witness:
            await say(witness.engine, speech(QUESTION))
            use: ToolRequest = await witness.until(ToolRequest)
            assert use.name == "search_knowledge"
            assert use.arguments == {"query": QUESTION}
            await say(witness.engine, b"", silence=0.5)
            await witness.engine.send_tool_result(use.id, FOUND)
            ended: TurnEnded = await witness.until(TurnEnded)
        assert witness.kinds()[:3] == ["UserTranscript", "TurnStarted", "ToolRequest"]
        assert witness.events[0] == UserTranscript(QUESTION, final=True)
        assert witness.spoken == "A frame may be 32 KB large."
        assert 1 < output_seconds(len(witness.audio)) < 5
        assert ended.input_tokens
        assert ended.output_tokens
        assert witness.events[-1] == EngineClosed("ended", retryable=False)

    asyncio.run(scenario())


def test_two_turns_of_which_one_is_typed_are_answered_in_one_session(endpoint: Endpoint) -> None:
    behave(endpoint, answer="So it is.")

    async def scenario() -> None:
        async with witnessed(await opened()) as witness:
            await say(witness.engine, speech(QUESTION))
            await witness.until(TurnEnded)
            await witness.engine.send_text("And how large is a message?")
            await witness.until(TurnEnded, 2)
        assert witness.spoken == "So it is.So it is."

    asyncio.run(scenario())


def test_who_speaks_into_the_answer_interrupts_it(endpoint: Endpoint) -> None:
    behave(endpoint, answer="This is a very long story. " * 8, pace=4)

    async def scenario() -> None:
        async with witnessed(await opened()) as witness:
            await say(witness.engine, speech(QUESTION))
            await witness.until(AssistantAudio)
            await say(witness.engine, speech("Stop please, that is enough."), silence=0.0)
            await witness.until(Interrupted)
            await say(witness.engine, b"", silence=0.6)
            await witness.until(UserTranscript, 2)
        kinds = witness.kinds()
        assert kinds[kinds.index("Interrupted") + 1] == "UserTranscript"
        assert "TurnEnded" not in kinds[: kinds.index("Interrupted")]

    asyncio.run(scenario())


def test_the_service_ends_a_connection_at_eight_minutes(endpoint: Endpoint) -> None:
    behave(endpoint, time_scale=480, silence_scale=1)

    async def scenario() -> None:
        async with witnessed(await opened()) as witness:
            async with asyncio.timeout(10):
                while not any(isinstance(event, EngineClosed) for event in witness.events):
                    try:
                        await say(witness.engine, b"", silence=0.09)
                    except EngineUnavailable:
                        break
            assert await witness.until(EngineClosed) == EngineClosed("limit", retryable=True)

    asyncio.run(scenario())


def test_silence_keeps_a_connection_that_nothing_would_lose(endpoint: Endpoint) -> None:
    behave(endpoint, silence_scale=22)

    async def scenario() -> tuple[bool, EngineClosed]:
        async with witnessed(await opened()) as witness:
            for _ in range(35):
                await say(witness.engine, b"", silence=0.09, pace=1)
            alive = not witness.events
            closed: EngineClosed = await witness.until(EngineClosed)
            return alive, closed

    assert asyncio.run(scenario()) == (True, EngineClosed("failed", retryable=True))


@pytest.mark.parametrize("kill", [False, True])
def test_a_connection_that_breaks_is_told(endpoint: Endpoint, kill: bool) -> None:
    behave(endpoint, answer="This is a very long story. " * 8)
    endpoint.control("POST", "/_faults", [{"operation": "SpokenAnswer", "break_after": 3, "kill": kill}])

    async def scenario() -> None:
        async with witnessed(await opened()) as witness:
            with contextlib.suppress(EngineUnavailable):
                await say(witness.engine, speech(QUESTION))
            assert await witness.until(EngineClosed) == EngineClosed("failed", retryable=True)
            assert witness.audio

    asyncio.run(scenario())


@pytest.mark.parametrize("error", ["ThrottlingException", "AccessDeniedException", "ModelNotReadyException"])
def test_a_session_that_the_service_refuses_is_unavailable(endpoint: Endpoint, error: str) -> None:
    operation = "InvokeModelWithBidirectionalStream"
    endpoint.control("POST", "/_faults", [{"operation": operation, "error": error}])
    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(opened())
    cause = caught.value.__cause__
    assert isinstance(cause, bidirectional.StreamFailed)
    assert cause.code == error


def test_a_service_that_is_not_there_or_says_nothing_is_unavailable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bidirectional, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv(bidirectional.ENDPOINT_VARIABLE, f"https://127.0.0.1:{mute.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(EngineUnavailable):
            asyncio.run(opened())
    with pytest.raises(EngineUnavailable):
        asyncio.run(opened())
    assert time.monotonic() - began < 10


def test_an_unknown_authority_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bidirectional, "OPEN_SECONDS", 0.5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path).server)
    greeted: list[str] = []

    def serve(listener: socket.socket) -> None:
        accepted = listener.accept()[0]
        # A client that does not trust the certificate takes its time to say so.
        accepted.settimeout(1)
        with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True) as connection:
            greeted.append(str(connection.version()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        monkeypatch.setenv(bidirectional.ENDPOINT_VARIABLE, f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(EngineUnavailable):
            asyncio.run(opened())
        thread.join()
    assert not greeted


def test_without_credentials_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    bidirectional._identity.cache_clear()
    try:
        with pytest.raises(EngineUnavailable) as caught:
            asyncio.run(opened())
    finally:
        bidirectional._identity.cache_clear()
    assert str(caught.value.__cause__) == "NoCredentials"


def test_a_service_that_takes_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(http2, "SEND_SECONDS", 0.5)

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"application/vnd.amazon.eventstream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await stop.wait()

    stop = asyncio.Event()

    async def scenario() -> None:
        trusted, listener = certificate(tmp_path), bind(0)
        serving = asyncio.create_task(serve_encrypted(deaf, listener, trusted, stop))  # type: ignore[arg-type]  # ASGI
        monkeypatch.setenv(bidirectional.ENDPOINT_VARIABLE, f"https://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted.authority))
        async with witnessed(await opened()) as witness:
            with pytest.raises(EngineUnavailable) as caught:
                await say(witness.engine, b"", silence=60, pace=1000)
            assert str(caught.value.__cause__) == "Stalled"
            assert await witness.until(EngineClosed) == EngineClosed("failed", retryable=True)
        stop.set()
        await serving

    asyncio.run(scenario())


def test_credentials_that_expire_are_renewed_without_stopping_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Expiring:
        access_key, secret_key, token = "new", "secret", "session"
        asked = 0

        def refresh_needed(self) -> bool:
            return self.asked == 0

        def get_frozen_credentials(self) -> "Expiring":
            if self.asked == 0:
                assert threading.current_thread() is not threading.main_thread()
            self.asked += 1
            return self

    class Session:
        def get_credentials(self) -> Expiring:
            return Expiring()

    monkeypatch.setattr("botocore.session.get_session", Session)
    bidirectional._identity.cache_clear()
    try:
        identity = asyncio.run(bidirectional._identity().get_identity(properties={}))
    finally:
        bidirectional._identity.cache_clear()
    assert (identity.access_key_id, identity.session_token) == ("new", "session")
