"""Personal data through every route and action of the deployed assistant: none of it is in any log, metric or trace.

The routes come from the OpenAPI document, the actions from the AsyncAPI document: a new one without a case fails.
"""

import base64
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from parley.functions import api_documents

from sandbox.state import State
from tests.sandbox.people import Person, Sandbox

CORPUS: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "corpora" / "personal_data.json").read_text())
SECRETS = sorted({case["secret"] for case in CORPUS})
QUIET_SECONDS = 6
"""Nothing is logged for this long: then everything that was begun has ended."""
LONGEST_SECONDS = 90


class Said(NamedTuple):
    """All of the corpus in one text, with a word that nobody else says: no log may hold that either."""

    text: str
    word: str
    short: str

    @classmethod
    def anew(cls) -> "Said":
        word = f"canary{uuid.uuid4().hex}"
        lines = "\n".join(case["text"] for case in CORPUS)
        return cls(f"{word}\n{lines}", word, f"{word} ada.lovelace@example.com 079201001234")


type Body = Callable[[Said], Any]

BODIES: Mapping[tuple[str, str], Body | None] = {
    ("GET", "/health"): None,
    ("POST", "/chat"): lambda said: {"message": said.text},
    ("GET", "/conversations"): None,
    ("GET", "/conversations/{id}"): None,
    ("DELETE", "/conversations/{id}"): None,
    ("GET", "/conversations/{id}/export"): None,
    ("POST", "/tickets"): lambda said: {"session_id": said.short},
    ("POST", "/rag/query"): lambda said: {"query": said.text},
    ("GET", "/knowledge/documents"): None,
    ("POST", "/knowledge/documents"): lambda said: {"name": f"{said.short}.md", "text": said.text},
    ("GET", "/knowledge/documents/{id}"): None,
    ("PUT", "/knowledge/documents/{id}"): lambda said: {"name": f"{said.short}.md", "text": said.text},
    ("DELETE", "/knowledge/documents/{id}"): None,
    ("GET", "/recordings"): None,
    ("POST", "/recordings"): lambda said: {"name": f"{said.short}.wav", "size": 44},
    ("GET", "/recordings/{id}"): None,
    ("DELETE", "/recordings/{id}"): None,
    ("POST", "/me/export"): None,
    ("GET", "/me/export"): None,
    ("GET", "/me/deletion"): None,
    ("DELETE", "/me"): None,
}
"""A good body for each route that takes one."""

LAST = ("DELETE", "/me")

FRAMES: Mapping[str, Callable[[Said], dict[str, Any]]] = {
    "session.start": lambda said: {"medium": "voice", "session_id": said.short, "language": said.short},
    "text": lambda said: {"message": said.text[:20_000], "request_id": said.short},
    "played": lambda said: {"turn_id": said.short, "ms": 5},
    "ping": lambda said: {"extra": said.text},
    "session.end": lambda said: {"extra": said.text},
    "audio": lambda said: {"seq": 1, "data": base64.b64encode(said.text.encode()).decode()},
}


def test_every_route_and_action_has_a_case() -> None:
    routes = {
        (method.upper(), path) for path, methods in api_documents.openapi()["paths"].items() for method in methods
    }
    assert set(BODIES) == routes
    received = api_documents.asyncapi()["operations"]["send"]["messages"]
    names = {reference["$ref"].rsplit("/", 1)[1] for reference in received}
    messages = api_documents.asyncapi()["components"]["messages"]
    assert set(FRAMES) == {messages[name]["name"] for name in names}


@pytest.fixture(scope="module")
def said(sandbox: Sandbox) -> Said:
    """The corpus, after it went everywhere and everything that it caused has ended."""
    said = Said.anew()
    user = sandbox.new_user()
    # A document and a recording that are there, so that more than a refusal is tried.
    for method, path in sorted(BODIES, key=lambda route: (route == LAST, route[0] == "DELETE")):
        _send(user, method, path, said)
    _talk(sandbox.new_user(), said)
    _tool_arguments(sandbox, said)
    _wait_until_quiet(sandbox)
    return said


def _send(user: Person, method: str, path: str, said: Said) -> None:
    """A good request, and those that are not: in the body, the query, the headers and the path."""
    make = BODIES[method, path]
    query = {"cursor": said.short, "limit": said.short, "q": said.short}
    headers = {
        "User-Agent": said.short,
        "X-Personal": said.short,
        "Referer": f"https://example.com/?q={said.short}".replace(" ", "%20"),
        "X-Request-Id": said.short,
        "Idempotency-Key": said.short,
    }
    hostile = path.replace("{id}", quote(said.short, safe=""))
    missing = path.replace("{id}", "0" * 28)
    good = make(said) if make else None
    attempts: list[dict[str, Any]] = [
        {"url": missing, "json": good},
        {"url": hostile, "params": query, "headers": headers, "json": good},
        {"url": missing, "content": said.text.encode(), "headers": headers},
        {"url": missing, "json": {said.short: said.text, "message": {said.short: 1}}},
    ]
    for attempt in attempts:
        answer = user.http.request(method, **attempt)
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
        form = answer.json().get("upload") if answer.status_code == 201 else None
        if form:
            httpx.post(form["url"], data=form["fields"], files={"file": said.text.encode()}, trust_env=False)


