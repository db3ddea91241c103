"""AWS's event streams, for the SDKs of `parley.aws.bidirectional`: how their messages are signed, and Bedrock's made.

The SDKs' signer derives its key from the secret anew for each message, eleven times a second in a call, and their
serializers walk a model for each. Here the key is derived once a day, and Bedrock's messages, which all have one
member, are written and read as what they are.

Reference: "Event stream encoding" and "Signing event stream messages" in the Transcribe developer guide.
"""

import hashlib
import time
from base64 import b64encode
from binascii import crc32
from collections.abc import Awaitable, Callable
from functools import cache
from struct import pack
from typing import Any

import msgspec
from botocore.eventstream import EventStreamBuffer
from smithy_aws_core.aio.protocols import RestJsonClientProtocol
from smithy_aws_event_stream.aio import AWSEventPublisher
from smithy_aws_event_stream.events import EventHeaderEncoder

from parley.aws.http2 import Body, Outgoing
from parley.aws.signatures import moment, signature

_PRELUDE_BYTES, _CHECKSUM_BYTES = 12, 4
_DATE = b"\x05:date\x08"
_SIGNATURE = b"\x10:chunk-signature\x06\x00\x20"


class ServiceError(Exception):
    """The service ends a stream with an error, whose own name this is."""


class EventStreams(RestJsonClientProtocol):
    """The SDKs' protocol, with bodies that are written without waiting and messages that are signed below."""

    def serialize_request(self, **call: Any) -> Any:
        """See ClientProtocol."""
        request: Any = super().serialize_request(**call)
        if call["operation"].input_stream_member is not None:
            request.body = Outgoing()
        return request

    def create_event_publisher(self, *, request: Any, context: Any, auth_scheme: Any = None, **_: Any) -> Any:
        """See ClientProtocol."""
        return AWSEventPublisher(payload_codec=self.payload_codec, async_writer=_signing(request, context, auth_scheme))


class PartStreams(EventStreams):
    """The protocol of Bedrock's streams, whose messages are parts of bytes both ways: what is sent and received."""

    def create_event_publisher(self, *, request: Any, context: Any, auth_scheme: Any = None, **_: Any) -> Any:
        """See ClientProtocol."""
        return _Parts(_signing(request, context, auth_scheme))

    def create_event_receiver(self, *, response: Any, **_: Any) -> Any:
        """See ClientProtocol."""
        return _ReceivedParts(response.body)


class Signer:
    """Signs each message together with the signature of the one before it, the first with its request's."""

    def __init__(self, first: str, *, region: str, service: str, now: Callable[[], float] = time.time) -> None:
        self._previous = first
        self._region = region
        self._service = service
        self._now = now

    def signed(self, message: bytes, secret: str) -> bytes:
        """The message around this encoded one that carries its signature. An empty one ends a stream."""
        now = self._now()
        stamp = moment(now)
        day = stamp[:8]
        date = _DATE + pack("!q", int(now * 1000))
        to_sign = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{day}/{self._region}/{self._service}/aws4_request\n{self._previous}\n"
            f"{hashlib.sha256(date).hexdigest()}\n{hashlib.sha256(message).hexdigest()}"
        )
        signed = signature(to_sign, secret=secret, day=day, region=self._region, service=self._service)
        self._previous = signed.hex()
        return _framed(date + _SIGNATURE + signed, message)


class _Signing:
    """What the SDKs write encoded messages to."""

    def __init__(self, outgoing: Outgoing, signer: Signer, identity: Callable[[], Awaitable[Any]]) -> None:
        self._outgoing = outgoing
        self._signer = signer
        self._identity = identity
        self._closed = False

    async def write(self, message: bytes) -> None:
        """Send a message after those before it."""
        identity = await self._identity()
        self._outgoing.write(self._signer.signed(message, identity.secret_access_key))
        await self._outgoing.room()

    async def close(self) -> None:
        """Send the message that ends the stream, end it, and wait until that is sent."""
        if not self._closed:
            self._closed = True
            await self.write(b"")
            await self._outgoing.end()


def _signing(request: Any, context: Any, auth_scheme: Any) -> _Signing:
    resolver = auth_scheme.identity_resolver(context=context)
    properties = auth_scheme.identity_properties(context=context)
    names = auth_scheme.signer_properties(context=context)
    first = request.fields["Authorization"].as_string().rpartition("Signature=")[2]
    signer = Signer(first, region=names["region"], service=names["service"])
    return _Signing(request.body, signer, lambda: resolver.get_identity(properties=properties))


class _Part(msgspec.Struct):
    content: bytes = msgspec.field(name="bytes", default=b"")


_PART = msgspec.json.Decoder(_Part)


class _Parts:
    """See EventPublisher; its events are bytes."""

    def __init__(self, writer: _Signing) -> None:
        self._writer = writer

    async def send(self, event: bytes) -> None:
        await self._writer.write(part(event))

    async def close(self) -> None:
        await self._writer.close()


class _ReceivedParts:
    """See EventReceiver; its events are bytes."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._messages: Any = EventStreamBuffer()
        self._unread = 0

    async def receive(self) -> bytes | None:
        """The next part; None at the end. Raises ServiceError, and others for what is no message."""
        while True:
            for message in self._messages:
                self._unread -= message.prelude.total_length
                if content := _content(message.headers, message.payload):
                    return content
            piece = await self._body.piece()
            if not piece:
                if self._unread:
                    raise ConnectionError
                return None
            self._messages.add_data(piece)
            self._unread += len(piece)


def part(content: bytes) -> bytes:
    """The message of Bedrock's streams that carries so many bytes, unsigned."""
    return _framed(_part_headers(), b'{"bytes":"%b"}' % b64encode(content))


def _content(headers: dict[str, Any], payload: bytes) -> bytes:
    """What a message carries; nothing if it is one of a later version."""
    match headers:
        case {":message-type": "event", ":event-type": "chunk"}:
            return _PART.decode(payload).content
        case {":message-type": "exception", ":exception-type": str(name)}:
            raise ServiceError(name[:1].upper() + name[1:])
        case {":message-type": "error", ":error-code": str(name)}:
            raise ServiceError(name)
    return b""


@cache
def _part_headers() -> bytes:
    headers = EventHeaderEncoder()
    headers.encode_headers({":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"})
    return headers.get_result()


def _framed(headers: bytes, payload: bytes) -> bytes:
    """A message: its lengths and their checksum, headers, payload, and the checksum of all that."""
    lengths = pack("!II", _PRELUDE_BYTES + len(headers) + len(payload) + _CHECKSUM_BYTES, len(headers))
    message = b"".join((lengths, pack("!I", crc32(lengths)), headers, payload))
    return message + pack("!I", crc32(message))
