"""The `application/vnd.amazon.eventstream` encoding of ConverseStream's answers."""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any


def encode_event(event_type: str, payload: Mapping[str, Any]) -> bytes:
    """One event, for example `contentBlockDelta`."""
    return _encode({":event-type": event_type, ":content-type": "application/json", ":message-type": "event"}, payload)


def encode_exception(exception_type: str, message: str) -> bytes:
    """An exception in the middle of a stream, for example `modelStreamErrorException`."""
    headers = {":exception-type": exception_type, ":content-type": "application/json", ":message-type": "exception"}
    return _encode(headers, {"message": message})


def _encode(headers: Mapping[str, str], payload: Mapping[str, Any]) -> bytes:
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    body = json.dumps(payload, ensure_ascii=False).encode()
    # Prelude (total length, header length), its checksum, headers, payload, checksum of all before it.
    prelude = struct.pack("!II", 16 + len(head) + len(body), len(head))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + body
    return message + struct.pack("!I", zlib.crc32(message))
