"""What `scripts/ingest` sends when it runs again: what changed, failed or was deleted since, and nothing twice."""

import asyncio

import pytest

from operations.api import Api
from operations.documents import Ingest
from operations.environment import data_folder
from operations.memory import FILE, Memory
from operations.sign_in import Given
from tests.unit.documents_api_double import Asked, answering
from tests.unit.ingest_desk import Desk, desk, own_home, pauses

__all__ = ["desk", "own_home", "pauses"]


@pytest.mark.parametrize("name", ["a.md", "a.pdf"])
def test_a_changed_file_replaces_its_document(desk: Desk, name: str) -> None:
    desk.write("same.md")
    desk.write(name, "old")
    desk.ingest()
    desk.write(name, "new")

    status, out, _ = desk.ingest()

    assert (status, out[:24]) == (0, "1 replaced, 1 unchanged ")
    assert desk.contents() == {"same.md": b"Bees sleep in winter.", name: b"new"}


def test_a_failed_document_is_sent_again(desk: Desk) -> None:
    desk.write("a.pdf")
    desk.api.unreadable = {"a.pdf"}
    first = desk.ingest()
    desk.api.unreadable = set()

    second = desk.ingest()

    assert (first[0], second[0]) == (1, 0)
    assert "a.pdf: It is encrypted." in first[1]
    assert second[1].startswith("1 indexed")
    assert len(desk.api.documents) == 1


def test_what_was_sent_without_waiting_is_awaited_by_the_next_run(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.frozen = True
    first = desk.ingest(desk.folder, "--no-wait")
    desk.api.frozen = False

    second = desk.ingest()

    assert (first[0], first[1][:7]) == (0, "1 sent ")
    assert (second[0], second[1][:10]) == (0, "1 indexed ")
    assert (desk.api.count("POST"), desk.api.count("PUT")) == (1, 0)


def test_a_document_that_was_deleted_is_added_again(desk: Desk) -> None:
    desk.write("a.md")
    desk.ingest()
    [id_] = desk.api.documents
    desk.api.delete(id_)

    status, out, _ = desk.ingest()

    assert (status, out[:9]) == (0, "1 indexed")
    assert len(desk.api.documents) == 1
    assert id_ not in desk.api.documents


def test_a_document_that_is_deleted_just_before_it_is_replaced_is_added_again(desk: Desk) -> None:
    desk.write("a.md", "old")
    desk.ingest()
    [id_] = desk.api.documents
    desk.write("a.md", "new")

    def delete(asked: Asked) -> None:
        if asked.method == "PUT" and id_ in desk.api.documents:
            desk.api.delete(id_)

    desk.api.faults.append(delete)

    assert desk.ingest()[0] == 0
    assert desk.contents() == {"a.md": b"new"}


def test_a_document_that_is_always_deleted_again_fails(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.faults += answering(*[(404, {"error": {"code": "not_found", "message": "Deleted."}}, {})] * 3)

    status, out, _ = desk.ingest()

    assert status == 1
    assert "Somebody else adds and deletes this document" in out


def test_a_document_that_is_deleted_while_it_is_indexed_fails(desk: Desk) -> None:
    desk.write("a.md")

    def delete(asked: Asked) -> None:
        if asked.method == "GET":
            for id_ in list(desk.api.documents):
                desk.api.delete(id_)

    desk.api.faults.append(delete)

    status, out, _ = desk.ingest()

    assert (status, "There is no such document." in out) == (1, True)


def test_ones_own_and_the_shared_document_of_a_file_are_two(desk: Desk) -> None:
    desk.write("a.md")

    outs = [desk.ingest(desk.folder, *more)[1] for more in ([], ["--shared"], [], ["--shared"])]

    assert [out.split(" in ")[0] for out in outs] == ["1 indexed", "1 indexed", "1 unchanged", "1 unchanged"]
    assert sorted(document.shared for document in desk.api.documents.values()) == [False, True]


def test_another_users_documents_are_left_alone(desk: Desk) -> None:
    """On one machine the memory knows the documents of both; the API lists each one's own."""
    desk.write("a.md")
    desk.ingest()
    adas = dict(desk.api.documents)
    desk.api.documents.clear()

    desk.ingest()
    bobs = set(desk.api.documents)
    desk.api.documents.update(adas)
    for id_ in bobs:
        del desk.api.documents[id_]
    status, out, _ = desk.ingest()

    assert bobs.isdisjoint(adas)
    assert (status, out[:11]) == (0, "1 unchanged")


def test_a_memory_that_cannot_be_read_ends_it(desk: Desk) -> None:
    desk.write("a.md")
    file = data_folder(desk.api.url) / FILE
    file.parent.mkdir(parents=True)
    file.write_text("This is no database, whatever its name says." * 100)

    status, _, err = desk.ingest()

    assert (status, desk.api.asked) == (2, [])
    assert "cannot be used: file is not a database" in err


def test_the_document_of_a_file_that_is_gone_can_be_deleted(desk: Desk) -> None:
    """As `scripts/up` does with its own documents."""
    gone, kept = desk.write("gone.md"), desk.write("kept.md")
    desk.ingest(gone, "--shared")

    async def run() -> None:
        with Memory.open(data_folder(desk.api.url) / FILE) as memory:
            async with Api(desk.api.url, Given("good", "token")) as api:
                ingest = Ingest(api, memory, shared=False)
                await ingest.run([gone, kept])
                await ingest.delete(gone)
                await ingest.delete(gone)
                assert memory.paths() == [gone, kept]

    asyncio.run(run())

    assert sorted((document.name, document.shared) for document in desk.api.documents.values()) == [
        ("gone.md", True),
        ("kept.md", False),
    ]
