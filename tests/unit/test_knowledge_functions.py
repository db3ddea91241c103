"""The three knowledge functions through their entry points, over moto's S3 and DynamoDB."""

import base64
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
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from parley.aws import clients
from parley.errors import StoreUnavailable
from parley.knowledge.documents import MAX_DOCUMENT_BYTES, MAX_INLINE_BYTES
from parley.settings import SettingsError

from tests.unit.document_files import pdf as make_pdf
from tests.unit.document_files import repacked, word
from tests.unit.knowledge_doubles import bag_of_words

TABLE, BUCKET = "knowledge", "documents-bucket"
ADA, BOB, CURATOR = "ada-0001", "bob-0002", "carol-0003"


@dataclass
class Context:
    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:function"
    aws_request_id: str = "request-1"
    seconds: int = 20

    def get_remaining_time_in_millis(self) -> int:
        return self.seconds * 1000


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


def test_a_document_is_added_indexed_found_and_cited(cloud: Cloud) -> None:
    id_ = cloud.add("Sandbox.md", "# Sandbox\n\n## Gateway\n\nThe gateway closes idle connections after ten minutes.")
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[1]["state"] == "pending"
    assert cloud.settle() == []
    status, document = cloud.http("GET", f"/knowledge/documents/{id_}")
    assert status == 200
    assert (document["state"], document["chunk_count"], document["shared"]) == ("ready", 1, False)
    [passage] = cloud.ask("When does the gateway close idle connections?")
    assert passage["score"] > 0.3
    assert f"/documents/user-{ADA}/{id_}/Sandbox.md?" in passage.pop("source_url")
    assert {**passage, "score": 0} == {
        "document_id": id_,
        "document": "Sandbox.md",
        "heading": "Sandbox > Gateway",
        "page": None,
        "text": "The gateway closes idle connections after ten minutes.",
        "score": 0,
        "owner": f"user-{ADA}",
    }


def test_a_question_that_nothing_comes_near_gets_no_passages(cloud: Cloud) -> None:
    cloud.add("a.txt", "Volcanoes erupt.")
    cloud.settle()
    assert cloud.ask("zymurgy quokka xylophone") == []


def test_an_id_of_the_callers_choice_makes_one_document_however_often_it_is_sent(cloud: Cloud) -> None:
    request = {"name": "bees.txt", "text": "Bees sleep in winter.", "document_id": "019a_bees-1"}

    first, second = (cloud.http("POST", "/knowledge/documents", request) for _ in range(2))

    assert (first[0], first[1]["document_id"]) == (201, "019a_bees-1")
    assert (second[0], second[1]["error"]["code"]) == (409, "conflict")
    assert cloud.http("POST", "/knowledge/documents", {**request, "shared": True}, subject=CURATOR)[0] == 201
    assert len(cloud.http("GET", "/knowledge/documents", subject=BOB)[1]["documents"]) == 1
    cloud.http("DELETE", "/knowledge/documents/019a_bees-1")
    status, body = cloud.http("POST", "/knowledge/documents", {**request, "name": "bees.txt", "text": None, "size": 3})
    assert (status, body["error"]["code"]) == (404, "not_found")


def test_a_request_that_ended_before_its_file_was_there_is_finished_by_the_next(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"name": "bees.txt", "text": "Bees sleep in winter.", "document_id": "bees"}

    def down(**_: object) -> None:
        raise client_error("InternalError", 500)

    with monkeypatch.context() as outage:
        outage.setattr(clients.s3(), "put_object", down)
        assert cloud.http("POST", "/knowledge/documents", request)[0] == 503

    another = cloud.http("POST", "/knowledge/documents", {**request, "text": "Wasps do not."})
    again = cloud.http("POST", "/knowledge/documents", request)
    once_more = cloud.http("POST", "/knowledge/documents", request)

    assert (another[0], again[0], once_more[0]) == (409, 201, 409)
    cloud.settle()
    [passage] = cloud.ask("When do bees sleep?")
    assert passage["document_id"] == "bees"


