"""Documents that cannot be indexed, and messages that are none, through the deployed bucket, queue and function."""

import json
import time
import uuid
from fnmatch import fnmatch
from typing import Any

import httpx
import pytest
from parley.knowledge.documents import MAX_DOCUMENT_BYTES

from tests.sandbox.people import Person, Sandbox
from tests.unit.document_files import pdf, repacked, scanned_pdf, word

SECONDS = 120
MEGABYTE = 1024**2


def _wait_for(settled: Any) -> Any:
    until = time.monotonic() + SECONDS
    while not (found := settled()):
        assert time.monotonic() < until
        time.sleep(0.5)
    return found


def _document(user: Person, document_id: str) -> dict[str, Any]:
    document: dict[str, Any] = user.http.get(f"/knowledge/documents/{document_id}").raise_for_status().json()
    return document


def _settled(user: Person, document_id: str) -> dict[str, Any]:
    """The document when it is ready or has failed."""
    _wait_for(lambda: _document(user, document_id)["state"] in ("ready", "failed"))
    return _document(user, document_id)


def _form(user: Person, name: str, size: int) -> tuple[str, dict[str, Any]]:
    answer = user.http.post("/knowledge/documents", json={"name": name, "size": size}).raise_for_status().json()
    return answer["document_id"], answer["upload"]


def _post(form: dict[str, Any], content: bytes) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=SECONDS) as http:
        return http.post(form["url"], data=form["fields"], files={"file": ("file", content)})


def _from_dead_letter_queue(sandbox: Sandbox, words: str) -> str:
    """The message with these words, which is taken out of the dead-letter queue."""
    sqs = sandbox.aws("sqs")
    url = sandbox.function("ingestion")["Environment"]["Variables"]["DEAD_LETTER_QUEUE_URL"]

    def take() -> str:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1)
        for message in received.get("Messages", []):
            if words in message["Body"]:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                return str(message["Body"])
        return ""

    return str(_wait_for(take))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("secret.pdf", pdf(["Secret."], password="secret"), "protected by a password"),
        ("scan.pdf", scanned_pdf(), "scanned"),
        ("broken.pdf", pdf(["Broken."])[:300], "damaged"),
        ("blank.txt", b" \n ", "holds no text"),
        ("letter.txt", word("A letter."), "it is a Word document"),
        ("bomb.docx", repacked(word("x"), "word/media/a.png", (b"\0" * MEGABYTE for _ in range(220))), "200 MB when"),
    ],
)
def test_an_unreadable_upload_says_why_and_its_message_is_kept(
    sandbox: Sandbox, user: Person, name: str, content: bytes, words: str
) -> None:
    document_id, form = _form(user, name, len(content))
    assert _post(form, content).is_success

    failed = _settled(user, document_id)

    assert (failed["state"], failed["chunk_count"]) == ("failed", 0)
    assert words in failed["reason"]
    assert json.loads(_from_dead_letter_queue(sandbox, document_id))["detail"]["object"]["key"] == form["fields"]["key"]


def test_a_file_larger_than_its_form_allows_is_refused_by_the_bucket(user: Person) -> None:
    document_id, form = _form(user, "large.txt", MAX_DOCUMENT_BYTES)

    refused = _post(form, b"x" * (MAX_DOCUMENT_BYTES + 1))

    assert (refused.status_code, "EntityTooLarge" in refused.text) == (400, True)
    assert _document(user, document_id)["state"] == "pending"
    assert user.http.post("/knowledge/documents", json={"name": "a.txt", "size": 100 * MEGABYTE}).status_code == 413


def test_an_empty_file_is_refused_by_the_bucket(user: Person) -> None:
    _, form = _form(user, "empty.txt", 1)
    assert _post(form, b"").status_code == 400


def test_a_file_too_large_that_an_operator_puts_into_the_bucket_fails(sandbox: Sandbox, user: Person) -> None:
    document_id, form = _form(user, "large.txt", 1)
    bucket, key = sandbox.outputs_of("Data")["DocumentsBucketName"], form["fields"]["key"]

    sandbox.aws("s3").put_object(Bucket=bucket, Key=key, Body=b"x" * (MAX_DOCUMENT_BYTES + 1))

    assert "larger than 50 MB" in _settled(user, document_id)["reason"]
    _from_dead_letter_queue(sandbox, document_id)


def test_a_message_that_is_no_event_is_kept_aside_and_the_function_goes_on(sandbox: Sandbox, user: Person) -> None:
    url = sandbox.function("ingestion")["Environment"]["Variables"]["DOCUMENTS_QUEUE_URL"]
    poison = [
        f"{{no json {uuid.uuid4().hex}",
        json.dumps({"detail-type": "Object Created", "detail": uuid.uuid4().hex}),
    ]
    for body in poison:
        sandbox.aws("sqs").send_message(QueueUrl=url, MessageBody=body)

    added = user.http.post("/knowledge/documents", json={"name": "after.txt", "text": "Life goes on."})

    assert _settled(user, added.raise_for_status().json()["document_id"])["state"] == "ready"
    assert [_from_dead_letter_queue(sandbox, body) for body in poison] == poison


def test_the_bucket_lets_browsers_post_from_the_products_page(sandbox: Sandbox, user: Person) -> None:
    """By the rule that was deployed: MiniStack answers every origin, where S3 would keep to the rule."""
    page = sandbox.outputs["web_url"].rstrip("/")
    bucket = sandbox.outputs_of("Data")["DocumentsBucketName"]
    document_id, form = _form(user, "notes.txt", 20)

    [rule] = sandbox.aws("s3").get_bucket_cors(Bucket=bucket)["CORSRules"]

    assert rule["AllowedMethods"] == ["POST"]
    assert [origin for origin in rule["AllowedOrigins"] if fnmatch(page, origin)]
    assert not [origin for origin in rule["AllowedOrigins"] if fnmatch("https://elsewhere.example", origin)]
    assert _post(form, b"Posted by a browser.").is_success
    assert _settled(user, document_id)["state"] == "ready"
