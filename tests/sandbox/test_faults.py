"""What the assistant promises to survive, caused on purpose. Faults are aimed at one question, so tests can share."""

import json
import threading
import time
import uuid

import httpx
import psutil
import pytest

from tests.sandbox.people import Person, Sandbox, unique

TURN_SECONDS = 25
QUESTION = "How long is a ticket valid, and how many connections does it open?"


def _models(sandbox: Sandbox) -> list[str]:
    """The models of the role `quick`, first choice first."""
    models: list[str] = json.loads(sandbox.function("chat")["Environment"]["Variables"]["MODELS"])["quick"]
    return models


@pytest.mark.parametrize("error", ["ThrottlingException", "ServiceUnavailableException", "ModelTimeoutException"])
def test_the_next_model_answers_when_the_first_cannot(sandbox: Sandbox, user: Person, error: str) -> None:
    first, second, *_ = _models(sandbox)
    question = unique(QUESTION)
    sandbox.fault(containing=question, model=first, error=error, times=50)

    answer = user.chat(question).raise_for_status().json()

    assert answer["model"] == second
    assert "60" in answer["message"]


def test_the_next_model_answers_a_stream(sandbox: Sandbox, user: Person) -> None:
    first, second, *_ = _models(sandbox)
    question = unique(QUESTION)
    sandbox.fault(containing=question, model=first, error="ThrottlingException", times=50)

    with user.connected() as connection:
        answer = connection.ask(question)

    assert answer["model"] == second


def test_when_no_model_answers_the_error_is_retryable_and_nothing_is_stored(sandbox: Sandbox, user: Person) -> None:
    question = unique(QUESTION)
    sandbox.fault(containing=question, error="ServiceUnavailableException", times=50)

    refused = user.chat(question)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert user.conversations() == []


def test_a_slow_model_leaves_time_for_the_next(sandbox: Sandbox, user: Person) -> None:
    first, second, *_ = _models(sandbox)
    question = unique(QUESTION)
    sandbox.fault(containing=question, model=first, delay=60.0, times=50)

    started = time.monotonic()
    answer = user.chat(question).raise_for_status().json()

    assert answer["model"] == second
    assert time.monotonic() - started < TURN_SECONDS + 2


def test_a_broken_stream_is_said_and_stores_nothing(sandbox: Sandbox, user: Person) -> None:
    question = unique(QUESTION)
    sandbox.fault(containing=question, break_after=2, times=50)

    with user.connected() as connection:
        refused = connection.ask(question, request_id="broken")

    assert (refused["type"], refused["retryable"], refused["request_id"]) == ("error", True, "broken")
    assert user.conversations() == []


def test_chat_answers_without_passages_when_the_knowledge_path_is_down(sandbox: Sandbox, user: Person) -> None:
    question = unique(QUESTION)
    sandbox.fault(containing=question, operation="InvokeModel", error="ServiceUnavailableException", times=50)

    answer = user.chat(question).raise_for_status().json()

    assert answer["knowledge"] == "unavailable"
    assert answer["citations"] == []


def test_a_retried_request_is_one_turn(user: Person) -> None:
    key = str(uuid.uuid4())
    first = user.chat("What is a turn?", key=key).raise_for_status()
    second = user.chat("What is a turn?", key=key).raise_for_status()

    assert second.json() == first.json()
    [conversation] = user.conversations()
    assert len(user.http.get(f"/conversations/{conversation['conversation_id']}").json()["turns"]) == 2


def test_a_key_belongs_to_one_request(user: Person) -> None:
    key = str(uuid.uuid4())
    user.chat("What is a turn?", key=key).raise_for_status()

    refused = user.chat("What is a session?", key=key)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_failed")


@pytest.mark.alone
def test_a_function_killed_in_a_turn_leaves_one_turn_after_the_retry(sandbox: Sandbox, user: Person) -> None:
    question, key = unique(QUESTION), str(uuid.uuid4())
    sandbox.fault(containing=question, operation="Converse", delay=8.0, times=1)
    before = sandbox.running("chat")
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(user.chat(question, key=key)))
    asking.start()
    time.sleep(3)
    _kill(before | sandbox.running("chat"))
    asking.join()
    assert answers[0].status_code >= 500

    until = time.monotonic() + 90
    while (retried := user.chat(question, key=key)).status_code == 409:
        assert time.monotonic() < until
        time.sleep(int(retried.headers["retry-after"]))

    assert retried.status_code == 200
    [conversation] = user.conversations()
    assert conversation["conversation_id"] == retried.json()["conversation_id"]
    assert len(user.http.get(f"/conversations/{conversation['conversation_id']}").json()["turns"]) == 2


def _kill(functions: set[psutil.Process]) -> None:
    assert functions
    for function in functions:
        function.kill()