def test_a_form_that_never_arrived_is_asked_for_again_until_its_file_is_there(cloud: Cloud) -> None:
    request = {"name": "bees.txt", "size": 21, "document_id": "bees"}
    first, again = (cloud.http("POST", "/knowledge/documents", request) for _ in range(2))
    assert (first[0], again[0]) == (201, 201)
    assert first[1]["upload"]["fields"]["key"] == again[1]["upload"]["fields"]["key"]

    clients.s3().put_object(Bucket=BUCKET, Key=again[1]["upload"]["fields"]["key"], Body=b"Bees sleep in winter.")
    assert cloud.http("POST", "/knowledge/documents", request)[0] == 409


@pytest.mark.parametrize("id_", ["", "a/b", "a b", "é", "x" * 65, "a\n"])
def test_an_id_that_could_not_be_part_of_a_key_is_refused(cloud: Cloud, id_: str) -> None:
    status, body = cloud.http("POST", "/knowledge/documents", {"name": "a.txt", "text": "A.", "document_id": id_})
    assert (status, body["error"]["code"]) == (422, "validation_failed")


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


def test_a_document_links_to_its_file_for_those_who_may_read_it(cloud: Cloud) -> None:
    own = cloud.add("own.html", "<p>Bees hum.</p>")
    shared = cloud.add("rules.txt", "Meals are free.", subject=CURATOR, shared=True)
    path = f"/knowledge/documents/{own}"
    assert cloud.http("GET", path)[1]["source_url"] is None
    cloud.settle()
    url = cloud.http("GET", path)[1]["source_url"]
    assert "X-Amz-Expires=900" in url
    assert "response-content-disposition=attachment" in url
    assert cloud.http("GET", path, subject=BOB)[0] == 404
    assert "source_url" in cloud.http("GET", f"/knowledge/documents/{shared}", subject=BOB)[1]
    # A list is for looking around: it opens nothing.
    assert "source_url" not in cloud.http("GET", "/knowledge/documents")[1]["documents"][0]
    stored = cloud.dynamodb.scan(TableName=TABLE)["Items"]
    assert "X-Amz" not in str(stored)


def test_nobody_finds_or_sees_anothers_documents(cloud: Cloud) -> None:
    id_ = cloud.add("secret.txt", "Ada keeps bees.")
    cloud.settle()
    assert cloud.ask("Ada keeps bees", subject=BOB) == []
    for method in ("GET", "PUT", "DELETE"):
        body = {"text": "Bob was here."} if method == "PUT" else None
        status, answer = cloud.http(method, f"/knowledge/documents/{id_}", body, subject=BOB)
        assert (status, answer["error"]["code"]) == (404, "not_found")
    assert cloud.http("GET", "/knowledge/documents", subject=BOB)[1] == {"documents": [], "cursor": None}
    assert len(cloud.ask("Ada keeps bees")) == 1


def test_shared_documents_are_read_by_all_and_written_by_curators(cloud: Cloud) -> None:
    body = {"name": "rules.txt", "text": "Meals are free on Friday.", "shared": True}
    assert cloud.http("POST", "/knowledge/documents", body)[1]["error"]["code"] == "forbidden"
    id_ = cloud.add("rules.txt", "Meals are free on Friday.", subject=CURATOR, shared=True)
    cloud.settle()
    assert cloud.ask("meals on friday", subject=BOB)[0]["owner"] == "shared"
    assert cloud.http("GET", f"/knowledge/documents/{id_}", subject=BOB)[1]["shared"] is True
    for method, change in (("PUT", {"text": "No."}), ("DELETE", None)):
        status, answer = cloud.http(method, f"/knowledge/documents/{id_}", change, subject=BOB)
        assert (status, answer["error"]["code"]) == (403, "forbidden")
    assert cloud.http("DELETE", f"/knowledge/documents/{id_}", subject=CURATOR) == (204, None)


