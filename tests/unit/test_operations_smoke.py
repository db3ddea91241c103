"""A deployed environment is tried once through each of its public interfaces, and left as it was found."""

import json
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from parley_client import Answer, Audio, Ended, Event, Problem, Refused

from operations import smoke
from operations.environment import Environment

ANSWER = Answer(turn_id="t", conversation_id="typed", text="Yes.", model="nova")
VOICE = Audio(turn_id="t", pcm=b"\0\0")


class FakeSession:
    """A session that says what it is told to, once something was typed."""

    says: dict[str, list[Event]]
    refused: bool
    heard: list[str]

    def __init__(self, url: str, *, token: str, medium: str, keep: bool, **_: Any) -> None:
        assert (url, token) == ("https://api", "token")
        # A call is ended for good: its worker costs money.
        assert keep is (medium == "text")
        self.conversation_id = None if medium == "text" else "spoken"
        self._events: Iterator[Event] = iter(self.says[medium])

    async def __aenter__(self) -> Self:
        if self.refused:
            raise Refused("no_session", "No session for you.")
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def listen(self, source: AsyncIterable[bytes]) -> Self:
        self.heard.append("silence")
        return self

    async def send_text(self, message: str) -> str:
        self.heard.append(message)
        return "request"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return next(self._events)
        except StopIteration:
            raise StopAsyncIteration from None


class Api:
    """Answers by method and path."""

    environment: Environment

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {
            ("GET", "/health"): [(200, {"status": "ok", "checks": {"store": "ok"}})],
            ("GET", "/conversations"): [(200, {"conversations": []})],
            ("POST", "/chat"): [(200, {"message": "Yes.", "model": "nova", "conversation_id": "chat"})],
            ("POST", "/rag/query"): [(200, {"passages": [{}, {}]})],
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        key = (request.method, request.url.path)
        self.asked.append((*key, request.headers.get("authorization")))
        if request.method == "DELETE":
            return httpx.Response(204)
        answers = self.answers[key]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(body, Exception):
            raise body
        return httpx.Response(status, json=body)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    api = Api()
    real = httpx.AsyncClient
    monkeypatch.setattr(
        "operations.smoke.httpx.AsyncClient",
        lambda **options: real(transport=httpx.MockTransport(api), base_url=options["base_url"]),
    )

    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr("operations.smoke.asyncio.sleep", at_once)
    monkeypatch.setattr(smoke, "Session", FakeSession)
    FakeSession.says = {"text": [ANSWER], "voice": [VOICE, ANSWER]}
    FakeSession.refused = False
    FakeSession.heard = []
    environment = Environment(
        name="dev",
        region="eu-central-1",
        api_url="https://api",
        documents_bucket="b",
        tables={},
        functions={"Retrieval": "r", "VoiceWorker": "w"},
        user_pool_id=None,
        user_pool_client_id=None,
        outputs={},
        folder=tmp_path,
        demo=None,
        client_options={},
    )
    monkeypatch.setattr(smoke, "resolve", lambda name, region: environment)
    api.environment = environment
    return api


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    status = smoke.main(["--env", "dev", "--token", "token", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is (status == 0)
    return status, {check["what"]: (check["mark"], check.get("said", "")) for check in document["checks"]}


def test_what_works_passes_and_leaves_nothing(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    status, checks = run(capsys)

    assert status == 0
    assert list(checks) == [
        "health",
        "sign-in",
        "chat",
        "rag query",
        "WebSocket turn",
        "voice session",
        "clean-up",
    ]
    assert {mark for mark, _ in checks.values()} == {"ok"}
    deleted = [path for method, path, _ in api.asked if method == "DELETE"]
    assert deleted == [f"/conversations/{name}" for name in ("chat", "typed", "spoken")]
    # Who asks for the health is nobody's business.
    assert api.asked[0] == ("GET", "/health", None)
    assert api.asked[1] == ("GET", "/conversations", "Bearer token")


def test_what_a_flag_took_away_is_no_failure(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers[("POST", "/rag/query")] = [(404, {"message": "Not Found"})]
    status, checks = run(capsys)
    assert status == 0
    assert checks["rag query"] == ("skipped", "the API has no /rag/query: its flag is off")


def test_what_passes_by_itself_is_asked_again(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers[("POST", "/chat")].insert(0, (500, {"message": "Internal Server Error"}))
    assert run(capsys)[0] == 0


@pytest.mark.parametrize(
    ("key", "answer", "what", "said"),
    [
        (("GET", "/health"), (503, {"status": "degraded", "checks": {"store": "failed"}}), "health", "degraded: store"),
        (("POST", "/chat"), (403, {"error": {"code": "x", "message": "Not you."}}), "chat", "403: Not you."),
        (("POST", "/chat"), (429, ["odd"]), "chat", "429: Too Many Requests"),
        (("POST", "/chat"), (200, {"message": " ", "model": "nova"}), "chat", "answered with nothing"),
        (("POST", "/rag/query"), (0, httpx.ConnectError("down")), "rag query", "does not answer: down"),
    ],
)
def test_what_fails_is_named(
    key: tuple[str, str], answer: tuple[int, Any], what: str, said: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers[key] = [answer]
    status, checks = run(capsys)
    assert status == 1
    assert checks[what][0] == "failed"
    assert said in checks[what][1]
    # One failure does not keep the others from being tried.
    assert checks["clean-up"][0] == "ok"


@pytest.mark.parametrize(
    ("says", "what", "said"),
    [
        ({"text": [Problem(code="busy", message="Too much.")]}, "WebSocket turn", "Too much. (busy)"),
        ({"text": [Problem(code="busy", message="x", retryable=True)]}, "WebSocket turn", "without an answer"),
        ({"text": [Ended(reason="idle")]}, "WebSocket turn", "without an answer"),
        ({"voice": [ANSWER]}, "voice session", "without a voice"),
        ({"voice": [Problem(code="busy", message="No calls.")]}, "voice session", "No calls."),
        ({"voice": [Ended(reason="idle")]}, "voice session", "without an answer"),
    ],
)
def test_a_session_that_does_not_answer_fails(
    says: dict[str, list[Event]], what: str, said: str, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeSession.says |= says
    status, checks = run(capsys)
    assert status == 1
    assert checks[what][0] == "failed"
    assert said in checks[what][1]


def test_a_refused_session_is_told_in_its_words(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    FakeSession.refused = True
    _, checks = run(capsys)
    assert "No session for you." in checks["WebSocket turn"][1]


def test_what_does_not_answer_in_time_fails(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    monkeypatch.setitem(api.answers, ("POST", "/chat"), [(0, TimeoutError())])
    assert "no answer within" in run(capsys)[1]["chat"][1]


def test_without_a_sign_in_nothing_more_is_tried(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers[("GET", "/conversations")] = [(401, {"message": "Unauthorized"})]
    status, checks = run(capsys)
    assert status == 1
    assert list(checks) == ["health", "sign-in"]


def test_a_first_deployment_has_nobody_to_be(api: Api) -> None:
    checks = smoke.smoke(api.environment, None)
    assert [check.mark.value for check in checks] == ["ok", "skipped", "skipped", "skipped", "skipped"]


def test_the_list_is_printed_and_a_failure_said(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers[("GET", "/health")] = [(403, {"message": "Forbidden"})]
    assert smoke.main(["--env", "dev", "--token", "token"]) == 1
    out, err = capsys.readouterr()
    assert "-> scripts/logs --env dev" in out
    assert "does not work as it should" in err
