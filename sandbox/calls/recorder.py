"""The middleware that a server of AWS's calls stands behind."""

import json
import os
from collections.abc import Callable, Iterable
from typing import IO, Any
from urllib.parse import parse_qsl, unquote

from operations.privileges.policies import Call
from sandbox.calls import MARK, VARIABLE
from sandbox.calls.needs import Request, Unknown, calls_of, form_credential, presigned_form

# What the forms of an upload are long at most: the file comes last.
_FORM_BYTES = 16 * 1024

type Message = dict[str, Any]


def recorded(app: Any) -> Any:
    """The ASGI application, behind a recorder when the environment names a file to record to."""
    path = os.environ.get(VARIABLE)
    return Recorder(app, open(path, "a")) if path else app


class Recorder:
    """Writes each call once: its caller's access key, action, resource and condition keys, as a line of JSON."""

    def __init__(self, app: Any, file: IO[str]) -> None:
        self._app = app
        self._file = file
        self._written: set[str] = set()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Serve a request, and record it when a function's credentials signed it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = _Watched(scope, receive, send)
        if not watched.is_signed and not watched.may_be_a_form:
            await self._app(scope, receive, send)
            return
        if watched.is_early:
            # A stream may last as long as its caller, and its caller may be killed.
            self._write(watched)
        try:
            await self._app(scope, watched.receive, watched.send)
        finally:
            if not watched.is_early:
                self._write(watched)

    def _write(self, watched: "_Watched") -> None:
        for call in watched.calls():
            line = json.dumps(call)
            if line not in self._written:
                self._written.add(line)
                # One write to a file that is appended to: other servers' lines do not mix with it.
                self._file.write(line + "\n")
                self._file.flush()


class _Watched:
    """One request: what is needed of its body as it is read, and its status as it is answered."""

    def __init__(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        self._receive, self._send = receive, send
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
        self._method = scope["method"]
        # Some servers leave the query in it.
        self._path = unquote(scope["raw_path"].decode("latin-1").partition("?")[0])
        self._body = bytearray()
        self._is_whole = self._was_cut_off = False
        self._status = 0
        self._credential = _credential(self._headers, self._query)
        self.is_signed = self._credential.startswith(MARK)
        self.may_be_a_form = self._method == "POST" and "multipart/form-data" in self._headers.get("content-type", "")
        service = (self._credential.split("/") + [""] * 4)[3]
        # Transcribe's other operations are told by their bodies.
        self.is_early = self.is_signed and (
            service in ("bedrock", "polly", "execute-api", "lambda") or self._path == "/stream-transcription"
        )
        # Objects are not looked into, but for the list of those to delete.
        self._limit = 0 if service == "s3" and "delete" not in self._query else None
        if not self.is_signed:
            self._limit = _FORM_BYTES

    async def receive(self) -> Message:
        message: Message = await self._receive()
        if message["type"] == "http.request":
            if self._limit is None or len(self._body) < self._limit:
                self._body += message.get("body", b"")
            self._is_whole = not message.get("more_body", False)
        elif not self._is_whole:
            self._was_cut_off = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)

    def calls(self) -> Iterable[dict[str, Any]]:
        if self._was_cut_off:
            # Its caller was killed while it sent: nothing was asked for.
            return
        body = bytes(self._body)
        credential = self._credential if self.is_signed else form_credential(body)
        if not credential.startswith(MARK):
            return
        key, _, region, service, *_ = credential.split("/")
        request = Request(
            service, region, self._method, self._path, self._query, self._headers, body, status=self._status
        )
        try:
            found = calls_of(request) if self.is_signed else presigned_form(request)
        except Unknown as error:
            found = [Call(f"{service}:?", str(error))]
        for call in found:
            yield {"key": key, "action": call.action, "resource": call.resource, "context": dict(call.context)}


def _credential(headers: dict[str, str], query: dict[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if "Credential=" in authorization:
        return authorization.partition("Credential=")[2].partition(",")[0]
    return query.get("X-Amz-Credential", "")
