"""The `application/vnd.amazon.eventstream` encoding: answers in pieces, and requests that go on meanwhile."""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

MEDIA_TYPE = "application/vnd.amazon.eventstream"


@dataclass(frozen=True)
class Message:
    """One message of a stream: what its `:event-type` header says, and its payload."""

    event_type: str
    payload: bytes


def encode_event(event_type: str, payload: Mapping[str, Any]) -> bytes:
    """One event with a JSON payload, for example `contentBlockDelta`."""
    return encode_payload(event_type, json.dumps(payload, ensure_ascii=False).encode(), "application/json")


def encode_payload(event_type: str, payload: bytes, content_type: str = "application/octet-stream") -> bytes:
    """One event whose payload is the bytes themselves, for example Polly's `AudioEvent`."""
    headers = {":event-type": event_type, ":content-type": content_type, ":message-type": "event"}
    return _encode(headers, payload)


def encode_exception(exception_type: str, fields: Mapping[str, Any]) -> bytes:
    """An exception in the middle of a stream, for example `modelStreamErrorException`; its fields hold the message."""
    headers = {":exception-type": exception_type, ":content-type": "application/json", ":message-type": "exception"}
    return _encode(headers, json.dumps(fields, ensure_ascii=False).encode())


class SignedMessages:
    """Takes a request's body as it arrives, and gives its messages.

    Each is wrapped in another that carries the signature; an empty one ends the stream.
    """

    def __init__(self) -> None:
        # botocore brings no types.
        self._buffer: Any = EventStreamBuffer()
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now. Raises `ValueError` for what is no event stream."""
        self._buffer.add_data(data)
        try:
            for outer in self._buffer:
                if not outer.payload:
                    self.ended = True
                    return
                inner: Any = EventStreamBuffer()
                inner.add_data(outer.payload)
                for message in inner:
                    yield Message(str(message.headers.get(":event-type", "")), message.payload)
        except (ParserError, struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"not an event stream: {error}") from None


def _encode(headers: Mapping[str, str], body: bytes) -> bytes:
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    # Prelude (total length, header length), its checksum, headers, payload, checksum of all before it.
    prelude = struct.pack("!II", 16 + len(head) + len(body), len(head))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + body
    return message + struct.pack("!I", zlib.crc32(message))
