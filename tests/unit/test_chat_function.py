"""POST /chat through its entry point: answers, documented errors, and one answer for a repeated request."""

import json
from typing import Any

import pytest
from parley.aws.bedrock_models import BedrockModels
from parley.errors import StoreUnavailable

from tests.unit.conversation_doubles import throttled
from tests.unit.text_function_doubles import BOB, MODEL, Cloud, cloud

__all__ = ["cloud"]


def test_a_chat_begins_and_goes_on(cloud: Cloud) -> None:
    status, first, headers = cloud.chat()
    assert status == 200
    assert first | {"conversation_id": "", "turn_id": ""} == {
        "conversation_id": "",
        "turn_id": "",
        "message": "An answer.",
        "citations": [],
        "model": MODEL,
        "usage": {"input_tokens": 100, "output_tokens": 10, "cost_usd": pytest.approx(0.0000084)},
        "knowledge": "off",
    }
    assert headers["Cache-Control"] == "no-store"
    _, second, _ = cloud.chat("And?", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert [message.text for message in cloud.model.prompts[-1].messages] == ["Why?", "An answer.", "And?"]


def test_a_role_chooses_its_models(cloud: Cloud) -> None:
    assert cloud.chat(model_role="reasoning")[1]["model"] == "b"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (None, 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        ("\ud800", 400, "invalid_json"),
        ('{"message": "\\ud800"}', 400, "invalid_json"),
        ("[]", 422, "validation_failed"),
        ({}, 422, "validation_failed"),
        ({"message": 1}, 422, "validation_failed"),
        ({"message": " \n"}, 422, "validation_failed"),
        ({"message": "x", "extra": 1}, 422, "validation_failed"),
        ({"message": "x", "model_role": "summary"}, 422, "validation_failed"),
        ({"message": "x" * 100_000}, 413, "payload_too_large"),
        ({"message": "x", "conversation_id": "nope"}, 404, "not_found"),
        ({"message": "x", "conversation_id": "0" * 28}, 404, "not_found"),
    ],
)
def test_bad_input_gets_its_documented_error_and_leaves_nothing(
    cloud: Cloud, body: Any, status: int, code: str
) -> None:
    answered, error, _ = cloud.http("chat", "POST", "/chat", body)
    assert (answered, error["error"]["code"], error["error"]["request_id"]) == (status, code, "request-1")
    assert cloud.items("conversations") == []
    assert cloud.model.calls == []


def test_an_unknown_field_is_named(cloud: Cloud) -> None:
    assert "`extra`" in cloud.http("chat", "POST", "/chat", {"message": "x", "extra": 1})[1]["error"]["message"]


def test_a_body_in_base64_is_read(cloud: Cloud) -> None:
    assert cloud.http("chat", "POST", "/chat", "eyJtZXNzYWdlIjogIngifQ==", isBase64Encoded=True)[0] == 200
    assert cloud.http("chat", "POST", "/chat", "%%%", isBase64Encoded=True)[0] == 400


def test_nobody_without_an_identity_is_answered(cloud: Cloud) -> None:
    for subject in (None, "a#b"):
        assert cloud.http("chat", "POST", "/chat", {"message": "x"}, subject=subject)[0] == 401


def test_a_path_that_is_not_there_has_the_documented_error(cloud: Cloud) -> None:
    status, error, _ = cloud.http("chat", "GET", "/elsewhere")
    assert (status, error["error"]["code"]) == (404, "not_found")


def test_another_users_conversation_is_not_found(cloud: Cloud) -> None:
    hers = cloud.chat()[1]["conversation_id"]
    assert cloud.chat(subject=BOB, conversation_id=hers)[0] == 404


def test_the_next_model_answers_and_the_fallback_is_counted(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.model.script = {MODEL: [throttled(MODEL)]}
    assert cloud.chat()[1]["model"] == "b"
    assert "ModelFallbacks" in capsys.readouterr().out


def test_no_model_is_a_retryable_error(cloud: Cloud) -> None:
    cloud.model.script = {model: [throttled(model)] * 2 for model in (MODEL, "b")}
    status, error, headers = cloud.chat()
    assert (status, error["error"]["code"]) == (503, "model_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert cloud.items("conversations") == []


def test_a_busy_store_is_a_retryable_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("parley.aws.conversation_table.ConversationTable.append", busy)
    status, error, headers = cloud.chat()
    assert (status, error["error"]["code"], "Retry-After" in headers) == (503, "store_unavailable", True)


def test_what_nobody_expected_is_an_error_without_a_trace(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(BedrockModels, "generate", crash)
    status, error, _ = cloud.chat()
    assert (status, error["error"]["code"]) == (500, "internal")
    assert "secret" not in json.dumps(error)


def test_nothing_that_was_said_is_logged(cloud: Cloud, capfd: pytest.CaptureFixture[str]) -> None:
    cloud.model.answer = "The answer is swordfish."
    cloud.chat("Is it swordfish?")
    logged = capfd.readouterr()
    assert "swordfish" not in logged.out + logged.err
    assert "Turns" in logged.out


def test_a_repeated_key_gets_the_same_answer_once_stored(cloud: Cloud) -> None:
    first, again = cloud.chat(key="k"), cloud.chat(key="k")
    assert (again[0], again[1]) == (first[0], first[1])
    assert again[2]["Idempotent-Replayed"] == "true"
    assert len(cloud.model.calls) == 1
    assert cloud.chat("Something else?", key="k")[1]["error"]["code"] == "validation_failed"
    assert cloud.chat(key="k", subject=BOB)[1]["conversation_id"] != first[1]["conversation_id"]
    assert cloud.chat(key="x" * 129)[0] == 422


def test_a_turn_that_was_killed_after_it_was_stored_is_not_stored_again(cloud: Cloud) -> None:
    first = cloud.chat(key="k")[1]
    for item in cloud.items("idempotency"):
        cloud.dynamodb.delete_item(TableName="idempotency", Key={"id": item["id"]})
    assert cloud.chat(key="k")[1] == first
    assert len([item for item in cloud.items("conversations") if item["sk"]["S"].startswith("turn#")]) == 2


def test_an_answer_that_is_stored_counts_although_its_request_cannot_be_noted(cloud: Cloud) -> None:
    generate = cloud.model.generate

    def and_the_table_goes(*arguments: Any, **options: Any) -> Any:
        cloud.dynamodb.delete_table(TableName="idempotency")
        return generate(*arguments, **options)

    cloud.model.generate = and_the_table_goes  # type: ignore[method-assign]  # the table fails during the turn
    status, answer, _ = cloud.chat(key="k")
    assert (status, answer["message"]) == (200, "An answer.")


def test_the_answer_of_a_deleted_conversation_is_gone(cloud: Cloud) -> None:
    conversation_id = cloud.chat(key="k")[1]["conversation_id"]
    cloud.http("conversations", "DELETE", f"/conversations/{conversation_id}")
    assert cloud.chat(key="k")[0] == 404
