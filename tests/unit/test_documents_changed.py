"""Documents replaced and deleted through their function: what is found in between, and after it broke off."""

import pytest
from parley.aws import clients

from tests.unit.knowledge_function_doubles import BUCKET, TABLE, Cloud, client_error, cloud

__all__ = ["cloud"]


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


def test_a_replacement_needs_text_or_size(cloud: Cloud) -> None:
    id_ = cloud.add("a.txt", "Here.")
    as_word = {"name": "a.docx", "text": "Words."}
    assert cloud.http("PUT", f"/knowledge/documents/{id_}", as_word)[1]["error"]["code"] == "validation_failed"
    assert (
        cloud.http("PUT", f"/knowledge/documents/{id_}", {"name": "b.txt"})[1]["error"]["code"] == "validation_failed"
    )
    assert cloud.http("PUT", f"/knowledge/documents/{'0' * 32}", {"text": "x"})[0] == 404
    assert cloud.http("GET", "/knowledge/documents/%00")[0] == 404
