"""A chunk that somebody changes in the knowledge table is found by its new text: the deployed stream and function."""

import time
import uuid
from collections.abc import Callable

from tests.sandbox.people import Person, Sandbox

SECONDS_TO_INDEX = 60


def test_a_chunk_changed_in_the_table_is_found_by_what_it_says_now(sandbox: Sandbox, user: Person) -> None:
    added = user.http.post("/knowledge/documents", json={"name": "harbour.md", "text": "The harbour is quiet in May."})
    document_id = added.raise_for_status().json()["document_id"]
    _wait(lambda: user.http.get(f"/knowledge/documents/{document_id}").json()["state"] == "ready")
    word = uuid.uuid4().hex
    assert _texts(user, word) == []

    table, store = sandbox.outputs_of("Data")["KnowledgeTableName"], sandbox.aws("dynamodb")
    pages = store.get_paginator("scan").paginate(TableName=table)
    [key] = [
        {"pk": item["pk"], "sk": item["sk"]}
        for page in pages
        for item in page["Items"]
        if item["pk"]["S"].endswith(f"#{document_id}")
    ]
    store.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #text = :text",
        ExpressionAttributeNames={"#text": "text"},
        ExpressionAttributeValues={":text": {"S": f"The lighthouse is called {word}."}},
    )

    _wait(lambda: _texts(user, word) == [f"The lighthouse is called {word}."])


def _texts(user: Person, word: str) -> list[str]:
    query = f"Which lighthouse is called {word}?"
    answer = user.http.post("/rag/query", json={"query": query, "top_k": 1}).raise_for_status().json()
    return [passage["text"] for passage in answer["passages"] if word in passage["text"]]


def _wait(settled: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_TO_INDEX
    while not settled():
        assert time.monotonic() < until
        time.sleep(0.3)
