"""Messages of event streams, against the SDKs' own."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aws_sdk_bedrock_runtime.models import BidirectionalInputPayloadPart, InvokeModelWithBidirectionalStreamInputChunk
from aws_sdk_signers import AsyncEventSigner, signers
from botocore.eventstream import ParserError
from parley.aws import event_streams
from parley.aws.event_streams import EventStreams, PartStreams, ServiceError, Signer, part
from parley.aws.http2 import Body, Outgoing
from smithy_aws_core.auth import SigV4AuthScheme
from smithy_aws_event_stream.aio import AWSEventPublisher
from smithy_aws_event_stream.events import EventHeaderEncoder, EventMessage
from smithy_core.aio.interfaces import ProtocolSettings
from smithy_json import JSONCodec

NOW = datetime(2026, 11, 22, 23, 59, 59, 123_456, tzinfo=UTC)
IDENTITY: Any = SimpleNamespace(access_key_id="AKID", secret_access_key="secret", session_token=None)
PROPERTIES: Any = {"region": "eu-west-1", "service": "bedrock"}
SEED = "5d" * 32
PAYLOADS = [b'{"bytes":"e30="}', b"", bytes(range(256)) * 20] * 4


class Time:
    """Goes on by 100 ms at each look, over midnight."""

    def __init__(self) -> None:
        self.UTC = UTC
        self.datetime = self
        self._looks = 0

    def now(self, zone: object = UTC) -> datetime:
        self._looks += 1
        return NOW + timedelta(milliseconds=100) * self._looks


def seconds() -> Callable[[], float]:
    time = Time()
    return lambda: time.now().timestamp()


class Written:
    """What is written to it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.messages.append(data)


def chunk(payload: bytes) -> EventMessage:
    headers = {":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"}
    return EventMessage(headers=headers, payload=payload)


def ours(*messages: bytes, first: str = SEED) -> list[bytes]:
    signer = Signer(first, **PROPERTIES, now=seconds())
    return [signer.signed(message, IDENTITY.secret_access_key) for message in messages]


def theirs(monkeypatch: pytest.MonkeyPatch, *messages: EventMessage) -> list[bytes]:
    """What the SDKs' signer makes of some messages and of the stream's end."""
    signer = AsyncEventSigner(initial_signature=SEED.encode(), event_encoder_cls=EventHeaderEncoder)

    async def main() -> list[bytes]:
        signed = [await signer.sign(event=message, identity=IDENTITY, properties=PROPERTIES) for message in messages]
        end = await signer.sign_empty(event=EventMessage(), identity=IDENTITY, properties=PROPERTIES)
        return [message.encode() for message in (*signed, end)]

    with monkeypatch.context() as patched:
        patched.setattr(signers, "datetime", Time())
        return asyncio.run(main())


def test_messages_are_signed_as_the_sdks_sign_them(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [chunk(payload) for payload in PAYLOADS]
    assert ours(*(message.encode() for message in messages), b"") == theirs(monkeypatch, *messages)


def test_each_signature_depends_on_the_one_before() -> None:
    assert ours(b"{}") != ours(b"{}", first="00" * 32)


@pytest.mark.parametrize("content", [b"", b'{"event":{}}', bytes(range(256)) * 20])
def test_a_part_is_encoded_as_the_sdk_encodes_it(content: bytes) -> None:
    written = Written()
    publisher: Any = AWSEventPublisher(JSONCodec(), written)
    event = InvokeModelWithBidirectionalStreamInputChunk(value=BidirectionalInputPayloadPart(bytes_=content))
    asyncio.run(publisher.send(event))

    assert written.messages == [part(content)]


SETTINGS = ProtocolSettings(namespace="com.amazonaws.bedrockruntime", service_target="AmazonBedrockFrontendService")


class Sent:
    """In place of a stream on a connection: what is written to it is sent at once."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, bool]] = []

    def write_data(self, data: Any, end_stream: bool) -> Any:
        self.pieces.append((data.read() if data else b"", end_stream))
        return SimpleNamespace(add_done_callback=lambda tell: tell(SimpleNamespace(exception=lambda: None)))


def published(streams: type[EventStreams], *events: Any) -> list[tuple[bytes, bool]]:
    """What is sent of events on a stream that is then closed, twice."""

    class Resolver:
        async def get_identity(self, *, properties: object) -> Any:
            return IDENTITY

    class Scheme(SigV4AuthScheme):
        def identity_resolver(self, *, context: object) -> Any:
            return Resolver()

        def identity_properties(self, *, context: object) -> Any:
            return {}

        def signer_properties(self, *, context: object) -> Any:
            return PROPERTIES

    async def main() -> list[tuple[bytes, bool]]:
        field = SimpleNamespace(as_string=lambda: f"AWS4-HMAC-SHA256 Credential=a/b, Signature={SEED}")
        request = SimpleNamespace(fields={"Authorization": field}, body=Outgoing())
        publisher = streams(SETTINGS).create_event_publisher(
            request=request, context={}, auth_scheme=Scheme(service="bedrock")
        )
        for event in events:
            await publisher.send(event)
        sent = Sent()
        request.body.begin(sent, Body())
        await publisher.close()
        await publisher.close()
        return sent.pieces

    return asyncio.run(main())


def test_a_stream_is_signed_on_from_its_request_and_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'{"event":{}}'
    shape = InvokeModelWithBidirectionalStreamInputChunk(value=BidirectionalInputPayloadPart(bytes_=content))
    message, end = theirs(monkeypatch, chunk(b'{"bytes":"eyJldmVudCI6e319"}'))
    expected = [(message, False), (end, False), (b"", True)]

    for streams, event in ((EventStreams, shape), (PartStreams, content)):
        monkeypatch.setattr(event_streams, "Signer", partial(Signer, now=seconds()))
        assert published(streams, event) == expected


def received(*pieces: bytes) -> list[bytes]:
    """The parts in an answer."""

    async def main() -> list[bytes]:
        body = Body()
        for piece in pieces:
            body.take(piece)
        body.end()
        receiver = PartStreams(SETTINGS).create_event_receiver(response=SimpleNamespace(body=body))
        parts = []
        while (content := await receiver.receive()) is not None:
            parts.append(content)
        return parts

    return asyncio.run(main())


def other(payload: bytes = b"{}", **headers: str) -> bytes:
    named = {f":{name.replace('_', '-')}": value for name, value in headers.items()}
    return EventMessage(headers=dict(named), payload=payload).encode()


CONTENTS = [b'{"event":{}}', b"x" * 9_000, b"y"]


def split(data: bytes, size: int) -> Sequence[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 1_000, 100_000])
def test_parts_are_found_however_they_are_cut(size: int) -> None:
    unknown = other(message_type="event", event_type="later")
    assert received(*split(unknown.join(part(content) for content in CONTENTS), size)) == CONTENTS


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (other(message_type="exception", exception_type="modelTimeoutException"), "ModelTimeoutException"),
        (other(message_type="error", error_code="InternalFailure", error_message=""), "InternalFailure"),
    ],
)
def test_an_error_of_the_service_is_raised_by_its_name(message: bytes, name: str) -> None:
    with pytest.raises(ServiceError, match=f"^{name}$"):
        received(part(b"x"), message)


def test_a_message_that_is_cut_off_is_no_end() -> None:
    with pytest.raises(ConnectionError):
        received(part(b"x") + part(b"y")[:-1])


def test_a_message_that_was_changed_on_its_way_is_refused() -> None:
    message = bytearray(part(b"x"))
    message[-6] ^= 1
    with pytest.raises(ParserError):
        received(bytes(message))
