"""Which files `scripts/ingest` takes, how it sends each, and what it says of them."""

import json
from pathlib import Path

import pytest

from operations.ingest import main
from tests.unit.ingest_desk import Desk, desk, own_home, pauses

__all__ = ["desk", "own_home", "pauses"]


def test_files_and_folders_become_documents_once(desk: Desk) -> None:
    for name in ("a.md", "deep/er/b.txt", "deep/a.md", "picture.png", ".hidden.md", ".git/c.md", "empty.md", "LICENSE"):
        desk.write(name, "" if name == "empty.md" else name)

    first = desk.ingest()
    posts = desk.api.count("POST")
    second = desk.ingest()

    assert (first[0], second[0]) == (0, 0)
    assert desk.api.names() == ["a.md", "a.md", "b.txt"]
    assert first[1].startswith("3 indexed, 5 skipped in")
    assert "skipped 2: hidden" in first[1]
    assert "skipped 1: the format .png is not supported" in first[1]
    assert "skipped 1: empty" in first[1]
    assert second[1].startswith("3 unchanged, 5 skipped in")
    assert desk.api.count("POST") == posts
    assert desk.api.count("PUT") == 0


def test_a_file_is_one_document_however_it_is_named(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.write("a.md")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(desk.folder)

    desk.ingest("documents/a.md", path, "link/a.md", "documents/../documents")
    desk.ingest("link/")

    assert len(desk.api.documents) == 1


def test_texts_go_in_the_request_and_other_files_by_a_form(desk: Desk) -> None:
    contents = {
        "small.md": "Grüße\n".encode(),
        "large.txt": b"word " * 50_000,
        "utf16.txt": "Grüße".encode("utf-16"),
        "book.pdf": b"%PDF-1.7 \x00\xff",
    }
    for name, content in contents.items():
        desk.write(name, content)

    status, _, _ = desk.ingest()

    assert status == 0
    assert desk.contents() == contents
    assert desk.api.count("POST", "/bucket/") == 3


def test_what_cannot_be_taken_fails_and_the_rest_goes_on(desk: Desk) -> None:
    good = desk.write("good.md")
    huge = desk.write("huge.pdf")
    with huge.open("r+b") as file:
        file.truncate(60 * 1024 * 1024)
    long_name = desk.write("n" * 230 + ".md")
    picture = desk.write("picture.png")
    gone = desk.write("gone.md")
    desk.api.faults.append(lambda asked: gone.unlink(missing_ok=True))

    status, out, _ = desk.ingest(good, huge, long_name, picture, gone)

    assert status == 1
    assert out.startswith("1 indexed, 4 failed")
    assert "at most 52,428,800 are taken" in out
    assert "`name` has at most 200 characters." in out
    assert "picture.png: the format .png is not supported" in out
    assert "gone.md: It cannot be read: No such file or directory." in out


def test_a_path_where_nothing_is_ends_it_before_anything_is_sent(desk: Desk) -> None:
    status, _, err = desk.ingest(desk.write("a.md"), desk.folder / "nothing")

    assert (status, desk.api.asked) == (2, [])
    assert err == f"There is no file or folder {desk.folder / 'nothing'}.\n"


@pytest.mark.parametrize("arguments", [[], ["a.md", "--concurrency", "0"], ["a.md", "--patience", "soon"]])
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: scripts/ingest" in capsys.readouterr().err


def test_the_result_of_every_file_is_given_as_json(desk: Desk) -> None:
    good, bad = desk.write("good.md"), desk.write("bad.pdf")
    desk.api.unreadable = {"bad.pdf"}

    status, out, _ = desk.ingest(good, bad, "--json")

    result = json.loads(out)
    files = {file["path"]: file for file in result["files"]}
    assert status == 1
    assert (result["counts"]["indexed"], result["counts"]["failed"], result["not_done"]) == (1, 1, 0)
    assert files[str(bad)]["reason"] == "It is encrypted."
    assert files[str(good)]["document_id"] in desk.api.documents
