"""`scripts/evaluate --env` against servers that speak the services' protocols: what it makes, and that it is gone."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from benchmarks import knowledge_evaluate, knowledge_stores
from benchmarks.knowledge_stores import OPENSEARCH_SCHEMA
from operations.environment import OperationError
from sandbox.models.embedding import embed
from tests.unit.http_double import Asked, Server, serving
from tests.unit.opensearch_double import CREDENTIALS, FIELDS, VectorCollection, check_signature
from tests.unit.test_s3_vectors_store import Service

BUCKET = "arn:aws:s3vectors:us-east-1:123456789012:bucket/parley-vectors"
OPERATOR = "arn:aws:sts::123456789012:assumed-role/Operator/ada"
SETTINGS = {
    "VECTOR_STORE": "s3vectors",
    "VECTOR_INDEX_ARN_A": f"{BUCKET}/index/passages-a",
    "EMBEDDING_MODEL": "amazon.titan-embed-text-v2:0",
}
PARAGRAPHS = {
    "Bees live in hives and make honey from nectar.": "What do bees make honey from?",
    "The volcano erupted in 1883 and was heard far away.": "When did the volcano erupt?",
    "Copper conducts electricity better than iron does.": "Which metal conducts better than iron?",
}
NOT_ALLOWED = (403, b'{"__type": "AccessDeniedException", "message": "not yet"}')


@dataclass
class Cloud:
    """S3 Vectors, OpenSearch Serverless, Bedrock and STS, as far as an evaluation asks them."""

    vectors: Service = field(default_factory=Service)
    vector_indexes: set[str] = field(default_factory=set)
    collection: VectorCollection = field(default_factory=VectorCollection)
    indexes: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, Any] = field(default_factory=dict)
    refusals: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    """What the next requests of an operation get instead of an answer."""
    made: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        operation = asked.headers.get("x-amz-target", asked.path).rpartition(".")[2].rpartition("/")[2]
        if waiting := self.refusals.get(operation):
            return waiting.pop(0)
        if asked.body.startswith(b"Action="):
            assert parse_qs(asked.body.decode())["Action"] == ["GetCallerIdentity"]
            identity = f"<GetCallerIdentityResult><Arn>{OPERATOR}</Arn></GetCallerIdentityResult>"
            return 200, f"<GetCallerIdentityResponse>{identity}</GetCallerIdentityResponse>".encode()
        if operation == "_search":
            return self.on_index(asked, lambda: self.collection.search(json.loads(asked.body)))
        if operation == "_bulk":
            lines = [json.loads(line) for line in asked.body.splitlines()]
            return self.on_index(asked, lambda: self.collection.bulk(lines))
        body = json.loads(asked.body)
        if operation == "invoke":
            return 200, json.dumps({"embedding": embed(body["inputText"]).tolist()}).encode()
        act, missing = (
            (self.control, "ResourceNotFoundException")
            if "x-amz-target" in asked.headers
            else (self.s3_vectors, "NotFoundException")
        )
        try:
            return 200, json.dumps(act(operation, body)).encode()
        except KeyError:
            return 404, json.dumps({"__type": missing, "message": "no such thing"}).encode()

    def on_index(self, asked: Asked, act: Callable[[], Any]) -> tuple[int, bytes]:
        check_signature(asked)
        if asked.path.split("/")[1] not in self.indexes:
            return 404, b"{}"
        found = act()
        self.collection.refresh()
        return 200, json.dumps(found).encode()

    def control(self, operation: str, body: Any) -> Any:
        match operation:
            case "BatchGetCollection":
                return {"collectionDetails": [{"id": body["ids"][0], "name": "kb-parley"}]}
            case "CreateAccessPolicy":
                [statement] = json.loads(body["policy"])
                assert statement["Principal"] == [OPERATOR]
                assert statement["Rules"][0]["Resource"] == [f"index/kb-parley/{body['name']}"]
                self.policies[body["name"]] = statement
            case "DeleteAccessPolicy":
                del self.policies[body["name"]]
            case "CreateIndex":
                assert body["indexName"] in self.policies, "the operator may not do this yet"
                self.made.append(body["indexName"])
                self.indexes[body["indexName"]] = body["indexSchema"]
            case "DeleteIndex":
                del self.indexes[body["indexName"]]
                self.collection.documents.clear()
            case _:
                raise AssertionError(operation)
        return {}

    def s3_vectors(self, operation: str, body: Any) -> Any:
        match operation:
            case "CreateIndex":
                assert (body["vectorBucketName"], body["dimension"]) == ("parley-vectors", 1024)
                self.made.append(body["indexName"])
                self.vector_indexes.add(f"{BUCKET}/index/{body['indexName']}")
                return {}
            case "DeleteIndex":
                self.vector_indexes.remove(f"{BUCKET}/index/{body['indexName']}")
                self.vectors.vectors.clear()
                return {}
        assert body["indexArn"] in self.vector_indexes
        return {"PutVectors": self.vectors.put, "QueryVectors": self.vectors.query}[operation](body)

    def is_clean(self) -> bool:
        return not (self.vector_indexes or self.indexes or self.policies)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def server(cloud: Cloud) -> Iterator[Server]:
    with serving(cloud.answer) as server:
        yield server


@pytest.fixture
def settings(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The settings of a deployed environment `dev`, whose services are the servers."""
    settings = SETTINGS | {"COLLECTION_ENDPOINT": server.url}
    environment = SimpleNamespace(
        name="dev",
        region="us-east-1",
        client_options={
            "region_name": "us-east-1",
            "endpoint_url": server.url,
            "aws_access_key_id": CREDENTIALS.access_key,
            "aws_secret_access_key": CREDENTIALS.secret_key,
            "aws_session_token": CREDENTIALS.token,
        },
        function_settings=lambda function: settings,
    )
    monkeypatch.setattr(knowledge_evaluate, "resolve", lambda name, region: environment)
    monkeypatch.setattr(knowledge_stores, "_POLL_SECONDS", 0)
    for name in ("AWS_ENDPOINT_URL_S3VECTORS", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield settings
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def data_set(tmp_path: Path) -> str:
    articles = [
        {"paragraphs": [{"context": text, "qas": [{"question": question}]}]} for text, question in PARAGRAPHS.items()
    ]
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"data": articles}))
    return str(path)