def test_a_deleted_document_is_gone_at_once_and_its_chunks_soon(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees sleep in winter.")
    cloud.settle()
    assert cloud.http("DELETE", f"/knowledge/documents/{id_}") == (204, None)
    assert cloud.ask("bees in winter") == []
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[0] == 404
    assert cloud.http("DELETE", f"/knowledge/documents/{id_}")[0] == 404
    assert cloud.http("GET", "/knowledge/documents")[1]["documents"] == []
    assert cloud.settle() == []
    chunks = [item for item in cloud.dynamodb.scan(TableName=TABLE)["Items"] if item["sk"]["S"].startswith("chunk#")]
    assert chunks == []


def test_a_delete_that_failed_halfway_is_completed_by_the_next(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = cloud.add("a.txt", "Bees sleep in winter.")

    def down(**_: object) -> None:
        raise client_error("InternalError", 500)

    with monkeypatch.context() as outage:
        outage.setattr(clients.s3(), "delete_objects", down)
        assert cloud.http("DELETE", f"/knowledge/documents/{id_}")[1]["error"]["code"] == "store_unavailable"
    assert cloud.http("DELETE", f"/knowledge/documents/{id_}")[0] == 404
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket=BUCKET)


def test_a_replaced_document_answers_only_with_the_new_text(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees sleep in winter.")
    cloud.settle()
    status, document = cloud.http("PUT", f"/knowledge/documents/{id_}", {"text": "Bees dance in summer."})
    assert (status, document["state"], document["name"]) == (200, "pending", "a.txt")
    assert cloud.ask("bees") == []
    cloud.settle()
    assert [passage["text"] for passage in cloud.ask("bees")] == ["Bees dance in summer."]


def test_a_replacement_to_upload_leaves_the_old_text_until_it_arrives(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees sleep in winter.")
    cloud.settle()
    status, document = cloud.http("PUT", f"/knowledge/documents/{id_}", {"name": "b.md", "size": 12})
    assert (status, document["state"], document["name"]) == (200, "pending", "b.md")
    assert [passage["text"] for passage in cloud.ask("bees")] == ["Bees sleep in winter."]
    cloud.s3.put_object(Bucket=BUCKET, Key=document["upload"]["fields"]["key"], Body=b"Bees hum.")
    cloud.settle()
    assert [passage["text"] for passage in cloud.ask("bees")] == ["Bees hum."]


def test_an_upload_form_holds_key_type_and_size(cloud: Cloud) -> None:
    body = {"name": "../../Überblick (final).MD", "size": 1_000_000}
    status, document = cloud.http("POST", "/knowledge/documents", body)
    assert (status, document["name"]) == (201, "Überblick (final).MD")
    form = document["upload"]
    assert form["expires_in"] == 900
    assert form["fields"]["key"] == f"documents/user-{ADA}/{document['document_id']}/Uberblick-final.md"
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    assert ["content-length-range", 1, MAX_DOCUMENT_BYTES] in policy["conditions"]
    assert {"Content-Type": "text/markdown"} in policy["conditions"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "invalid_json"),
        ({"text": "No name."}, 422, "validation_failed"),
        ({"name": "a.txt"}, 422, "validation_failed"),
        ({"name": "a.txt", "text": "Both.", "size": 5}, 422, "validation_failed"),
        ({"name": "a.txt", "text": ""}, 422, "validation_failed"),
        ({"name": "a.exe", "text": "MZ"}, 422, "validation_failed"),
        ({"name": "a.pdf", "text": "%PDF-1.7"}, 422, "validation_failed"),
        ({"name": "a", "text": "No ending."}, 422, "validation_failed"),
        ({"name": "dir/", "text": "No name."}, 422, "validation_failed"),
        ({"name": "..", "text": "Dots."}, 422, "validation_failed"),
        ({"name": "n" * 300 + ".txt", "text": "Long."}, 422, "validation_failed"),
        ({"name": "a.txt", "text": "x", "owner": "shared"}, 422, "validation_failed"),
        ({"name": "a.txt", "text": "x" * (MAX_INLINE_BYTES + 1)}, 413, "payload_too_large"),
        ({"name": "a.txt", "size": MAX_DOCUMENT_BYTES + 1}, 413, "payload_too_large"),
        ({"name": "a.txt", "size": 0}, 422, "validation_failed"),
    ],
)
def test_bad_documents_are_refused_and_leave_nothing(cloud: Cloud, body: Any, status: int, code: str) -> None:
    answer = cloud.http("POST", "/knowledge/documents", body)
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)
    assert cloud.dynamodb.scan(TableName=TABLE)["Items"] == []
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket=BUCKET)


