"""Peers on loopback for the real amazondax client: one that answers as a DAX node does, and others in trouble."""

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from amazondax.CborDecoder import NoMoreData
from amazondax.CborEncoder import CborEncoder
from amazondax.DaxCborDecoder import DaxCborDecoder

_AUTHORIZE, _ENDPOINTS, _KEY_SCHEMA, _ATTRIBUTES, _BATCH_GET = 1489122155, 455855874, -742646399, 670678385, -697851100
_SUCCESS = b"\x80"
_ATTRIBUTE_LIST = 2
_LEADER = 1

type Item = dict[str, str]


class Peer:
    """Accepts connections on `endpoint` until the block ends, and does nothing with them: a silent peer."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self.over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()
        self.endpoint = f"dax://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        # Closing alone would leave the thread in accept().
        for each in (self._server, *self.connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def serve(self, connection: socket.socket) -> None:
        """Nothing comes."""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self.serve(connection)


class TricklingPeer(Peer):
    """Begins an endless answer and sends a byte of it now and then: no single read takes long."""

    def serve(self, connection: socket.socket) -> None:
        connection.sendall(_SUCCESS + b"\x9f")
        while not self.over.wait(0.05):
            connection.sendall(b"\x00")


class DaxNode(Peer):
    """Holds items of one table (keys `pk` and `sk`, text attributes)."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        super().__init__()
        self.items = {(item["pk"], item["sk"]): item for item in items}
        self.reads = 0
        self.dies = False
        """From now on it sends half an answer to a read and hangs up."""

    def serve(self, connection: socket.socket) -> None:
        def more(buffer: bytearray, size: int) -> int:
            data = connection.recv(max(size, 4096))
            if not data:
                raise ConnectionError
            buffer += data
            return len(data)

        decoder = DaxCborDecoder(more)
        for _ in range(5):  # the greeting: magic, layering, session, user agent, types
            decoder.decode_object()
        while True:
            decoder.decode_int()
            method = decoder.decode_int()
            answer = self._answer(method, decoder)
            if self.dies and method == _BATCH_GET:
                connection.sendall(answer[: len(answer) // 2])
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(answer)

    def _answer(self, method: int, request: DaxCborDecoder) -> bytes:
        answer = CborEncoder()
        if method == _AUTHORIZE:
            for _ in range(5):
                request.decode_object()
            return b""
        if method == _ENDPOINTS:
            # node, host name, address, port, role, zone
            answer.append_array_header(1).append_map_header(6)
            answer.append_int(0).append_int(1)
            answer.append_int(1).append_string(self.host)
            answer.append_int(2).append_binary(socket.inet_aton(self.host))
            answer.append_int(3).append_int(self.port)
            answer.append_int(4).append_int(_LEADER)
            answer.append_int(5).append_string("zone")
        elif method == _KEY_SCHEMA:
            request.decode_object()
            answer.append_map_header(2)
            for name in ("pk", "sk"):
                answer.append_string(name).append_string("S")
        elif method == _ATTRIBUTES:
            request.decode_object()
            answer.append_array_header(2).append_string("heading").append_string("text")
        elif method == _BATCH_GET:
            self._batch_get(request, answer)
        else:
            raise ConnectionError
        return _SUCCESS + bytes(answer.as_bytes())

    def _batch_get(self, request: DaxCborDecoder, answer: CborEncoder) -> None:
        [(table, (_, _, keys))] = request.decode_object().items()
        request.decode_object()
        self.reads += 1
        found = [self.items[key] for key in map(_decode_key, keys) if key in self.items]
        answer.append_array_header(2).append_map_header(1).append_string(table)
        answer.append_array_header(2 * len(found))
        for item in found:
            answer.append_binary(_encode_key(item))
            values = CborEncoder().append_int(_ATTRIBUTE_LIST)
            values.append_string(item.get("heading", "")).append_string(item["text"])
            answer.append_binary(bytes(values.as_bytes()))
        answer.append_map_header(0).append_array_header(0)


def _decode_key(key: bytes) -> tuple[str, str]:
    def nothing(buffer: bytearray, size: int) -> int:
        raise NoMoreData

    decoder = DaxCborDecoder(nothing)
    decoder.buffer += key
    return decoder.decode_string(), decoder.drain().decode()


def _encode_key(item: Mapping[str, str]) -> bytes:
    return bytes(CborEncoder().append_string(item["pk"]).as_bytes()) + item["sk"].encode()


@contextmanager
def refusing_peer() -> Iterator[str]:
    """The address of a port that nothing listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"dax://127.0.0.1:{holder.getsockname()[1]}"
