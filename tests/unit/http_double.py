"""A server on loopback that answers requests as told and keeps them, for adapters that speak HTTP."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Its address, what it was asked, and how it answers: a status and a body, or None to hang up."""

    answer: Callable[[Asked], tuple[int, bytes] | None]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[Asked], tuple[int, bytes] | None]) -> Iterator[Server]:
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Asked(self.path, headers, self.rfile.read(length))
            server.asked.append(request)
            answered = server.answer(request)
            if answered is None:
                self.close_connection = True
                return
            status, body = answered
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests keep their output to themselves."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
