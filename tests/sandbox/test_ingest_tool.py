"""`scripts/ingest` into the sandbox: killed in the middle, changed, run again."""

import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from sandbox.state import PROJECT
from tests.sandbox.people import Person, Sandbox, unique
from tests.unit.document_files import pdf

FILES = 40


def test_a_run_that_is_killed_is_made_good_by_the_next(sandbox: Sandbox, tmp_path: Path) -> None:
    ada = sandbox.new_user()
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(FILES - 3):
        (folder / f"note-{number:02}.md").write_text(f"# Note {number}\n\nThe drawer {number} holds the brass key.")
    (folder / "book.pdf").write_bytes(pdf(["The lighthouse was painted green."]))
    (folder / "long.txt").write_text("The canal froze in January. " * 9_000)
    (folder / "words.csv").write_text("word,meaning\nhulder,a spirit of the forest\n")
    command = [str(PROJECT / "scripts" / "ingest"), str(folder), "--url", sandbox.outputs["http_url"], "--json"]
    environment = {
        **os.environ,
        "PARLEY_TOKEN": ada.http.headers["Authorization"].removeprefix("Bearer "),
        "XDG_DATA_HOME": str(tmp_path / "home"),
    }

    killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(_own(ada)) < FILES // 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    third = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert killed.returncode == -signal.SIGKILL
    assert again.returncode == 0, again.stdout + again.stderr
    documents = _own(ada)
    assert sorted(document["name"] for document in documents) == sorted(path.name for path in folder.iterdir())
    assert {document["state"] for document in documents} == {"ready"}
    assert json.loads(third.stdout)["counts"]["unchanged"] == FILES
    [passage] = _ask(ada, "What was the lighthouse painted?", top_k=1)
    assert passage["document"] == "book.pdf"


def test_a_changed_file_replaces_what_everyone_finds(sandbox: Sandbox, tmp_path: Path) -> None:
    reader = sandbox.new_user()
    path = tmp_path / f"rule-{uuid.uuid4().hex}.md"
    question = unique("Who opens the gate of the observatory?")
    outcomes = []
    for keeper in ("Miriam", "Tobias"):
        path.write_text(f"{question} {keeper} opens it.")
        done = subprocess.run(
            [str(PROJECT / "scripts" / "ingest"), path.name, "--shared"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        outcomes.append(done.stdout.split(" in ")[0])

    assert outcomes == ["1 indexed", "1 replaced"]
    [passage] = _ask(reader, question, top_k=1)
    assert "Tobias opens it." in passage["text"]
    [rule] = [document for document in _documents(reader) if document["name"] == path.name]
    curator = sandbox.new_user(groups=["curators"])
    curator.http.delete(f"/knowledge/documents/{rule['document_id']}").raise_for_status()


def _own(person: Person) -> list[dict[str, Any]]:
    return [document for document in _documents(person) if not document["shared"]]


def _documents(person: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        page = person.http.get("/knowledge/documents", params=query).raise_for_status().json()
        found += page["documents"]
        if not page["cursor"]:
            return found
        query["cursor"] = page["cursor"]


def _ask(person: Person, question: str, *, top_k: int) -> list[dict[str, Any]]:
    answer = person.http.post("/rag/query", json={"query": question, "top_k": top_k}).raise_for_status().json()
    passages: list[dict[str, Any]] = answer["passages"]
    return passages
