"""Many documents at once while the ingestion function is killed again and again: all ready, none twice, none lost."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from parley.aws import clients
from parley.aws.embeddings import DIMENSIONS
from parley.aws.items import from_item
from parley.aws.knowledge_items import chunk_id_of
from parley.functions.knowledge_parts import KnowledgeSettings, vector_index
from parley.knowledge.chunks import ChunkId

from sandbox.demo_user import session
from sandbox.killer import Killer, impatient_queue
from tests.sandbox.people import Person, Sandbox

logger = logging.getLogger(__name__)

DOCUMENTS = 1_000
KILLS = 8
SECONDS_BETWEEN_KILLS = (1.0, 6.0)
SECONDS = 600
"""For a machine that is busy with something else: where it is not, a minute will do."""


@pytest.fixture
def impatient(sandbox: Sandbox) -> Iterator[None]:
    with impatient_queue(sandbox):
        yield


@pytest.mark.alone
@pytest.mark.usefixtures("impatient")
def test_a_thousand_documents_survive_a_function_that_is_killed(
    sandbox: Sandbox, user: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, dead_before = time.monotonic(), _messages(sandbox, "DEAD_LETTER_QUEUE")
    killer = Killer(
        sandbox, module="ingestion", at_most=KILLS, pause=lambda random: random.uniform(*SECONDS_BETWEEN_KILLS)
    )
    killer.start()
    with ThreadPoolExecutor(max_workers=8) as pool:
        added = list(pool.map(lambda number: _add(user, number), range(DOCUMENTS)))
    uploaded = time.monotonic() - started
    _wait_until_empty(sandbox, started)
    killer.stop()
    seconds = time.monotonic() - started
    logger.info(
        "%d documents in %.0f s, the last one sent after %.0f s; %d kills",
        DOCUMENTS,
        seconds,
        uploaded,
        killer.killed.total(),
    )

    assert killer.killed.total() == KILLS
    documents = list(_own(user))
    assert sorted(document["document_id"] for document in documents) == sorted(added)
    assert {(document["state"], document["chunk_count"]) for document in documents} == {("ready", 1)}

    stored = _stored(sandbox, set(added))
    assert Counter(chunk.document_id for chunk in stored.chunks) == dict.fromkeys(added, 1)
    assert {(chunk.document_id, chunk.version) for chunk in stored.chunks} == set(stored.versions.items())
    assert Counter(_indexed(sandbox, stored.owner, monkeypatch)) == Counter(stored.chunks)
    assert _messages(sandbox, "DEAD_LETTER_QUEUE") == dead_before


def _add(user: Person, number: int) -> str:
    body = {"name": f"note-{number}.txt", "text": f"Note {number}: the harbour is quiet today."}
    document_id: str = user.http.post("/knowledge/documents", json=body).raise_for_status().json()["document_id"]
    return document_id


def _own(user: Person) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = user.http.get("/knowledge/documents", params={"limit": "100", **cursor}).raise_for_status().json()
        yield from (document for document in page["documents"] if not document["shared"])
        if page["cursor"] is None:
            return
        cursor = {"cursor": page["cursor"]}


@dataclass
class Stored:
    """What the knowledge table holds of one user's documents."""

    owner: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    chunks: list[ChunkId] = field(default_factory=list)


def _stored(sandbox: Sandbox, documents: set[str]) -> Stored:
    stored = Stored()
    table = sandbox.outputs_of("Data")["KnowledgeTableName"]
    for page in sandbox.aws("dynamodb").get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            values = from_item(item)
            if values["sk"].startswith("chunk#") and (chunk := chunk_id_of(values)).document_id in documents:
                stored.chunks.append(chunk)
            elif (document_id := values["sk"].removeprefix("document#")) in documents:
                stored.owner = values["pk"]
                stored.versions[document_id] = values["version"]
    return stored


def _indexed(sandbox: Sandbox, owner: str, monkeypatch: pytest.MonkeyPatch) -> list[ChunkId]:
    """Every chunk of an owner that the deployed index finds, read with the runtime's own parts."""
    account = session(sandbox.outputs["aws_endpoint"], sandbox.outputs["region"])
    for variable, name in {
        "AWS_ENDPOINT_URL": "endpoint_url",
        "AWS_DEFAULT_REGION": "region_name",
        "AWS_ACCESS_KEY_ID": "aws_access_key_id",
        "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    }.items():
        monkeypatch.setenv(variable, account[name])
    for client in (clients.s3, clients.dynamodb):
        client.cache_clear()
    index = vector_index(KnowledgeSettings.load(sandbox.function("ingestion")["Environment"]["Variables"]))
    index.prepare()
    vector = [1 / 32] * DIMENSIONS
    return [hit.id for hit in index.search(vector, owners=[owner], limit=2 * DOCUMENTS)]


def _messages(sandbox: Sandbox, queue: str) -> int:
    """Messages in a queue of the ingestion function, the hidden ones among them."""
    url = sandbox.function("ingestion")["Environment"]["Variables"][f"{queue}_URL"]
    names: list[Any] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sandbox.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, attributes.values()))


def _wait_until_empty(sandbox: Sandbox, started: float) -> None:
    """Wait until every message was worked off. It costs the sandbox less than looking at every document."""
    while _messages(sandbox, "DOCUMENTS_QUEUE"):
        assert time.monotonic() - started < SECONDS
        time.sleep(1)
