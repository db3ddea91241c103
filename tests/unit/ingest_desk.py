"""`scripts/ingest` at an operator's desk, before an API on loopback, without its pauses."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operations.ingest import main
from tests.unit.documents_api_double import DocumentsApi, serving_documents


@dataclass
class Desk:
    """An operator's machine: a folder of documents, and the tool."""

    api: DocumentsApi
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, name: str, content: str | bytes = "Bees sleep in winter.") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, *arguments: str | Path, token: str = "good") -> tuple[int, str, str]:
        """The exit status, and what was printed on standard output and standard error."""
        given = [str(argument) for argument in arguments or [self.folder]]
        status = main([*given, "--url", self.api.url, "--token", token])
        out, err = self.capsys.readouterr()
        return status, out, err

    def contents(self) -> dict[str, bytes | None]:
        return {document.name: document.content for document in self.api.documents.values()}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    for name in ("PARLEY_TOKEN", "PARLEY_API_KEY", "PARLEY_USER", "PARLEY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], pauses: list[float]) -> Iterator[Desk]:
    folder = tmp_path / "documents"
    folder.mkdir()
    with serving_documents() as api:
        yield Desk(api, folder, capsys)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause that was made; none takes longer than a moment."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def short(seconds: float, result: Any = None) -> Any:
        made.append(seconds)
        return await sleep(min(seconds, 0.002), result)

    monkeypatch.setattr(asyncio, "sleep", short)
    return made
