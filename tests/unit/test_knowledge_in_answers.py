"""Documents in answers, whole and streamed: citations link to them, tools look again, and without them chat goes on."""

import json
from typing import Any

import pytest
from parley.aws.invocations import RetrievalFunction
from parley.conversation.tools.tool import ToolUse
from parley.errors import KnowledgeUnavailable

from tests.unit.conversation_doubles import Library, passage
from tests.unit.text_function_doubles import MODEL, Cloud, cloud

__all__ = ["cloud"]

SOURCE = "https://bucket.example/documents/shared/doc-1/file-1.pdf?X-Amz-Signature=0123456789#page=2"


@pytest.fixture
def library(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Two passages, of which the model cites both; the second has no link."""
    found = Library([passage(1, page=2, source_url=SOURCE), passage(2)])
    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    monkeypatch.setattr(RetrievalFunction, "retrieve", lambda _, *args, **options: found.retrieve(*args, **options))
    cloud.model.answer = "It is so [1], and so [2]."
    return found


def test_an_answers_citations_link_to_their_documents_and_the_stored_turn_does_not(
    cloud: Cloud, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, answer, _ = cloud.chat(key="k-1")
    assert [citation["source_url"] for citation in answer["citations"]] == [SOURCE, None]

    stored = cloud.http("conversations", "GET", f"/conversations/{answer['conversation_id']}")[1]
    [_, turn] = stored["turns"]
    assert [citation["document_id"] for citation in turn["citations"]] == ["doc-1", "doc-2"]
    assert "bucket.example" not in json.dumps(stored)
    export = cloud.http("conversations", "GET", f"/conversations/{answer['conversation_id']}/export")[1]
    assert "bucket.example" not in json.dumps(export)

    _, replayed, headers = cloud.chat(key="k-1")
    assert headers["Idempotent-Replayed"] == "true"
    assert [citation["source_url"] for citation in replayed["citations"]] == [None, None]


def test_a_streamed_answers_citations_link_to_their_documents(cloud: Cloud, library: Library) -> None:
    cloud.order(request_id="r-1")
    [done] = [message for message in cloud.posts.messages if message["type"] == "message.done"]
    assert [citation["source_url"] for citation in done["citations"]] == [SOURCE, None]
    assert [citation["page"] for citation in done["citations"]] == [2, None]
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert [citation["source_url"] for citation in cloud.posts.messages[0]["citations"]] == [None, None]


SEARCH = ToolUse("use-1", "search_knowledge", {"query": "the private words of a user"})


def test_chat_may_look_again_and_counts_it(
    cloud: Cloud, library: Library, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cloud.model.script = {MODEL: [[SEARCH], ["So it is [1]."]]}
    _, answer, _ = cloud.chat()
    assert [query for _, query, _ in library.asked] == ["Why?", "the private words of a user"]
    assert answer["usage"]["input_tokens"] == 200
    assert [citation["document_id"] for citation in answer["citations"]] == ["doc-1"]
    assert "ToolRuns" in capsys.readouterr().out
    assert "private" not in str([vars(record) for record in caplog.records])


def test_a_failing_tool_is_logged_by_its_kind_alone(
    cloud: Cloud, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def second_fails(*_: Any, **__: Any) -> Any:
        if cloud.model.calls:
            raise ZeroDivisionError("the private words of a user")
        return []

    monkeypatch.setattr(RetrievalFunction, "retrieve", second_fails)
    cloud.model.script = {MODEL: [[SEARCH], ["I could not look."]]}
    status, answer, _ = cloud.chat()
    assert (status, answer["message"]) == (200, "I could not look.")
    [failed] = [record for record in caplog.records if record.getMessage() == "A tool failed"]
    assert vars(failed)["tool"] == "search_knowledge"
    assert vars(failed)["kind"] == "ZeroDivisionError"
    assert "private" not in str([vars(record) for record in caplog.records])


def test_a_streamed_turn_tells_of_its_tools_after_what_was_said_before(cloud: Cloud, library: Library) -> None:
    cloud.model.script = {MODEL: [["Let me see.", SEARCH], ["So it is [1]."]]}
    cloud.order(request_id="r-1")
    kinds = [message["type"] for message in cloud.posts.messages]
    assert kinds == ["message.delta", "tool", "tool", "message.delta", "message.done", "usage"]
    _, started, done, _, whole, _ = cloud.posts.messages
    assert (started["name"], started["status"], done["status"]) == ("search_knowledge", "started", "done")
    assert started["turn_id"] == done["turn_id"] == whole["turn_id"]
    assert whole["message"] == "Let me see.\n\nSo it is [1]."
    cloud.posts.messages.clear()
    cloud.order(request_id="r-1")
    assert "tool" not in cloud.told()


def test_without_the_knowledge_path_chat_answers_and_says_so(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise KnowledgeUnavailable

    monkeypatch.setenv("RETRIEVAL_FUNCTION", "retrieval")
    monkeypatch.setattr(RetrievalFunction, "retrieve", down)
    status, answer, _ = cloud.chat()
    assert (status, answer["knowledge"], answer["message"]) == (200, "unavailable", "An answer.")