def test_a_replacement_needs_text_or_size(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Here.")
    as_word = {"name": "a.docx", "text": "Words."}
    assert cloud.http("PUT", f"/knowledge/documents/{id_}", as_word)[1]["error"]["code"] == "validation_failed"
    assert (
        cloud.http("PUT", f"/knowledge/documents/{id_}", {"name": "b.txt"})[1]["error"]["code"] == "validation_failed"
    )
    assert cloud.http("PUT", f"/knowledge/documents/{'0' * 32}", {"text": "x"})[0] == 404
    assert cloud.http("GET", "/knowledge/documents/%00")[0] == 404


def test_the_list_comes_in_pages_own_documents_first(cloud: Cloud) -> None:
    shared = [cloud.add(f"s{n}.txt", "Shared.", subject=CURATOR, shared=True) for n in range(2)]
    own = [cloud.add(f"o{n}.txt", "Own.") for n in range(3)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        status, page = cloud.http("GET", "/knowledge/documents", query=query)
        assert status == 200
        assert len(page["documents"]) <= 2
        seen += [document["document_id"] for document in page["documents"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert len(seen) == 5
    assert set(seen[:3]) == set(own)
    assert set(seen[3:]) == set(shared)


def test_a_pdf_is_uploaded_and_cited_by_page(cloud: Cloud) -> None:
    content = make_pdf(["Cover."], [(0, "Bees"), "Bees sleep in winter."])
    status, document = cloud.http("POST", "/knowledge/documents", {"name": "bees.pdf", "size": len(content)})
    assert status == 201
    fields = document["upload"]["fields"]
    assert fields["Content-Type"] == "application/pdf"
    policy = json.loads(base64.b64decode(fields["policy"]))
    assert ["content-length-range", 1, MAX_DOCUMENT_BYTES] in policy["conditions"]
    cloud.s3.put_object(Bucket=BUCKET, Key=fields["key"], Body=content)
    assert cloud.settle() == []
    [passage, *_] = cloud.ask("Do bees sleep in winter?")
    assert (passage["document"], passage["page"], passage["heading"]) == ("bees.pdf", 2, "Bees")


def test_a_document_that_breaks_its_reader_fails_alone(cloud: Cloud) -> None:
    bomb = repacked(word("x"), "word/document.xml", (b" " * 1024**2 for _ in range(220)))
    folder = f"documents/user-{ADA}"
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/bomb/bomb.docx", Body=bomb)
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/good/good.docx", Body=word("Good news."))
    events = [bucket_event(f"{folder}/{name}/{name}.docx") for name in ("bomb", "good")]
    assert cloud.deliver(*events) == []
    assert cloud.queued("DEAD_LETTER_QUEUE") == [events[0]]
    failed = cloud.http("GET", "/knowledge/documents/bomb")[1]
    assert (failed["state"], failed["chunk_count"]) == ("failed", 0)
    assert "200 MB when it is unpacked" in failed["reason"]
    assert cloud.http("GET", "/knowledge/documents/good")[1]["state"] == "ready"


@pytest.mark.parametrize("cursor", ["!", "AAAA", "c2hhcmVkCi4u", "é"])
def test_a_forged_cursor_is_refused(cloud: Cloud, cursor: str) -> None:
    status, answer = cloud.http("GET", "/knowledge/documents", query={"cursor": cursor})
    assert (status, answer["error"]["code"]) == (422, "validation_failed")


def test_a_cursor_into_anothers_documents_shows_ones_own(cloud: Cloud) -> None:
    cloud.add("bob.txt", "Bob's.", subject=BOB)
    own = cloud.add("ada.txt", "Ada's.")
    cursor = base64.urlsafe_b64encode(f"user-{BOB}\n{'f' * 32}".encode()).decode()
    page = cloud.http("GET", "/knowledge/documents", query={"cursor": cursor})[1]
    assert [document["document_id"] for document in page["documents"]] == [own]


@pytest.mark.parametrize(
    "message",
    [
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET},
        bucket_event("indexes/faiss/manifest.json"),
        bucket_event(f"documents/user-{ADA}/x/a.txt", "Object Tags Added"),
        [],
    ],
)
def test_messages_that_are_no_documents_event_are_done(cloud: Cloud, message: Any) -> None:
    assert cloud.deliver(message) == []


def test_what_no_delivery_can_mend_is_given_up_at_once_and_holds_up_nothing(cloud: Cloud) -> None:
    good, bad = f"documents/user-{ADA}/good/a.txt", f"documents/user-{ADA}/bad/b.txt"
    cloud.s3.put_object(Bucket=BUCKET, Key=good, Body=b"Good news.")
    cloud.s3.put_object(Bucket=BUCKET, Key=bad, Body=b"\xff\xff")
    assert cloud.deliver(bucket_event(bad), "not json", bucket_event(good)) == []
    assert sorted(cloud.queued("DEAD_LETTER_QUEUE"), key=str) == sorted([bucket_event(bad), "not json"], key=str)
    assert cloud.queued("DOCUMENTS_QUEUE") == []
    assert cloud.http("GET", "/knowledge/documents/good")[1]["state"] == "ready"
    failed = cloud.http("GET", "/knowledge/documents/bad")[1]
    assert failed["state"] == "failed"
    assert "UTF-8" in failed["reason"]


@pytest.mark.parametrize("detail", [{}, {"object": {}}, {"object": {"key": 7}}, {"object": "x"}, "x", None, 7, []])
def test_a_malformed_event_does_not_come_again(cloud: Cloud, detail: Any) -> None:
    event = {"detail-type": "Object Created", "detail": detail}
    assert cloud.deliver(event) == []
    assert cloud.queued("DEAD_LETTER_QUEUE") == [event]


def test_a_throttled_model_lets_the_message_come_again_and_that_heals_it(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum. " * 600)
    cloud.titan.failure = client_error("ThrottlingException", 429)
    assert cloud.settle() == ["m0"]
    waiting = cloud.http("GET", f"/knowledge/documents/{id_}")[1]
    assert (waiting["state"], waiting["reason"]) == ("indexing", None)
    cloud.titan.failure = None
    assert cloud.settle() == []
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[1]["state"] == "ready"
    assert cloud.queued("DEAD_LETTER_QUEUE") == []


def test_the_last_delivery_says_that_it_failed(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum.")
    [key] = [item["Key"] for item in cloud.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    cloud.titan.failure = client_error("ThrottlingException", 429)
    assert cloud.deliver(bucket_event(key), attempt=9) == ["m0"]
    assert cloud.deliver(bucket_event(key), attempt=10) == []
    failed = cloud.http("GET", f"/knowledge/documents/{id_}")[1]
    assert failed["state"] == "failed"
    assert "Upload it again" in failed["reason"]
    assert cloud.queued("DEAD_LETTER_QUEUE") == [bucket_event(key)]


def test_an_operator_redrives_a_document_that_was_given_up(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Bees hum.")
    [key] = [item["Key"] for item in cloud.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    cloud.deliver(bucket_event(key), attempt=10)
    [event] = cloud.queued("DEAD_LETTER_QUEUE")
    assert cloud.deliver(event) == []
    assert cloud.http("GET", f"/knowledge/documents/{id_}")[1]["state"] == "ready"


def test_what_there_is_no_time_for_is_queued_anew(cloud: Cloud) -> None:
    """The small one first, because it is soon done; then the time is up."""
    events = []
    for name, size in (("large", 90_000), ("small", 9)):
        key = f"documents/user-{ADA}/{name}/a.txt"
        cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=b"Bees hum. " * (size // 9))
        events.append(bucket_event(key, size=size))
    assert cloud.deliver(*events, attempt=9, seconds=60) == []
    assert cloud.http("GET", "/knowledge/documents/small")[1]["state"] == "ready"
    assert cloud.queued("DOCUMENTS_QUEUE") == [events[0]]
    assert cloud.queued("DEAD_LETTER_QUEUE") == []
    assert cloud.deliver(events[0], seconds=60) == []
    assert cloud.http("GET", "/knowledge/documents/large")[1]["state"] == "ready"


@pytest.mark.parametrize("attempt", [1, 10])
def test_a_queue_that_is_out_of_reach_lets_the_message_come_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key=f"documents/user-{ADA}/bad/b.txt", Body=b"\xff\xff")

    def down(**_: object) -> None:
        raise client_error("ServiceUnavailable", 503)

    monkeypatch.setattr(clients.sqs(), "send_message", down)
    assert cloud.deliver(bucket_event(f"documents/user-{ADA}/bad/b.txt"), attempt=attempt) == ["m0"]


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