def _talk(user: Person, said: Said) -> None:
    for action, fields in FRAMES.items():
        with user.connected() as connected:
            connected.send(action, **fields(said))
            connected.send("ping")
            assert connected.receive("pong", "session.ended", "message.done")
            connected.socket.send(said.text[:20_000])
            connected.send(said.short, message=said.text[:10_000])
            connected.send("session.start", medium="voice")
            connected.receive("session.ready")
            connected.send("text", message=said.text[:10_000])
            connected.receive("message.done")
    # A ticket that opens nothing, in the one address that carries a credential.
    with pytest.raises(Exception, match=r"HTTP|close|connection|rejected"), user.connected(quote(said.short)):
        pass


def _tool_arguments(sandbox: Sandbox, said: Said) -> None:
    """The functions that other functions invoke, with what they could be handed."""
    invoke = sandbox.aws("lambda").invoke
    for module, event in {
        "retrieval": {"subject": said.short, "query": said.text, "top_k": said.short},
        "turn": {"connection_id": said.short, "subject": said.short, "message": said.text},
        "forgetting": {"owner": f"user-{quote(said.short, safe='')}"},
        # Sessions are numbered by the service.
        "voice_worker": {"session_id": "0" * 32, "silent_seconds": said.text, "whose": said.text},
        "personal_data_jobs": {"Records": [_record(said)]},
        "recording_jobs": {"Records": [_record(said)]},
        "ingestion": {"Records": [_record(said)]},
    }.items():
        name = sandbox.function(module)["FunctionName"]
        for payload in (event, {said.short: said.text}, said.text):
            invoke(FunctionName=name, Payload=json.dumps(payload).encode())


def _record(said: Said) -> dict[str, Any]:
    return {
        "messageId": "m-1",
        "receiptHandle": "r-1",
        "body": json.dumps({"detail-type": "Object Created", "detail": {"object": {"key": said.text}}}),
        "attributes": {"ApproximateReceiveCount": "1"},
    }


def _events(sandbox: Sandbox) -> dict[str, list[str]]:
    """What every log group holds: functions' lines, access logs, and metrics, which are lines too."""
    logs = sandbox.aws("logs")
    groups = [
        group["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
    ]
    return {
        group: [
            event["message"]
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
            for event in page["events"]
        ]
        for group in groups
    }


def _wait_until_quiet(sandbox: Sandbox) -> None:
    until = time.monotonic() + LONGEST_SECONDS
    before, since = -1, time.monotonic()
    while time.monotonic() < until and time.monotonic() - since < QUIET_SECONDS:
        count = sum(map(len, _events(sandbox).values()))
        if count != before:
            before, since = count, time.monotonic()
        time.sleep(1)


def _found(text: str, said: Said) -> set[str]:
    found = {said.word} if said.word in text else set()
    for secret in SECRETS:
        if secret in text and re.search(rf"(?<![0-9A-Za-z]){re.escape(secret)}(?![0-9A-Za-z])", text):
            found.add(secret)
    return found


def test_no_function_wrote_any_of_it_into_its_log(sandbox: Sandbox, said: Said) -> None:
    events = _events(sandbox)
    written = {group: [line for line in lines if '"level"' in line] for group, lines in events.items()}
    # Every function that was asked did log, and what it logged says what happened.
    for module in ("chat", "turn", "websocket", "documents", "ingestion", "recordings", "personal_data", "retrieval"):
        assert any(f'"service":"{module}"' in line for lines in written.values() for line in lines), module
    leaks = {group: leaked for group, lines in events.items() if (leaked := _found("\n".join(lines), said))}
    assert leaks == {}


def test_what_the_functions_printed_holds_none_of_it(said: Said) -> None:
    """Whatever went to a process's output, its crashes among it."""
    folder = State.locate().log("any").parent
    assert _found((folder / "ministack.log").read_text(errors="replace"), said) == set()
    assert _found((folder / "models.log").read_text(errors="replace"), said) == set()


def test_the_access_logs_ask_for_nothing_that_people_type(sandbox: Sandbox, said: Said) -> None:
    """The sandbox's gateway writes no access log; what API Gateway would write is in the deployed formats."""
    client = sandbox.aws("apigatewayv2")
    formats = [
        stage["AccessLogSettings"]["Format"]
        for api in client.get_apis()["Items"]
        for stage in client.get_stages(ApiId=api["ApiId"])["Items"]
        if stage.get("AccessLogSettings")
    ]
    assert len(formats) == 2
    for wanted in formats:
        variables = set(re.findall(r"\$context\.[\w.]+", wanted))
        assert variables
        typed = ("path", "rawPath", "querystring", "identity", "authorizer.claims", "input", "userAgent", "sourceIp")
        for variable in variables:
            assert not any(part in variable.removeprefix("$context.") for part in typed), variable
