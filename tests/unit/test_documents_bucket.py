from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from parley.aws.documents_bucket import DocumentsBucket
from parley.errors import StoreUnavailable

BUCKET = "documents-bucket"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def test_a_file_is_described_as_it_is_read(s3: Any) -> None:
    bucket = DocumentsBucket(BUCKET, s3)
    bucket.write("documents/shared/d/a.txt", b"one", "text/plain")
    read = bucket.read("documents/shared/d/a.txt", max_bytes=1_000)
    assert read is not None
    assert read[1] == b"one"
    assert read[0] == bucket.describe("documents/shared/d/a.txt")
    assert read[0].size == 3


def test_a_file_that_is_too_large_is_described_without_its_content(s3: Any) -> None:
    bucket = DocumentsBucket(BUCKET, s3)
    bucket.write("k", b"12345", "text/plain")
    description = bucket.describe("k")
    assert bucket.read("k", max_bytes=5) == (description, b"12345")
    assert bucket.read("k", max_bytes=4) == (description, b"")


@pytest.mark.parametrize("versioned", [True, False])
def test_other_content_is_another_version(s3: Any, versioned: bool) -> None:
    if versioned:
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    bucket = DocumentsBucket(BUCKET, s3)
    bucket.write("k", b"one", "text/plain")
    first = bucket.describe("k")
    bucket.write("k", b"two", "text/plain")
    second = bucket.describe("k")
    assert first is not None
    assert second is not None
    assert first.version != second.version


def test_a_missing_file_is_none(s3: Any) -> None:
    bucket = DocumentsBucket(BUCKET, s3)
    assert bucket.describe("k") is None
    assert bucket.read("k", max_bytes=1_000) is None


def test_a_folder_is_deleted_but_for_what_is_kept(s3: Any) -> None:
    bucket = DocumentsBucket(BUCKET, s3)
    for key in ("documents/shared/d/a.txt", "documents/shared/d/b.txt", "documents/shared/d2/a.txt"):
        bucket.write(key, b"x", "text/plain")
    bucket.delete_folder("documents/shared/d/", keep="documents/shared/d/b.txt")
    bucket.delete_folder("documents/shared/none/")
    left = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert left == ["documents/shared/d/b.txt", "documents/shared/d2/a.txt"]


def test_a_file_that_stays_is_an_error(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = DocumentsBucket(BUCKET, s3)
    bucket.write("documents/shared/d/a.txt", b"x", "text/plain")
    monkeypatch.setattr(s3, "delete_objects", lambda **_: {"Errors": [{"Key": "k", "Code": "InternalError"}]})
    with pytest.raises(StoreUnavailable):
        bucket.delete_folder("documents/shared/d/")


def test_a_refused_read_is_not_a_missing_file(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        response: Any = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(response, "GetObject")

    monkeypatch.setattr(s3, "head_object", refuse)
    monkeypatch.setattr(s3, "get_object", refuse)
    bucket = DocumentsBucket(BUCKET, s3)
    with pytest.raises(ClientError):
        bucket.describe("k")
    with pytest.raises(ClientError):
        bucket.read("k", max_bytes=1_000)
