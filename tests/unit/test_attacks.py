"""The attacks' own judgement: what they must find, they find."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.messages import FRAME_BYTES, Arsenal, Frame, from_schema
from attacks.soak import lost_documents, lost_turns
from attacks.soak_clients import GivenUp, HttpTalker, Ledger, Turn
from attacks.soak_speech import HEARD
from attacks.victim import Targets, Victim, still_whole
from attacks.websocket import DOCUMENT, Judge, Wrong
from sandbox.people import Person

TARGETS = Targets("marker0123", ("c" * 32,), ("d" * 32,), ("r" * 32,), ("s" * 32,), ("subject",))
ASYNCAPI = json.loads(DOCUMENT.read_text())
ARSENAL = Arsenal(ASYNCAPI, TARGETS)


def person(answer: Callable[[httpx.Request], httpx.Response]) -> Person:
    return Person(httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer)), "ws://api")


@pytest.mark.parametrize("action", sorted(ARSENAL.messages))
def test_generated_messages_are_what_the_document_allows(action: str) -> None:
    [payload] = [each["payload"] for each in ASYNCAPI["components"]["messages"].values() if _sends(each, action)]
    validator = jsonschema_rs.validator_for({**payload, "components": ASYNCAPI["components"]})

    @settings(max_examples=30, derandomize=True, database=None)
    @given(ARSENAL.messages[action])
    def valid(message: dict[str, Any]) -> None:
        assert message["action"] == action
        validator.validate(json.loads(json.dumps(message)))

    valid()


def _sends(message: dict[str, Any], action: str) -> bool:
    properties = ASYNCAPI["components"]["schemas"][message["payload"]["$ref"].rsplit("/", 1)[1]]["properties"]
    return bool(properties.get("action", {}).get("enum") == [action])


def test_a_schema_of_another_form_is_refused() -> None:
    with pytest.raises(KeyError):
        from_schema({"type": "tuple"}, {})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "boolean"}, bool),
        ({"type": "number", "minimum": 0}, float),
        ({"type": "array", "items": {"type": "null"}}, list),
        ({"$ref": "#/components/schemas/Count"}, int),
    ],
)
def test_every_form_of_the_documents_schemas_has_values(schema: dict[str, Any], value: type) -> None:
    @settings(max_examples=10, derandomize=True, database=None)
    @given(from_schema(schema, {"Count": {"type": "integer"}}))
    def of_its_type(generated: object) -> None:
        assert isinstance(generated, value)

    of_its_type()


@settings(max_examples=60, derandomize=True, database=None)
@given(st.data())
def test_what_must_close_a_connection_is_known(data: st.DataObject) -> None:
    for frame in data.draw(ARSENAL.batches(voice_in=3)):
        if isinstance(frame.fragments[0], bytes):
            assert frame.closes_with == 1003
        elif any(len(str(fragment).encode()) > FRAME_BYTES for fragment in frame.fragments):
            assert frame.closes_with == 1009
        assert frame.times == 1 or frame.kind.startswith("flood")


@pytest.mark.parametrize(
    ("fragments", "code"),
    [
        (("x" * FRAME_BYTES,), None),
        (("x" * FRAME_BYTES + "x",), 1009),
        (("é" * (FRAME_BYTES // 2) + "x",), 1009),
        (("x" * FRAME_BYTES,) * 4, None),
        (("x" * FRAME_BYTES,) * 5, 1009),
        ((b"x",), 1003),
    ],
)
def test_a_frames_size_and_kind_say_whether_it_closes_its_connection(
    fragments: tuple[str | bytes, ...], code: int | None
) -> None:
    assert Frame("any", fragments).closes_with == code


def test_a_frame_is_its_message() -> None:
    assert Frame.of("valid ping", {"action": "ping"}).fragments == ('{"action": "ping"}',)


@pytest.mark.parametrize(
    "text",
    [
        b"binary",
        '{"type": "pong", "note": "marker0123"}',
        '{"type": "never.heard.of"}',
        '{"type": "ack", "seq": "one"}',
        '{"type": "error", "code": "internal", "message": "Oh.", "retryable": true}',
        '{"message": "Internal server error", "connectionId": "c", "requestId": "r"}',
        '{"message": "Forbidden"}',
    ],
)
def test_what_the_server_must_not_say_is_found(text: str | bytes) -> None:
    with pytest.raises(Wrong):
        Judge(ASYNCAPI, TARGETS).look_at(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"type": "pong"}', "pong"),
        ('{"type": "session.ended"}', "session.ended: ended"),
        ('{"type": "error", "code": "conflict", "message": "Wait.", "retryable": true}', "error: conflict"),
        ('{"message": "Forbidden", "connectionId": "c", "requestId": "r"}', "gateway: Forbidden"),
    ],
)
def test_what_the_server_may_say_is_counted(text: str, kind: str) -> None:
    assert Judge(ASYNCAPI, TARGETS).look_at(text)[0] == kind


@pytest.mark.parametrize(
    ("status", "body", "finds"),
    [
        (200, {"title": TARGETS.marker, "turns": [1, 2]}, None),
        (404, {}, "answers 404"),
        (200, {"title": "something else", "turns": [1, 2]}, "answers 200"),
        (200, {"title": TARGETS.marker, "turns": [1, 2, 3]}, "3 messages"),
    ],
)
def test_what_an_attack_did_to_the_victim_is_found(status: int, body: dict[str, Any], finds: str | None) -> None:
    found = still_whole(Victim(person(lambda _: httpx.Response(status, json=body)), TARGETS))

    assert found is None if finds is None else finds in str(found)


QUESTION = {"role": "user", "turn_id": "q", "message": "What?"}
ANSWER = {"role": "assistant", "turn_id": "a", "message": "This."}


@pytest.mark.parametrize(
    ("stored", "losses"),
    [
        ([QUESTION, ANSWER], 0),
        ([ANSWER], 2),
        ([QUESTION, QUESTION, ANSWER, ANSWER], 2),
        ([QUESTION, {**ANSWER, "message": "That."}], 1),
        ([QUESTION, ANSWER, QUESTION | {"message": "And?"}], 1),
        (None, 1),
    ],
    ids=["as it was told", "a question lost", "twice", "another answer", "unanswered", "no conversation"],
)
def test_lost_and_doubled_turns_are_found(stored: list[Any] | None, losses: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404) if stored is None else httpx.Response(200, json={"turns": stored})

    ledger = Ledger(turns=[Turn("c", "What?", "a", "This.")])
    assert len(lost_turns(person(answer), ledger)) == losses


def test_lost_and_doubled_utterances_are_found() -> None:
    stored = [{**QUESTION, "message": HEARD}, ANSWER] * 2
    user = person(lambda _: httpx.Response(200, json={"turns": stored}))

    assert lost_turns(user, Ledger(spoken=Counter(c=2))) == []
    assert len(lost_turns(user, Ledger(spoken=Counter(c=1)))) == 1
    assert len(lost_turns(user, Ledger(spoken=Counter(c=3)))) == 1


@pytest.mark.parametrize(
    ("state", "passages", "losses"),
    [("ready", ["the word w"], 0), ("ready", [], 1), ("ready", ["w", "w"], 1), ("failed", [], 1)],
)
def test_lost_and_doubled_documents_are_found(state: str, passages: list[str], losses: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"state": state})
        return httpx.Response(200, json={"passages": [{"text": text} for text in passages]})

    assert len(lost_documents(person(answer), Ledger(documents={"d": "w"}))) == losses


def test_a_client_says_again_what_may_succeed_and_gives_up_what_never_will(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    answers = iter((503, 409, 429, 200, 422))
    client = HttpTalker(person(lambda _: httpx.Response(next(answers))), Ledger(), seed=1)

    assert client.patiently(lambda: client.person.http.get("/")).status_code == 200
    assert client.ledger.retries.total() == 3
    with pytest.raises(GivenUp):
        client.patiently(lambda: client.person.http.get("/"))
