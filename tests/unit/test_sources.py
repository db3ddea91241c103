"""Links to documents' files: what they open, for how long, and how a browser treats it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from parley.aws import clients
from parley.aws.documents_bucket import DocumentsBucket
from parley.knowledge.documents import Document
from parley.knowledge.sources import SOURCE_SECONDS, at_page, source_url

BUCKET = "documents-bucket"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> DocumentsBucket:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token/+=")
    return DocumentsBucket(BUCKET, clients.s3.__wrapped__())


def document(name: str, key: str = "") -> Document:
    return Document(owner="shared", document_id="d", name=name, key=key or f"documents/shared/d/{name}")


def parts(url: str) -> tuple[str, dict[str, str]]:
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc}{address.path}", {
        name: value for name, [value] in parse_qs(address.query).items()
    }


def test_a_link_opens_one_file_of_the_regions_bucket_for_fifteen_minutes(bucket: DocumentsBucket) -> None:
    place, query = parts(source_url(bucket, document("guide.pdf")))
    assert place == f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/documents/shared/d/guide.pdf"
    assert query["X-Amz-Expires"] == str(SOURCE_SECONDS) == "900"
    # What a KMS key encrypts is given for signatures of version 4 alone.
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Security-Token"] == "token/+="
    signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - signed_at).total_seconds()) < 60


def test_an_upload_form_is_signed_for_an_encrypted_bucket_too(bucket: DocumentsBucket) -> None:
    form = bucket.upload_form("documents/shared/d/a.txt", max_bytes=10, media_type="text/plain")
    assert form.url == f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/"
    assert form.fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


@pytest.mark.parametrize(
    ("name", "media_type", "shown"),
    [
        ("a.pdf", "application/pdf", "inline"),
        ("A.PDF", "application/pdf", "inline"),
        ("a.txt", "text/plain; charset=utf-8", "inline"),
        ("a.md", "text/plain; charset=utf-8", "inline"),
        ("a.csv", "text/plain; charset=utf-8", "inline"),
        ("a.json", "text/plain; charset=utf-8", "inline"),
        ("a.html", "application/octet-stream", "attachment"),
        ("a.htm", "application/octet-stream", "attachment"),
        ("a.docx", "application/octet-stream", "attachment"),
        ("a.svg", "application/octet-stream", "attachment"),
        ("a", "application/octet-stream", "attachment"),
    ],
)
def test_only_what_cannot_run_a_script_is_shown(
    bucket: DocumentsBucket, name: str, media_type: str, shown: str
) -> None:
    _, query = parts(source_url(bucket, document(name)))
    assert query["response-content-type"] == media_type
    assert query["response-content-disposition"] == f"{shown}; filename*=UTF-8''{name}"


def test_what_is_shown_follows_the_files_ending_and_not_the_shown_name(bucket: DocumentsBucket) -> None:
    _, query = parts(source_url(bucket, document("harmless.txt", "documents/shared/d/evil.html")))
    assert query["response-content-disposition"].startswith("attachment;")


def test_a_name_cannot_write_headers(bucket: DocumentsBucket) -> None:
    url = source_url(bucket, document('Über "x"; filename=evil.exe\r\nX: y.pdf', "documents/shared/d/uber.pdf"))
    disposition = parts(url)[1]["response-content-disposition"]
    assert disposition == ("inline; filename*=UTF-8''%C3%9Cber%20%22x%22%3B%20filename%3Devil.exe%0D%0AX%3A%20y.pdf")


@pytest.mark.parametrize(
    ("name", "page", "end"),
    [("a.pdf", 3, "?q#page=3"), ("a.pdf", None, "?q"), ("a.docx", 3, "?q"), ("a.md", None, "?q")],
)
def test_a_pdf_opens_at_the_page(name: str, page: int | None, end: str) -> None:
    assert at_page("https://bucket.example/k?q", document(name), page) == f"https://bucket.example/k{end}"


def test_a_link_is_made_without_asking_anyone(bucket: DocumentsBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", refuse)
    assert source_url(bucket, document("a.pdf")).startswith("https://")
