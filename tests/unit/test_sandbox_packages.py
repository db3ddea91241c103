import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.packages import UnpackedOnce


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def archive(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("package/module.py", text)
    return path


def unpack(path: Path, target: Path) -> Path:
    target.mkdir()
    with UnpackedOnce(path) as opened:
        opened.extractall(target)
    return target / "package" / "module.py"


def test_equal_archives_are_unpacked_once_and_others_apart(folder: Path) -> None:
    first = unpack(archive(folder / "a.zip", "one"), folder / "a")
    again = unpack(folder / "a.zip", folder / "b")
    other = unpack(archive(folder / "c.zip", "two"), folder / "c")
    assert (first.read_text(), again.read_text(), other.read_text()) == ("one", "one", "two")
    assert first.samefile(again)
    assert not first.samefile(other)


def test_processes_that_start_at_once_share_what_one_of_them_unpacked(folder: Path) -> None:
    path = archive(folder / "a.zip", "one")
    with ThreadPoolExecutor(8) as pool:
        modules = list(pool.map(lambda number: unpack(path, folder / f"process-{number}"), range(8)))
    assert all(module.samefile(modules[0]) for module in modules)


def test_what_was_left_half_unpacked_is_not_taken_for_the_package(folder: Path) -> None:
    path = archive(folder / "a.zip", "one")
    unpack(path, folder / "a")
    [whole] = (folder / "packages").iterdir()
    whole.rename(whole.with_suffix(".part"))
    assert unpack(path, folder / "b").read_text() == "one"


def test_a_part_of_an_archive_is_extracted_as_ever(folder: Path) -> None:
    target = folder / "a"
    with UnpackedOnce(archive(folder / "a.zip", "one")) as opened:
        opened.extractall(target, ["package/module.py"])
    assert (target / "package" / "module.py").read_text() == "one"
    assert not target.is_symlink()
