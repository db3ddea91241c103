"""Documents listed, read and shared: each user's own, what is everybody's, and nothing else."""

import base64

import pytest

from tests.unit.knowledge_function_doubles import BOB, CURATOR, TABLE, Cloud, cloud

__all__ = ["cloud"]


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
