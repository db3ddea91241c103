"""Documents are turned on in cdk.json without touching the rest of it; templates are checked on this machine."""

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from operations import enable_rag, validate
from operations.assembly import Assembly
from operations.command import OperationError

CDK_JSON = """{
  "app": "python app.py",
  "context": {
    "environments": {
      "local": {"vectorStore": "faiss", "enableRag": false},
      "dev": {
        "sizes": { "voiceCalls": 3 },
        "cost": "{ \\"dev\\": {"
      },
      "empty": {},
      "off": {
        "region": "eu-west-1",
        "enableRag" : "false",
        "blueprint": "personal-chatbot"
      },
      "chat": {
        "blueprint": "personal-chatbot"
      }
    },
    "@aws-cdk/core:x": true
  }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cdk.json"
    path.write_text(CDK_JSON)
    return path


@pytest.mark.parametrize(
    ("env", "before", "after"),
    [
        ("local", '"enableRag": false}', '"enableRag": true}'),
        ("off", '"enableRag" : "false"', '"enableRag" : true'),
        ("chat", '"chat": {\n        "blueprint"', '"chat": {\n        "enableRag": true,\n        "blueprint"'),
    ],
)
def test_the_flag_alone_is_changed(env: str, before: str, after: str, file: Path) -> None:
    assert enable_rag.turn_on(file, env)
    assert file.read_text() == CDK_JSON.replace(before, after)
    assert json.loads(file.read_text())["context"]["environments"][env]["enableRag"] is True
    assert not enable_rag.turn_on(file, env)


@pytest.mark.parametrize("env", ["dev", "empty"])
def test_what_is_on_by_default_is_left_alone(env: str, file: Path) -> None:
    assert not enable_rag.turn_on(file, env)
    assert file.read_text() == CDK_JSON


def test_an_environment_without_any_flag_gets_its_first(file: Path) -> None:
    text = CDK_JSON.replace('"empty": {}', '"empty": { }')
    file.write_text(text.replace('"blueprint": "personal-chatbot"\n      }\n    }', '"a": 1\n      }\n    }'))
    assert enable_rag._object_of(file.read_text(), "empty")


def test_an_unknown_environment_is_named(file: Path) -> None:
    with pytest.raises(OperationError, match="no environment prod; it has local, dev"):
        enable_rag.turn_on(file, "prod")
    with pytest.raises(OperationError, match="no environment"):
        enable_rag._object_of(file.read_text(), "prod")


@pytest.fixture
def steps(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """What was done, in order: each command with its arguments."""
    done: list[tuple[str, list[str]]] = []

    def command(name: str) -> Callable[[list[str]], int]:
        def main(arguments: list[str]) -> int:
            done.append((name, arguments))
            sys.stdout.write(f"{name} says something\n")
            return 0

        return main

    async def ask(environment: Any, options: Any) -> dict[str, Any]:
        return {"message": "It is large.", "citations": [{"id": 1, "document": "limits.md"}]}

    monkeypatch.setattr(enable_rag, "ROOT", tmp_path)
    monkeypatch.setattr("operations.enable_rag.deploy.main", command("deploy"))
    monkeypatch.setattr("operations.enable_rag.ingest.main", command("ingest"))
    monkeypatch.setattr(enable_rag, "resolve", lambda name, region: None)
    monkeypatch.setattr(enable_rag, "_ask", ask)
    return done


def test_it_deploys_ingests_and_asks(
    steps: list[tuple[str, list[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path)
    arguments = [folder, "--env", "off", "--user", "ada", "--yes", "--shared", "--json", "--region", "eu-west-1"]
    assert enable_rag.main(arguments) == 0

    where = ["--env", "off", "--region", "eu-west-1", "--user", "ada"]
    assert steps == [("deploy", [*where, "--yes"]), ("ingest", [folder, *where, "--shared"])]
    document = json.loads(capsys.readouterr().out)
    assert document["changed"] is True
    assert document["answer"]["citations"][0]["document"] == "limits.md"


def test_what_is_on_and_deployed_is_not_deployed_again(
    steps: list[tuple[str, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(enable_rag, "_is_deployed", lambda options: True)
    assert enable_rag.main([str(tmp_path), "--env", "dev", "--token", "t"]) == 0
    assert [name for name, _ in steps] == ["ingest"]
    assert "[1] limits.md" in capsys.readouterr().out


def test_an_answer_that_cites_nothing_fails(
    steps: list[tuple[str, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def ask(environment: Any, options: Any) -> dict[str, Any]:
        return {"message": "I do not know.", "citations": []}

    monkeypatch.setattr(enable_rag, "_ask", ask)
    assert enable_rag.main([str(tmp_path)]) == 1
    assert "cited no document" in capsys.readouterr().err


def test_what_fails_on_the_way_ends_it(
    steps: list[tuple[str, list[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("operations.enable_rag.ingest.main", lambda arguments: 1)
    assert enable_rag.main([str(tmp_path)]) == 1
    assert "Not every document was taken" in capsys.readouterr().err
    monkeypatch.setattr("operations.enable_rag.deploy.main", lambda arguments: 1)
    assert enable_rag.main([str(tmp_path), "--env", "chat", "--user", "ada"]) == 1
    assert enable_rag.main(["/nowhere"]) == 1
    assert "nothing at /nowhere" in capsys.readouterr().err
    for variable in ("PARLEY_USER", "PARLEY_TOKEN", "PARLEY_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    assert enable_rag.main([str(tmp_path), "--env", "dev"]) == 1
    assert "Say who" in capsys.readouterr().err


@pytest.mark.parametrize("status", [200, 503])
def test_the_question_is_asked_as_somebody(
    status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json={"message": "Yes.", "citations": [{"id": 1, "document": "a.md"}]})

    real = httpx.AsyncClient

    def client(**options: Any) -> httpx.AsyncClient:
        return real(transport=httpx.MockTransport(answer), base_url=options["base_url"])

    class Deployed:
        name, api_url, functions = "dev", "https://api", ("Retrieval",)

    monkeypatch.setattr("operations.enable_rag.httpx.AsyncClient", client)
    monkeypatch.setattr(enable_rag, "resolve", lambda name, region: Deployed)
    monkeypatch.setattr("operations.enable_rag.ingest.main", lambda arguments: 0)
    monkeypatch.setattr(enable_rag, "ROOT", tmp_path)
    (tmp_path / "cdk.json").write_text(CDK_JSON)

    ended = enable_rag.main([str(tmp_path), "--env", "dev", "--token", "t", "--question", "Really?"])

    assert ended == (0 if status == 200 else 1)
    assert seen[0].headers["authorization"] == "Bearer t"
    assert json.loads(seen[0].content) == {"message": "Really?"}
    if status != 200:
        assert "the question was not answered" in capsys.readouterr().err


def match(rule: str, message: str) -> dict[str, Any]:
    path = ["Resources", "Table"]
    return {"Rule": {"Id": rule}, "Message": message, "Filename": "/x/S.template.json", "Location": {"Path": path}}


REPORT = {
    "pluginName": "AwsSolutions",
    "conclusion": "failure",
    "violations": [{"ruleName": "AwsSolutions-S1", "violatingConstructs": [{"constructPath": "Data/Bucket"}]}],
}


@pytest.fixture
def linted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what synthesis reports and what cfn-lint prints."""

    def prepare(*, reports: list[Any], lint: str, fails: bool = False) -> None:
        def synthesize(env: str, flags: Any, folder: Path, *, validate: bool) -> Assembly:
            assert validate
            (folder / "validation-report.json").write_text(json.dumps({"pluginReports": reports}))
            if fails:
                raise OperationError("Validation failed.\nDetails.")
            (folder / "S.template.json").write_text("{}")
            return Assembly(folder, {"S": {}}, {"S": None})

        program = tmp_path / "cfn-lint"
        program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{lint}\nEOF\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(validate, "synthesize", synthesize)
        monkeypatch.setattr("operations.validate.sys.executable", str(tmp_path / "python"))

    return prepare


