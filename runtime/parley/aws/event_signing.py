"""Signs the messages of AWS's event streams, for the SDKs of `parley.aws.bidirectional`.

The SDKs' own signer derives its key from the secret anew for each message, eleven times a second in a call, and each
message's headers are encoded twice. Here both happen once.

Reference: "Event stream encoding" and "Signing event stream messages" in the Transcribe developer guide.
"""

import hashlib
from binascii import crc32
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from struct import pack
from typing import Any

from smithy_aws_core.auth import SigV4AuthScheme
from smithy_aws_event_stream.events import EventHeaderEncoder, EventMessage

from parley.aws.signatures import moment, signature

_PRELUDE_BYTES, _CHECKSUM_BYTES = 12, 4


class EventStreamAuth(SigV4AuthScheme):
    """The SDKs' way to sign, version 4, with the signer below for a stream's messages."""

    def event_signer(self, *, request: Any) -> Any:
        """A signer for the stream that this signed request opens."""
        return EventSigner(request.fields["Authorization"].as_string().rpartition("Signature=")[2])


class EventSigner:
    """Signs each message together with the signature of the one before it, the first with its request's."""

    def __init__(self, first: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._previous = first
        self._now = now

    async def sign(self, *, event: EventMessage, identity: Any, properties: Any) -> EventMessage:
        """The message around this one that carries its signature."""
        return self._signed(_framed(_headers(tuple(event.headers.items())), event.payload), identity, properties)

    async def sign_empty(self, *, event: EventMessage, identity: Any, properties: Any) -> EventMessage:
        """The message that ends a stream."""
        return self._signed(event.payload, identity, properties)

    def _signed(self, payload: bytes, identity: Any, properties: Any) -> EventMessage:
        now = self._now()
        stamp = moment(now.timestamp())
        day, region, service = stamp[:8], properties["region"], properties["service"]
        headers = EventHeaderEncoder()
        headers.encode_timestamp(":date", now)
        dated = hashlib.sha256(headers.get_result()).hexdigest()
        to_sign = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{day}/{region}/{service}/aws4_request\n{self._previous}\n"
            f"{dated}\n{hashlib.sha256(payload).hexdigest()}"
        )
        signed = signature(to_sign, secret=identity.secret_access_key, day=day, region=region, service=service)
        self._previous = signed.hex()
        headers.encode_blob(":chunk-signature", signed)
        return _Encoded(_framed(headers.get_result(), payload))


class _Encoded(EventMessage):
    """A message of which the encoding is known."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self._encoded = encoded

    def encode(self) -> bytes:
        return self._encoded


@lru_cache(maxsize=16)
def _headers(items: tuple[tuple[str, Any], ...]) -> bytes:
    """Headers, encoded. Those of a stream's messages differ in their types alone."""
    encoder = EventHeaderEncoder()
    encoder.encode_headers(dict(items))
    return encoder.get_result()


def _framed(headers: bytes, payload: bytes) -> bytes:
    """A message: its lengths and their checksum, headers, payload, and the checksum of all that."""
    lengths = pack("!II", _PRELUDE_BYTES + len(headers) + len(payload) + _CHECKSUM_BYTES, len(headers))
    message = b"".join((lengths, pack("!I", crc32(lengths)), headers, payload))
    return message + pack("!I", crc32(message))