@pytest.mark.usefixtures("settings")
def test_every_store_is_measured_in_its_modes_and_left_as_it_was(
    data_set: str, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = ["--store", "faiss", "--store", "s3vectors", "--store", "opensearch"]
    assert knowledge_evaluate.main([data_set, "--env", "dev", *stores, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["store"], row["mode"]) for row in rows] == [
        ("faiss", "vector"),
        ("faiss", "lexical"),
        ("faiss", "hybrid"),
        ("s3vectors", "vector"),
        ("opensearch", "vector"),
        ("opensearch", "hybrid"),
    ]
    assert all(row["recall_at_5"] == 1 and row["p50_ms"] > 0 for row in rows)
    assert len(cloud.made) == 2
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_the_environments_own_store_is_the_default(
    data_set: str, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--thresholds", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["store"], row["of"]) for row in rows} == {("s3vectors", "score")}
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("store", ["s3vectors", "opensearch"])
def test_ctrl_c_leaves_nothing_behind(store: str, data_set: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        assert not cloud.is_clean()
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(knowledge_evaluate, "evaluate", interrupted)
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", store]) == 130
    assert cloud.made
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_being_asked_to_end_leaves_nothing_behind(data_set: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_evaluate, "evaluate", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        knowledge_evaluate.main([data_set, "--env", "dev"])
    assert ended.value.code == 143
    assert cloud.made
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_a_new_collection_policy_is_waited_for(data_set: str, cloud: Cloud) -> None:
    cloud.refusals = {"CreateIndex": [NOT_ALLOWED] * 2, "_search": [(403, b"{}"), (404, b"{}")]}
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", "opensearch"]) == 0
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_what_is_written_is_waited_for(data_set: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud.collection, "refresh", lambda: None)
    monkeypatch.setattr(knowledge_stores, "READY_SECONDS", 0)
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", "opensearch"]) == 1
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_a_refusal_for_good_is_one_sentence(data_set: str, cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.refusals = {"CreateIndex": [(400, b'{"__type": "ServiceQuotaExceededException", "message": "full"}')] * 9}
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", "opensearch"]) == 1
    said = capsys.readouterr().err
    assert "The evaluation in dev ended early" in said
    assert "by hand" not in said
    assert cloud.is_clean()


@pytest.mark.usefixtures("settings")
def test_what_cannot_be_deleted_is_named_and_the_rest_is_deleted(
    data_set: str, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.refusals = {"DeleteIndex": [NOT_ALLOWED]}
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", "opensearch"]) == 0
    assert f"Delete the index {cloud.made[0]} of kb-parley by hand" in capsys.readouterr().err
    assert not cloud.policies


def test_a_store_that_is_not_there_is_one_sentence(
    data_set: str, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del settings["COLLECTION_ENDPOINT"]
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--store", "opensearch"]) == 1
    assert capsys.readouterr().err == "The environment dev has no opensearch store: its vectorStore is s3vectors.\n"
    assert knowledge_evaluate.main([data_set, "--store", "s3vectors"]) == 1
    assert "--env" in capsys.readouterr().err
    assert knowledge_evaluate.main([data_set, "--env", "dev", "--mode", "lexical"]) == 1
    assert capsys.readouterr().err == "s3vectors has no mode lexical: it has vector.\n"


def test_an_unknown_environment_is_one_sentence(
    data_set: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(name: str, region: str | None) -> None:
        raise OperationError(f"No environment {name} is deployed.")

    monkeypatch.setattr(knowledge_evaluate, "resolve", unknown)
    assert knowledge_evaluate.main([data_set, "--env", "nowhere"]) == 1
    assert capsys.readouterr().err == "No environment nowhere is deployed.\n"


@pytest.mark.usefixtures("settings")
def test_an_embedding_model_that_does_not_answer_is_one_sentence(
    data_set: str, cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    cloud.refusals = {"invoke": [(429, b'{"__type": "ThrottlingException", "message": "slow"}')] * 100}
    assert knowledge_evaluate.main([data_set, "--env", "dev"]) == 1
    assert "The evaluation ended early." in capsys.readouterr().err


def test_the_index_that_is_made_has_the_fields_of_the_deployed_one() -> None:
    assert set(OPENSEARCH_SCHEMA["mappings"]["properties"]) == FIELDS