def test_valid_templates_pass_and_say_what_is_accepted(
    linted: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = {"pluginName": "Annotations", "conclusion": "success", "violations": REPORT["violations"]}
    accepted = [match("W3005", "'A' dependency already enforced by a 'Ref'")]
    linted(reports=[quiet], lint=json.dumps(accepted))

    assert validate.main(["--env", "prod", "--json", "-c", "compliance=hipaa", "--region", "eu-west-1"]) == 0

    checks = json.loads(capsys.readouterr().out)["environments"]["prod"]
    assert [(check["what"], check["mark"]) for check in checks] == [
        ("synth", "ok"),
        ("rule packs", "ok"),
        ("Annotations", "warning"),
        ("cfn-lint", "ok"),
    ]
    assert "but for 1 W3005" in checks[-1]["said"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"reports": [REPORT], "lint": "[]"}, "AwsSolutions-S1 at Data/Bucket"),
        ({"reports": [], "lint": json.dumps([match("E3002", "No such property")] * 7)}, "E3002 at S/Resources/Table"),
        ({"reports": [], "lint": "cfn-lint: out of order"}, "out of order"),
        ({"reports": [REPORT], "lint": "[]", "fails": True}, "Validation failed."),
    ],
)
def test_every_finding_fails(
    arguments: dict[str, Any], said: str, linted: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    linted(**arguments)
    assert validate.main([]) == 1
    assert said in capsys.readouterr().out


def test_all_environments_are_checked(linted: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    linted(reports=[], lint="[]")
    assert validate.main(["--all"]) == 0
    assert {"local", "dev", "staging", "prod"} <= set(capsys.readouterr().out.split())
