"""How streams take leave, over TLS and HTTP/2."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from parley.aws.transcribe import TranscribeRecogniser

from sandbox.certificates import certificate
from sandbox.server import bind, serve_encrypted
from tests.unit.engine_doubles import point_at
from tests.unit.speech_doubles import Endpoint

STREAMS = 10


def test_a_stream_that_is_closed_ends_and_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def service(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"application/vnd.amazon.eventstream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        size = 0
        while (event := await receive())["type"] == "http.request":
            size += len(event["body"])
            if not event["more_body"]:
                break
        received.append(size)
        ends.put_nowait(event["type"])

    async def scenario() -> None:
        stop = asyncio.Event()
        trusted, listener = certificate(tmp_path), bind(0)
        point_at(monkeypatch, Endpoint(f"https://127.0.0.1:{listener.getsockname()[1]}", trusted.authority))
        serving = asyncio.create_task(serve_encrypted(service, listener, trusted, stop))  # type: ignore[arg-type]  # ASGI
        try:
            for _ in range(STREAMS):
                stream = await TranscribeRecogniser().open("en-US")
                await stream.send(bytes(2880))
                await stream.close()
                assert await asyncio.wait_for(ends.get(), 10) == "http.request"
        finally:
            stop.set()
            await serving

    asyncio.run(scenario())
    assert min(received) > 2880
