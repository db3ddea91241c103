"""Documents added through their function, by text or by form: each once, and what is refused leaves nothing."""

import base64
import json
from typing import Any

import pytest
from parley.aws import clients
from parley.knowledge.documents import MAX_DOCUMENT_BYTES, MAX_INLINE_BYTES

from tests.unit.document_files import pdf as make_pdf
from tests.unit.knowledge_function_doubles import ADA, BOB, BUCKET, CURATOR, TABLE, Cloud, client_error, cloud

__all__ = ["cloud"]


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
