"""Conversations through their function: listed, read, exported and deleted by their owner, and found by nobody else."""

import pytest

from tests.unit.text_function_doubles import BOB, Cloud, cloud

__all__ = ["cloud"]


def test_conversations_are_listed_read_exported_and_deleted(cloud: Cloud) -> None:
    first, second = cloud.chat("First?")[1], cloud.chat("Second?")[1]
    _, page, _ = cloud.http("conversations", "GET", "/conversations", queryStringParameters={"limit": "1"})
    assert [c["title"] for c in page["conversations"]] == ["Second?"]
    rest = {"limit": "1", "cursor": page["cursor"]}
    _, page, _ = cloud.http("conversations", "GET", "/conversations", queryStringParameters=rest)
    assert [c["conversation_id"] for c in page["conversations"]] == [first["conversation_id"]]
    path = f"/conversations/{second['conversation_id']}"
    _, detail, _ = cloud.http("conversations", "GET", path)
    assert [turn["message"] for turn in detail["turns"]] == ["Second?", "An answer."]
    _, exported, headers = cloud.http("conversations", "GET", f"{path}/export")
    assert exported == detail
    assert "attachment" in headers["Content-Disposition"]
    assert cloud.http("conversations", "DELETE", path)[0] == 204
    assert cloud.http("conversations", "GET", path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_or_unknown_conversation_is_not_found(cloud: Cloud, method: str) -> None:
    hers = cloud.chat()[1]["conversation_id"]
    for conversation_id in (hers, "0" * 28, "nope"):
        status, body, _ = cloud.http("conversations", method, f"/conversations/{conversation_id}", subject=BOB)
        assert (status, body["error"]["code"]) == (404, "not_found")
    assert cloud.http("conversations", "GET", f"/conversations/{hers}")[0] == 200


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"limit": "²"}, {"cursor": "x"}])
def test_a_list_refuses_what_it_does_not_understand(cloud: Cloud, query: dict[str, str]) -> None:
    assert cloud.http("conversations", "GET", "/conversations", queryStringParameters=query)[0] == 422
