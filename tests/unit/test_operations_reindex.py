"""`scripts/reindex` at its terminal: what it says, and how it ends."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from parley.aws.opensearch_http import OpenSearchRefused
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.knowledge.index_slots import IndexAddress, Phase
from parley.knowledge.reindexing import Progress, ReindexError, Result

from operations import reindex
from operations.environment import Environment, OperationError
from sandbox.state import State, write_json

A, B = IndexAddress("faiss", "a"), IndexAddress("faiss", "b")
DONE = Result(active=B, previous=A, copied=20, expected=19, found=20)
SETTINGS = {
    "KNOWLEDGE_TABLE": "knowledge",
    "DOCUMENTS_BUCKET": "documents",
    "EMBEDDING_MODEL": "amazon.titan-embed-text-v2:0",
    "VECTOR_STORE": "faiss",
    "POWERTOOLS_SERVICE_NAME": "ingestion",
}


class Runs:
    """Stands in for the work: remembers how it was asked for, tells its progress, and ends as told."""

    def __init__(self, on_progress: Callable[[Progress], None], **parts: Any) -> None:
        self.on_progress = on_progress
        self.parts = parts
        Runs.last = self

    last: "Runs"
    ending: Result | BaseException = DONE
    asked: tuple[Any, ...] = ()

    def run(self, store: str, *, keep_old: bool) -> Result:
        return self._end(store, keep_old)

    def cancel(self) -> Result:
        return self._end("cancel")

    def _end(self, *asked: Any) -> Result:
        Runs.asked = asked
        for copied in range(21):
            self.on_progress(Progress(Phase.BUILDING, B, copied, 20))
        self.on_progress(Progress(Phase.RETIRING, A))
        if isinstance(Runs.ending, BaseException):
            raise Runs.ending
        return Runs.ending


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def resolve(name: str, region: str | None) -> Environment:
        if name == "nowhere":
            raise OperationError("No environment nowhere is deployed in eu-west-1.")
        return Environment(
            name=name,
            region=region or "us-east-1",
            api_url="https://api.example.com",
            documents_bucket="documents",
            tables={},
            functions={"Ingestion": "ingestion"},
            user_pool_id=None,
            user_pool_client_id=None,
            outputs={},
            folder=tmp_path,
            demo=None,
            client_options={"endpoint_url": "http://aws.test", "aws_access_key_id": "0", "aws_secret_access_key": "s"},
        )

    monkeypatch.setenv("PARLEY_SANDBOX_DIR", str(tmp_path))
    write_json(State.locate().outputs_file, {"http_url": "http://here", "models_url": "http://models.test"})
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "")
    for name in ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr(reindex, "resolve", resolve)
    monkeypatch.setattr(Environment, "function_settings", lambda *_: SETTINGS)
    monkeypatch.setattr(reindex, "Reindexing", Runs)
    monkeypatch.setattr("parley.aws.clients.dynamodb", lambda: None)
    monkeypatch.setattr("parley.aws.clients.embedding_runtime", lambda attempts: None)
    monkeypatch.setattr(Runs, "ending", DONE)


def test_it_builds_in_the_configured_store_and_says_what_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert reindex.main([]) == 0

    said = capsys.readouterr()
    assert said.out == "faiss/b is the index in use now: 20 chunks, 20 of them added here.\n"
    lines = said.err.splitlines()
    assert lines[0] == "Building faiss/b: 0 of 20 chunks"
    assert lines[-2:] == ["Building faiss/b: 20 of 20 chunks", "Keeping faiss/a until nobody reads it"]
    assert len(lines) == 12
    assert Runs.asked == ("faiss", False)
    assert Runs.last.parts["stores"] == ("faiss",)


def test_in_the_sandbox_its_clients_go_where_the_functions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    reindex.main([])
    variables = {name: os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")}
    assert variables == {
        "AWS_ENDPOINT_URL": "http://aws.test",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://models.test",
    }
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_on_aws_it_uses_the_operators_own_credentials() -> None:
    assert reindex.main(["--env", "dev", "--region", "eu-west-1", "--to", "faiss", "--keep-old"]) == 0
    assert os.environ["AWS_REGION"] == "eu-west-1"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "before"
    assert os.environ["AWS_ENDPOINT_URL"] == ""
    assert Runs.asked == ("faiss", True)


def test_its_result_as_json_has_nothing_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert reindex.main(["--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "active": "faiss/b",
        "previous": "faiss/a",
        "copied": 20,
        "expected": 19,
        "found": 20,
    }
    assert said.err == ""


def test_a_run_that_only_had_to_be_finished_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runs, "ending", Result(active=B, previous=A, copied=0, expected=0, found=0))
    assert reindex.main([]) == 0
    assert capsys.readouterr().out == "An earlier run had switched to faiss/b already; now it is finished.\n"


def test_giving_up_leaves_the_index_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert reindex.main(["--cancel"]) == 0
    assert capsys.readouterr().out == "Given up: faiss/b stays the index in use.\n"
    assert Runs.asked == ("cancel",)


@pytest.mark.parametrize(
    ("ending", "code", "sentence"),
    [
        (ReindexError("Another reindex is running; wait for it to end."), 1, "Another reindex is running; wait for"),
        (
            StoreUnavailable(),
            1,
            "A store of dev does not answer or is throttled: run it again later, and it carries on.",
        ),
        (KnowledgeUnavailable(), 1, "The embedding model of dev does not answer or is throttled"),
        (OpenSearchRefused(403), 1, "OpenSearch refused a request: 403. A collection admits whom a data"),
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutItem"), 1, "AWS refused: An error occurred"),
        (KeyboardInterrupt(), 130, "Interrupted: run it again, and it carries on."),
    ],
)
def test_what_stops_it_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ending: BaseException,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(Runs, "ending", ending)
    assert reindex.main(["--env", "dev", "--json"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(sentence)


def test_an_environment_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert reindex.main(["--env", "nowhere"]) == 1
    assert capsys.readouterr().err == "No environment nowhere is deployed in eu-west-1.\n"


def test_giving_up_and_building_are_not_asked_for_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        reindex.main(["--cancel", "--to", "faiss"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert reindex.main([]) == 0
    assert "Keeping faiss/a until nobody reads it" in capsys.readouterr().err
