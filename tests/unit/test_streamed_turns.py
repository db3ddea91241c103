"""Turns through the function that streams them: told piece by piece, stored once, and failed in plain words."""

from typing import Any

import pytest
from parley.aws.bedrock_models import BedrockModels

from tests.unit.conversation_doubles import throttled
from tests.unit.text_function_doubles import MODEL, Cloud, cloud

__all__ = ["cloud"]


def test_a_turn_streams_and_is_stored(cloud: Cloud) -> None:
    cloud.model.script = {MODEL: [["One ", "two ", "three."]]}
    cloud.order(request_id="r-1")
    *deltas, done, usage = cloud.posts.messages
    assert {message["type"] for message in deltas} == {"message.delta"}
    assert "".join(message["text"] for message in deltas) == done["message"] == "One two three."
    assert (done["type"], done["request_id"], done["citations"], done["model"]) == ("message.done", "r-1", [], MODEL)
    assert {message["turn_id"] for message in deltas} == {done["turn_id"]} == {usage["turn_id"]}
    assert usage["type"] == "usage"
    path = f"/conversations/{done['conversation_id']}"
    assert cloud.http("conversations", "GET", path)[1]["turns"][1]["message"] == "One two three."


def test_a_repeated_turn_gets_the_stored_answer(cloud: Cloud) -> None:
    cloud.order(request_id="r-1")
    first = cloud.posts.messages[-2]
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert cloud.posts.messages[0] == first
    assert len(cloud.model.calls) == 1


def test_a_turn_that_fails_says_so(cloud: Cloud) -> None:
    cloud.model.script = {model: [throttled(model)] * 2 for model in (MODEL, "b")}
    cloud.order(request_id="r-1")
    [error] = cloud.posts.messages
    assert (error["code"], error["retryable"], error["request_id"]) == ("model_unavailable", True, "r-1")
    cloud.order(conversation_id="0" * 28)
    assert cloud.posts.messages[-1]["code"] == "not_found"


def test_a_turn_that_crashes_says_no_more_than_that(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(BedrockModels, "generate", crash)
    cloud.order()
    assert [message["code"] for message in cloud.posts.messages] == ["internal"]


def test_a_turn_whose_client_has_left_is_stored_all_the_same(cloud: Cloud) -> None:
    cloud.frame("", kind="CONNECT")
    cloud.posts.gone = True
    cloud.order()
    assert len([item for item in cloud.items("conversations") if item["sk"]["S"].startswith("turn#")]) == 2
    assert cloud.items("connections") == []
