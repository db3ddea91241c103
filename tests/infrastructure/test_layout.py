"""The names that must not shadow PyPI's or each other's: see the layout in docs/architecture.md."""

from pathlib import Path

import constructs

from tests.infrastructure.assemblies import ROOT


def test_the_constructs_folder_is_no_package() -> None:
    assert not (ROOT / "constructs" / "__init__.py").exists()
    assert "site-packages" in Path(constructs.__file__).parts


def test_test_folders_are_no_packages_and_test_files_have_different_names() -> None:
    tests = ROOT / "tests"
    names = [path.name for path in tests.rglob("test_*.py")]

    assert list(tests.rglob("__init__.py")) == []
    assert len(names) == len(set(names))
