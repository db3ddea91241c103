"""Stands in for what the three knowledge functions call: moto's bucket, table and queues, and a model of words."""

import importlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws import clients

from tests.unit import conversation_doubles
from tests.unit.knowledge_doubles import bag_of_words

TABLE, BUCKET = "knowledge", "documents-bucket"
ADA, BOB, CURATOR = "ada-0001", "bob-0002", "carol-0003"


@dataclass
class Context(conversation_doubles.Context):
    """An invocation with less time."""

    seconds: float = 20.0


class Titan:
    """Answers InvokeModel as Titan Text Embeddings V2 does, or fails as told."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.dimensions: int | None = None

    def invoke_model(self, *, modelId: str, body: str, contentType: str, accept: str) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        request = json.loads(body)
        assert request["normalize"] is True
        vector = bag_of_words(request["inputText"], self.dimensions or request["dimensions"])
        return {"body": io.BytesIO(json.dumps({"embedding": vector, "inputTextTokenCount": 3}).encode())}


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "InvokeModel")  # type: ignore[typeddict-item]  # botocore fills the rest


@dataclass
class Cloud:
    s3: Any
    dynamodb: Any
    sqs: Any
    titan: Titan
    documents: ModuleType
    ingestion: ModuleType
    retrieval: ModuleType

    def http(
        self, method: str, path: str, body: Any = None, *, subject: str = ADA, query: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One request through the HTTP API, as `subject`."""
        claims = {"sub": subject, "cognito:groups": "[curators]" if subject == CURATOR else ""}
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {"content-type": "application/json"},
            "queryStringParameters": query or {},
            "requestContext": {
                "requestId": "request-1",
                "stage": "$default",
                "http": {"method": method, "path": path},
                "authorizer": {"jwt": {"claims": claims}},
            },
            "body": body if isinstance(body, str) or body is None else json.dumps(body),
            "isBase64Encoded": False,
        }
        function = self.retrieval if path.startswith("/rag") else self.documents
        response = function.handler(event, Context())
        return response["statusCode"], json.loads(response["body"]) if response.get("body") else None

    def deliver(self, *events: Any, attempt: int = 1, seconds: int = 300) -> list[str]:
        """Events through the queue; returns the ids of the messages that come again."""
        records = [
            {
                "messageId": f"m{number}",
                "receiptHandle": f"r{number}",
                "body": event if isinstance(event, str) else json.dumps(event),
                "attributes": {"ApproximateReceiveCount": str(attempt)},
                "eventSource": "aws:sqs",
            }
            for number, event in enumerate(events)
        ]
        response = self.ingestion.handler({"Records": records}, Context(seconds=seconds))
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def queued(self, name: str) -> list[Any]:
        """What was put into a queue, decoded where it is JSON."""
        messages = self.sqs.receive_message(QueueUrl=os.environ[f"{name}_URL"], MaxNumberOfMessages=10)
        bodies = [message["Body"] for message in messages.get("Messages", [])]
        return [json.loads(body) if body.startswith("{") else body for body in bodies]

    def settle(self) -> list[str]:
        """The events that the bucket would send: one for every file, and for every record's key without one."""
        keys = {item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix="documents/").get("Contents", [])}
        keys |= {item["key"]["S"] for item in self.dynamodb.scan(TableName=TABLE)["Items"] if "key" in item}
        return self.deliver(*(bucket_event(key) for key in sorted(keys)))

    def add(self, name: str, text: str, *, subject: str = ADA, shared: bool = False) -> str:
        status, document = self.http(
            "POST", "/knowledge/documents", {"name": name, "text": text, "shared": shared}, subject=subject
        )
        assert status == 201, document
        id_: str = document["document_id"]
        return id_

    def ask(self, question: str, *, subject: str = ADA, top_k: int = 5) -> list[Any]:
        status, answer = self.http("POST", "/rag/query", {"query": question, "top_k": top_k}, subject=subject)
        assert status == 200, answer
        passages: list[Any] = answer["passages"]
        return passages


def bucket_event(key: str, kind: str = "Object Created", *, size: int = 0) -> dict[str, Any]:
    about = {"key": key, "size": size}
    return {"source": "aws.s3", "detail-type": kind, "detail": {"bucket": {"name": BUCKET}, "object": about}}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_METRICS_NAMESPACE": "Parley",
        "POWERTOOLS_SERVICE_NAME": "knowledge",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "KNOWLEDGE_TABLE": TABLE,
        "DOCUMENTS_BUCKET": BUCKET,
        "VECTOR_STORE": "faiss",
        "EMBEDDING_MODEL": "amazon.titan-embed-text-v2:0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    functions = [
        importlib.import_module(f"parley.functions.{name}") for name in ("documents", "ingestion", "retrieval")
    ]
    documents, ingestion, retrieval = functions
    caches = [clients.s3, clients.dynamodb, clients.sqs, documents.library, retrieval.retrieval]
    caches += [ingestion.ingestion, ingestion.queue, ingestion.repairs, ingestion.settings]
    titan = Titan()
    monkeypatch.setattr(clients, "embedding_runtime", lambda attempts: titan)
    with mock_aws():
        for cached in caches:
            cached.cache_clear()
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        sqs = boto3.client("sqs")
        for name in ("DOCUMENTS_QUEUE", "DEAD_LETTER_QUEUE"):
            monkeypatch.setenv(f"{name}_URL", sqs.create_queue(QueueName=name)["QueueUrl"])
        monkeypatch.setenv("MAX_DELIVERIES", "10")
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        yield Cloud(s3, dynamodb, sqs, titan, documents, ingestion, retrieval)
    for cached in caches:
        cached.cache_clear()
