"""Signed messages of event streams, against the SDKs' own signer."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aws_sdk_signers import AsyncEventSigner, signers
from parley.aws import event_signing
from parley.aws.event_signing import EventSigner, EventStreamAuth
from smithy_aws_core.auth import SigV4AuthScheme
from smithy_aws_event_stream.events import EventHeaderEncoder, EventMessage
from smithy_core.aio.interfaces.auth import EventSigner as SignerOfTheSdk

NOW = datetime(2026, 11, 22, 23, 59, 59, 123_456, tzinfo=UTC)
IDENTITY: Any = SimpleNamespace(access_key_id="AKID", secret_access_key="secret", session_token=None)
PROPERTIES: Any = {"region": "eu-west-1", "service": "bedrock"}
SEED = "5d" * 32


def chunk(payload: bytes) -> EventMessage:
    headers = {":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"}
    return EventMessage(headers=headers, payload=payload)


def signed(signer: "SignerOfTheSdk[Any, Any]", *payloads: bytes) -> list[bytes]:
    """What a signer makes of some messages and of the stream's end."""

    async def main() -> list[bytes]:
        messages = [
            await signer.sign(event=chunk(payload), identity=IDENTITY, properties=PROPERTIES) for payload in payloads
        ]
        end = await signer.sign_empty(event=EventMessage(), identity=IDENTITY, properties=PROPERTIES)
        return [message.encode() for message in (*messages, end)]

    return asyncio.run(main())


class Time:
    """Goes on by 100 ms at each look, over midnight."""

    def __init__(self) -> None:
        self.UTC = UTC
        self.datetime = self
        self._looks = 0

    def now(self, zone: object = UTC) -> datetime:
        self._looks += 1
        return NOW + timedelta(milliseconds=100) * self._looks


def test_messages_are_signed_as_the_sdks_sign_them(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [b'{"bytes":"e30="}', b"", bytes(range(256)) * 20] * 4
    with monkeypatch.context() as patched:
        patched.setattr(signers, "datetime", Time())
        of_the_sdk = AsyncEventSigner(initial_signature=SEED.encode(), event_encoder_cls=EventHeaderEncoder)
        expected = signed(of_the_sdk, *payloads)

    assert signed(EventSigner(SEED, Time().now), *payloads) == expected


def test_each_signature_depends_on_the_one_before() -> None:
    (first, *_), (again, *_) = (signed(EventSigner(seed, lambda: NOW), b"{}") for seed in (SEED, "00" * 32))

    assert first != again


def test_a_stream_begins_with_the_signature_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    field = SimpleNamespace(as_string=lambda: f"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={SEED}")
    request: Any = SimpleNamespace(fields={"Authorization": field})
    monkeypatch.setattr(signers, "datetime", Time())
    monkeypatch.setattr(event_signing, "datetime", Time())

    ours, theirs = (
        scheme(service="bedrock").event_signer(request=request) for scheme in (EventStreamAuth, SigV4AuthScheme)
    )

    assert ours is not None
    assert theirs is not None
    assert signed(ours, b"{}") == signed(theirs, b"{}")
