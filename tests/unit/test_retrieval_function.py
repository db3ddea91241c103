"""Questions through the retrieval function: filters, refusals, outages, and nothing of them in a log."""

import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from parley.aws import clients
from parley.errors import StoreUnavailable
from parley.settings import SettingsError

from tests.unit.knowledge_function_doubles import ADA, BOB, BUCKET, Cloud, Context, client_error, cloud

__all__ = ["cloud"]


def test_a_question_that_nothing_comes_near_gets_no_passages(cloud: Cloud) -> None:
    cloud.add("a.txt", "Volcanoes erupt.")
    cloud.settle()
    assert cloud.ask("zymurgy quokka xylophone") == []


def test_a_filter_names_fields_of_records_and_documents(cloud: Cloud) -> None:
    words = [
        {"word": "bees", "language": "en", "level": 1, "common": True},
        {"word": "abeilles, les bees", "language": "fr", "level": 1, "common": False},
        {"word": "bees, Bienen", "language": "de", "level": 2.5, "common": True},
    ]
    ids = [cloud.add("words.json", json.dumps(words)), cloud.add("prose.txt", "Bees sleep in winter.")]
    ids.append(cloud.add("table.csv", "word,level\nbees in a table,1\n"))
    cloud.settle()

    def found(**where: Any) -> set[tuple[str, str]]:
        body = {"query": "bees", "top_k": 20, "filter": where}
        status, answer = cloud.http("POST", "/rag/query", body)
        assert status == 200, answer
        return {(found["document"], found["text"].split("\n")[0]) for found in answer["passages"]}

    english, french, german = (("words.json", f"word: {record['word']}") for record in words)
    prose, table = ("prose.txt", "Bees sleep in winter."), ("table.csv", "word: bees in a table")
    assert found() == {english, french, german, prose, table}
    assert found(language="fr") == {french}
    assert found(language=["fr", "de"], common=True) == {german}
    assert found(level=1) == {english, french}
    assert found(level=[1.0, 2.5]) == {english, french, german}
    assert found(level="1") == {table}
    assert found(document_id=ids[1]) == {prose}
    assert found(document_id=ids[:2], level=2.5) == {german}
    assert found(language="it") == set()


def test_a_filter_opens_nobody_elses_documents(cloud: Cloud) -> None:
    id_ = cloud.add("secret.json", json.dumps([{"name": "Ada keeps bees", "place": "garden"}]))
    cloud.settle()
    for where in ({"document_id": id_}, {"place": "garden"}, {"owner": f"user-{ADA}"}):
        body = {"query": "Ada keeps bees", "filter": where}
        assert cloud.http("POST", "/rag/query", body, subject=BOB) == (200, {"passages": []})


@pytest.mark.parametrize(
    "where",
    [
        [],
        "language",
        {"language": None},
        {"language": {"$ne": "fr"}},
        {"language": [["fr"]]},
        {"language": []},
        {"language": "x" * 201},
        {"": "fr"},
        {"level": 10**18},
        {"level": list(range(21))},
        {f"field-{n}": n for n in range(11)},
        {"document_id": 7},
        {"document_id": "no/id"},
    ],
)
def test_bad_filters_are_refused_in_a_sentence(cloud: Cloud, where: Any) -> None:
    status, answer = cloud.http("POST", "/rag/query", {"query": "bees", "filter": where})
    assert (status, answer["error"]["code"]) == (422, "validation_failed")
    assert answer["error"]["message"].endswith(".")
    assert "filter" in answer["error"]["message"]


@pytest.mark.parametrize(
    "failure",
    [client_error("ThrottlingException", 429), ReadTimeoutError(endpoint_url="https://bedrock.example")],
)
def test_a_model_that_does_not_answer_makes_knowledge_unavailable(cloud: Cloud, failure: Exception) -> None:
    cloud.titan.failure = failure
    status, answer = cloud.http("POST", "/rag/query", {"query": "bees"})
    assert (status, answer["error"]["code"]) == (503, "knowledge_unavailable")


def test_vectors_of_another_length_make_knowledge_unavailable(cloud: Cloud) -> None:
    cloud.titan.dimensions = 256
    assert cloud.http("POST", "/rag/query", {"query": "bees"})[0] == 503


def test_a_refused_model_call_is_an_error_of_ours(cloud: Cloud) -> None:
    cloud.titan.failure = client_error("AccessDeniedException", 403)
    status, answer = cloud.http("POST", "/rag/query", {"query": "bees"})
    assert (status, answer["error"]["code"]) == (500, "internal")


def test_a_store_that_is_down_makes_knowledge_unavailable(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.add("a.txt", "Bees hum.")
    cloud.settle()

    def down(**_: object) -> None:
        raise client_error("InternalServerError", 500)

    monkeypatch.setattr(clients.dynamodb(), "batch_get_item", down)
    status, answer = cloud.http("POST", "/rag/query", {"query": "bees hum"})
    assert (status, answer["error"]["code"]) == (503, "knowledge_unavailable")


@pytest.mark.parametrize(
    "body",
    [{}, {"query": ""}, {"query": "  "}, {"query": "a", "top_k": 0}, {"query": "a", "top_k": 21}, {"query": 1},
     {"query": "a", "subject": BOB}, {"query": "x" * 32_001}],
)  # fmt: skip
def test_bad_queries_are_refused(cloud: Cloud, body: Any) -> None:
    status, answer = cloud.http("POST", "/rag/query", body)
    assert (status, answer["error"]["code"]) == (422, "validation_failed")


def test_direct_invocation_answers_passages_or_an_error(cloud: Cloud) -> None:
    cloud.add("a.txt", "Bees hum.")
    cloud.settle()
    invoke = cloud.retrieval.handler
    answer = invoke({"subject": ADA, "query": "bees hum", "top_k": 1}, Context())
    assert [passage["text"] for passage in answer["passages"]] == ["Bees hum."]
    assert invoke({"subject": BOB, "query": "bees hum"}, Context()) == {"passages": []}
    assert invoke({"query": "bees hum"}, Context())["error"]["code"] == "validation_failed"
    # Half a surrogate pair is valid in a Lambda payload's JSON, and no text.
    assert invoke({"subject": ADA, "query": "bees \ud800 hum"}, Context())["passages"]
    cloud.titan.failure = client_error("ThrottlingException", 429)
    assert invoke({"subject": ADA, "query": "bees hum"}, Context())["error"]["code"] == "knowledge_unavailable"


def test_no_log_line_holds_content(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    cloud.add("zebrafile.txt", "The zebraword is secret.")
    cloud.settle()
    cloud.ask("What is the zebraword?")
    cloud.s3.put_object(Bucket=BUCKET, Key=f"documents/user-{ADA}/bad/zebrafile.txt", Body=b"zebraword \xff")
    cloud.settle()
    output = "\n".join(str(record.__dict__) for record in caplog.records)
    assert "Retrieved" in output
    assert "cannot be indexed" in output
    assert "zebra" not in output


def test_retrieval_is_warmed_up_by_an_event_of_its_own(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cloud.retrieval.handler({"warm_up": True}, Context()) == {"warm": True}

    def asleep() -> None:
        raise StoreUnavailable

    monkeypatch.setattr(cloud.retrieval.retrieval().index, "prepare", asleep)
    assert cloud.retrieval.handler({"warm_up": True}, Context()) == {"warm": False}


def test_an_unknown_vector_store_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTOR_STORE", "chalkboard")
    with pytest.raises(SettingsError, match="chalkboard"):
        cloud.retrieval.retrieval()
