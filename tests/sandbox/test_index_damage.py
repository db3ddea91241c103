"""Segments of the deployed FAISS index that somebody deletes or overwrites: the answers come back by themselves."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.people import Person, Sandbox

SECONDS_TO_MEND = 120


class Index:
    """The index in use, as objects."""

    def __init__(self, sandbox: Sandbox) -> None:
        data = sandbox.outputs_of("Data")
        key = {"pk": {"S": "indexes"}, "sk": {"S": "current"}}
        found = sandbox.aws("dynamodb").get_item(TableName=data["KnowledgeTableName"], Key=key, ConsistentRead=True)
        slot = found["Item"]["active"]["S"].partition("/")[2] if "Item" in found else "a"
        self.s3: Any = sandbox.aws("s3")
        self.bucket = data["DocumentsBucketName"]
        self.prefix = f"indexes/faiss/{slot}/"

    def segments(self) -> set[str]:
        """The keys of the segments that the manifest names."""
        manifest = self.s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}manifest.json")["Body"].read()
        return {f"{self.prefix}segments/{segment['id']}" for segment in json.loads(manifest)["segments"]}

    def markers(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="indexes/faiss/damaged/").get("Contents", [])
        return [item["Key"] for item in listed]


# The segment has to be lost before anybody's question loads it.
@pytest.mark.alone
@pytest.mark.parametrize("harm", ["deleted", "overwritten"])
def test_what_a_lost_segment_held_is_found_again(sandbox: Sandbox, user: Person, harm: str) -> None:
    index, word = Index(sandbox), uuid.uuid4().hex
    before = index.segments()
    text = f"The lighthouse is called {word}."
    added = user.http.post("/knowledge/documents", json={"name": "lighthouse.md", "text": text})
    document_id = added.raise_for_status().json()["document_id"]
    _wait(lambda: user.http.get(f"/knowledge/documents/{document_id}").json()["state"] == "ready")
    # The document's own, and one that its writer merged.
    lost = index.segments() - before
    for key in lost:
        if harm == "deleted":
            index.s3.delete_object(Bucket=index.bucket, Key=key)
        else:
            index.s3.put_object(Bucket=index.bucket, Key=key, Body=b"nonsense")

    assert not _finds(user, word)

    _wait(lambda: _finds(user, word))
    _wait(lambda: index.markers() == [])
    assert lost.isdisjoint(index.segments())


def _finds(user: Person, word: str) -> bool:
    asked = {"query": f"Which lighthouse is called {word}?", "top_k": 3}
    answer = user.http.post("/rag/query", json=asked).raise_for_status().json()
    return any(word in passage["text"] for passage in answer["passages"])


def _wait(settled: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_TO_MEND
    while not settled():
        assert time.monotonic() < until
        time.sleep(0.3)
