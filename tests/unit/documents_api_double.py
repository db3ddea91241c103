"""The documents' part of the HTTP API on loopback, with a bucket beside it; it fails as told."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 3


@dataclass(frozen=True)
class Asked:
    """A request: its path is without the query; a form's body stays as it came."""

    method: str
    path: str
    token: str
    body: Any


@dataclass
class Stored:
    """A document, and how often it was indexed; `looks` times it is seen before it is ready."""

    document_id: str
    name: str
    shared: bool
    state: str = "pending"
    reason: str | None = None
    content: bytes | None = None
    indexed: int = 0
    looks: int = 1

    def view(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("document_id", "name", "shared", "state", "reason")}


type Answer = tuple[int, Any, dict[str, str]]
type Fault = Callable[[Asked], Answer | None]
"""What answers instead of the API, or None where the API shall answer; raise ConnectionError to hang up."""


@dataclass
class DocumentsApi:
    """Documents by id, what was asked, and the faults that are still to come."""

    url: str = ""
    documents: dict[str, Stored] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tokens: set[str] = field(default_factory=lambda: {"good"})
    unreadable: set[str] = field(default_factory=set)
    curator: bool = True
    frozen: bool = False
    """Nothing is indexed any more."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, path: str = "") -> int:
        """How often something was asked for."""
        return sum(asked.method == method and asked.path.startswith(path) for asked in self.asked)

    def names(self) -> list[str]:
        return sorted(document.name for document in self.documents.values())

    def answer(self, asked: Asked, query: dict[str, list[str]]) -> Answer:
        """The answer, unless a fault comes first. A fault that answers is used up."""
        with self.lock:
            self.asked.append(asked)
            for fault in self.faults:
                if answered := fault(asked):
                    self.faults.remove(fault)
                    return answered
            if asked.path.startswith("/bucket/"):
                return self._receive(asked)
            if asked.token not in self.tokens:
                return 401, {"message": "Unauthorized"}, {}
            return self._route(asked, query)

    def _route(self, asked: Asked, query: dict[str, list[str]]) -> Answer:
        match asked.method, asked.path.removeprefix("/knowledge/documents").strip("/"):
            case "GET", "":
                return self._page(query)
            case "POST", "":
                return self._add(asked.body)
            case method, id_:
                document = self.documents.get(id_)
                if document is None:
                    return _error(404, "not_found", "There is no such document.")
                if method == "PUT":
                    return self._write(document, asked.body, 200)
                if method == "DELETE":
                    self.delete(id_)
                    return 204, None, {}
                return 200, self._looked_at(document), {}
        raise AssertionError(asked)

    def delete(self, id_: str) -> None:
        del self.documents[id_]
        self.deleted.add(id_)

    def _page(self, query: dict[str, list[str]]) -> Answer:
        ids = sorted(self.documents, reverse=True)
        ids.sort(key=lambda id_: self.documents[id_].shared)
        start = ids.index(query["cursor"][0]) + 1 if "cursor" in query else 0
        page = ids[start : start + PAGE]
        cursor = page[-1] if len(page) == PAGE else None
        views = [self._looked_at(self.documents[id_]) for id_ in page]
        return 200, {"documents": views, "cursor": cursor}, {}

    def _looked_at(self, document: Stored) -> dict[str, Any]:
        view = document.view()
        if document.state == "pending" and document.content is not None and not self.frozen:
            document.looks -= 1
            if document.looks <= 0:
                document.indexed += 1
                unreadable = document.name in self.unreadable
                document.state = "failed" if unreadable else "ready"
                document.reason = "It is encrypted." if unreadable else None
        return view

    def _add(self, body: Any) -> Answer:
        id_ = body["document_id"]
        if body["shared"] and not self.curator:
            return _error(403, "forbidden", "Only curators may write shared documents.")
        if id_ in self.documents:
            return _error(409, "conflict", "There is a document with this id already.")
        if id_ in self.deleted:
            return _error(404, "not_found", "The document with this id was deleted.")
        if len(body["name"]) > 200:
            return _error(422, "validation_failed", "`name` has at most 200 characters.")
        self.documents[id_] = Stored(id_, body["name"], body["shared"])
        return self._write(self.documents[id_], body, 201)

    def _write(self, document: Stored, body: Any, status: int) -> Answer:
        document.state, document.reason, document.looks = "pending", None, 1
        upload = None
        if "text" in body:
            document.content = body["text"].encode()
        else:
            fields = {"key": document.document_id, "policy": "signed"}
            upload = {"url": f"{self.url}/bucket/{document.document_id}", "fields": fields, "expires_in": 900}
        return status, {**document.view(), "upload": upload}, {}

    def _receive(self, asked: Asked) -> Answer:
        form: bytes = asked.body
        assert asked.token == ""
        assert b'name="policy"\r\n\r\nsigned' in form
        file = re.search(rb'name="file"; filename=.*?\r\n\r\n(.*)\r\n--', form, re.DOTALL)
        assert file is not None
        self.documents[asked.path.rsplit("/", 1)[1]].content = file[1]
        return 204, None, {}


def _error(status: int, code: str, message: str) -> Answer:
    return status, {"error": {"code": code, "message": message, "request_id": "r"}}, {}


def answering(*answers: Answer, method: str = "POST", path: str = "/knowledge") -> list[Fault]:
    """Faults that answer requests of this kind one after the other."""

    def fault(answer: Answer) -> Fault:
        return lambda asked: answer if asked.method == method and asked.path.startswith(path) else None

    return [fault(answer) for answer in answers]


@contextmanager
def serving_documents() -> Iterator[DocumentsApi]:
    api = DocumentsApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = self.headers.get("Content-Type") == "application/json"
            url = urlsplit(self.path)
            asked = Asked(
                self.command,
                url.path,
                self.headers.get("Authorization", "").removeprefix("Bearer "),
                json.loads(raw) if is_json else raw,
            )
            try:
                status, body, headers = api.answer(asked, parse_qs(url.query))
            except ConnectionError:
                self.close_connection = True
                return
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Tests keep their output to themselves."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield api
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
