"""`scripts/ingest` against an API on loopback that throttles, breaks, forgets and dies as told."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operations.api import Api
from operations.documents import Ingest
from operations.environment import Demo, Environment, data_folder
from operations.ingest import main
from operations.memory import FILE, Memory
from operations.sign_in import Given
from tests.unit.documents_api_double import Answer, Asked, DocumentsApi, Fault, serving_documents

PROJECT = Path(__file__).parents[2]


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


def answering(*answers: Answer, method: str = "POST", path: str = "/knowledge") -> list[Fault]:
    """Faults that answer requests of this kind one after the other."""

    def fault(answer: Answer) -> Fault:
        return lambda asked: answer if asked.method == method and asked.path.startswith(path) else None

    return [fault(answer) for answer in answers]


def failing(status: int, **headers: str) -> Answer:
    return status, {"message": "Trouble"}, {name.replace("_", "-"): value for name, value in headers.items()}


# What is sent, and how


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


# A second run


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


# Interrupted


def test_a_run_that_is_killed_after_any_request_is_made_good_by_the_next(desk: Desk) -> None:
    """Each round is killed one request later: its effect has come, its answer has not."""
    for round_ in range(1, 40):
        desk.api.documents.clear()
        desk.api.deleted.clear()
        desk.api.faults.clear()
        changed = desk.write("changed.md", "old")
        assert desk.ingest(changed)[0] == 0
        desk.write("changed.md", "new")
        desk.write("text.md", "text")
        desk.write("file.pdf", "file")

        killed = _run_until_killed(desk, requests=round_)
        status, _, _ = desk.ingest()

        assert status == 0
        assert desk.contents() == {"changed.md": b"new", "text.md": b"text", "file.pdf": b"file"}
        assert len(desk.api.documents) == 3
        assert {document.state for document in desk.api.documents.values()} == {"ready"}
        if not killed:
            return
        (data_folder(desk.api.url) / FILE).unlink()
    raise AssertionError("It never came to its end.")


def _run_until_killed(desk: Desk, *, requests: int) -> bool:
    """Run the tool in a process of its own, and kill it with its n-th request; was it still running then?"""
    process = _start(desk, "--concurrency", "1")
    left = requests
    answer = desk.api.answer

    def answer_or_kill(asked: Asked, query: dict[str, list[str]]) -> Answer:
        nonlocal left
        left -= 1
        result = answer(asked, query)
        if left == 0:
            process.kill()
            process.wait()
            raise ConnectionError
        return result

    desk.api.answer = answer_or_kill  # type: ignore[method-assign]  # for as long as the process lives
    try:
        return process.wait(timeout=60) == -signal.SIGKILL
    finally:
        desk.api.answer = answer  # type: ignore[method-assign]  # and back


def _start(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "operations.ingest", str(desk.folder), "--url", desk.api.url, *arguments]
    environment = {**os.environ, "PARLEY_TOKEN": "good", "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_a_summary(desk: Desk, number: signal.Signals) -> None:
    desk.write("a.md")
    desk.write("b.md")
    desk.api.frozen = True
    process = _start(desk)

    def interrupt(asked: Asked) -> None:
        if asked.method == "GET" and len(desk.api.documents) == 2:
            process.send_signal(number)

    desk.api.faults.append(interrupt)
    out, err = process.communicate(timeout=60)
    desk.api.frozen = False
    desk.api.faults.clear()

    assert process.returncode == 130
    assert out.startswith("Nothing was done in")
    assert err.endswith("Interrupted. 2 files are not done: the same command goes on from here.\n")
    assert desk.ingest()[0] == 0
    assert len(desk.api.documents) == 2


def test_two_runs_at_once_are_refused(desk: Desk) -> None:
    desk.write("a.md")
    inner: list[tuple[int, str, str]] = []

    def run_again(asked: Asked) -> None:
        if not inner:
            inner.append((0, "", ""))
            process = _start(desk)
            out, err = process.communicate(timeout=60)
            inner[0] = (process.returncode, out, err)

    desk.api.faults.append(run_again)

    assert desk.ingest()[0] == 0
    assert inner == [(2, "", "Another ingest is sending to this environment: wait until it is done.\n")]


def test_a_memory_that_cannot_be_read_ends_it(desk: Desk) -> None:
    desk.write("a.md")
    file = data_folder(desk.api.url) / FILE
    file.parent.mkdir(parents=True)
    file.write_text("This is no database, whatever its name says." * 100)

    status, _, err = desk.ingest()

    assert (status, desk.api.asked) == (2, [])
    assert "cannot be used: file is not a database" in err


# Trouble on the way


def test_passing_trouble_is_waited_out(desk: Desk, pauses: list[float]) -> None:
    desk.write("a.md")
    desk.write("b.pdf")
    desk.api.faults += answering(failing(429, Retry_After="7"), failing(503), failing(500))
    desk.api.faults += answering(failing(503), path="/bucket/")
    hung_up: list[Asked] = []

    def hang_up(asked: Asked) -> None:
        if asked.method == "GET" and len(hung_up) < 3:
            hung_up.append(asked)
            raise ConnectionError

    desk.api.faults.append(hang_up)

    status, out, _ = desk.ingest()

    assert (status, out[:9]) == (0, "2 indexed")
    assert len(desk.api.documents) == 2
    assert len(hung_up) == 3
    assert [pause for pause in pauses if 7 < pause < 9]


@pytest.mark.parametrize(
    ("answer", "said"), [(failing(429), "it answers 429 Too Many Requests"), (None, "Server disconnected")]
)
def test_lasting_trouble_ends_it_and_the_next_run_goes_on(desk: Desk, answer: Answer | None, said: str) -> None:
    desk.write("a.md")
    desk.write("b.md")

    def trouble(asked: Asked) -> Answer | None:
        if asked.method == "POST" and desk.api.count("POST") > 1:
            if answer is None:
                raise ConnectionError
            desk.api.faults.append(trouble)
            return answer
        return None

    desk.api.faults.append(trouble)
    status, _, err = desk.ingest(desk.folder, "--concurrency", "1")
    desk.api.faults.clear()

    assert status == 2
    assert said in err
    assert err.endswith("files are not done: the same command goes on from here.\n")
    assert len(desk.api.documents) == 1
    assert desk.ingest()[0] == 0
    assert desk.api.names() == ["a.md", "b.md"]


def test_an_address_where_nobody_listens_ends_it(desk: Desk) -> None:
    path = desk.write("a.md")

    status = main([str(path), "--url", "http://127.0.0.1:9", "--token", "good"])

    assert status == 2
    assert "127.0.0.1:9 did not answer 8 requests: " in desk.capsys.readouterr().err


def test_a_document_that_breaks_the_api_fails_alone(desk: Desk) -> None:
    desk.write("good.md")
    desk.write("odd.md")

    def crash(asked: Asked) -> Answer | None:
        if asked.method == "POST" and asked.body["name"] == "odd.md":
            desk.api.faults.append(crash)
            return 500, {"error": {"code": "internal", "message": "Something went wrong on our side."}}, {}
        return None

    desk.api.faults.append(crash)

    status, out, _ = desk.ingest()

    assert status == 1
    assert out.startswith("1 indexed, 1 failed")
    assert "odd.md: Something went wrong on our side." in out


@pytest.mark.parametrize(
    ("answer", "path", "said"),
    [
        (failing(403), "/bucket/", "The bucket refused the file (403)."),
        ((413, {"message": "Request Entity Too Large"}, {}), "/knowledge", "API Gateway refused it (413): "),
        ((403, ["a page of the firewall"], {}), "/knowledge", "It was refused with 403 Forbidden."),
    ],
)
def test_a_refusal_is_the_files_reason(desk: Desk, answer: Answer, path: str, said: str) -> None:
    desk.write("a.pdf")
    desk.api.faults += answering(answer, path=path)

    status, out, _ = desk.ingest()

    assert status == 1
    assert said in out


def test_a_document_that_is_never_indexed_fails(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.frozen = True

    status, out, _ = desk.ingest(desk.folder, "--patience", "0.1")

    assert status == 1
    assert "a.md: It was not indexed within 0 s." in out


def test_an_environment_without_a_knowledge_base_says_so(desk: Desk) -> None:
    desk.write("a.md")
    desk.api.faults += answering((404, {"message": "Not Found"}, {}), method="GET")

    status, _, err = desk.ingest()

    assert status == 2
    assert err.startswith("This environment has no knowledge base: its enableRag is off.")


def test_only_curators_share_and_are_told_so_once(desk: Desk) -> None:
    desk.write("a.md")
    desk.write("b.md")
    desk.api.curator = False

    status, _, err = desk.ingest(desk.folder, "--shared")

    assert status == 2
    assert err.count("Only curators may write shared documents.") == 1


# Who it speaks for


def test_a_token_that_ends_stops_it_and_a_new_one_goes_on(desk: Desk) -> None:
    desk.write("a.md")
    desk.write("b.md")

    def expire(asked: Asked) -> None:
        if len(desk.api.documents) == 1:
            desk.api.tokens = {"newer"}

    desk.api.faults.append(expire)
    first = desk.ingest(desk.folder, "--concurrency", "1")
    second = desk.ingest(token="newer")

    assert first[0] == 2
    assert "The token is not valid (any more): give a new one. 2 files are not done" in first[2]
    assert second[0] == 0
    assert desk.api.names() == ["a.md", "b.md"]


def test_an_api_key_that_was_revoked_stops_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_API_KEY", "parley_1_2")
    path = desk.write("a.md")
    desk.api.faults += answering((403, {"message": "Forbidden"}, {}), method="GET")

    status = main([str(path), "--url", desk.api.url])

    assert status == 2
    assert desk.api.asked[0].token == "parley_1_2"
    assert "The key in PARLEY_API_KEY is not valid (any more)" in desk.capsys.readouterr().err


@dataclass
class Handshake:
    """Stands in for pycognito's: gives tokens, one after the other."""

    username: str
    password: str
    pool_id: str
    client_id: str
    client: Any

    given: int = 0

    def authenticate_user(self) -> dict[str, Any]:
        assert (self.pool_id, self.client_id) == ("pool", "app")
        if self.password != "right":
            from pycognito.exceptions import SoftwareTokenMFAChallengeException

            raise SoftwareTokenMFAChallengeException("Do Software Token MFA", {})
        Handshake.given += 1
        return {"AuthenticationResult": {"IdToken": f"token-{Handshake.given}"}}


@pytest.fixture
def deployed(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment with a user pool whose API is the one on loopback."""
    environment = Environment(
        name="dev",
        region="eu-central-1",
        api_url=desk.api.url,
        documents_bucket="bucket",
        tables={},
        functions={},
        user_pool_id="pool",
        user_pool_client_id="app",
        outputs={},
        folder=tmp_path / "dev",
        demo=None,
        client_options={"region_name": "eu-central-1"},
    )
    monkeypatch.setattr("operations.ingest.resolve", lambda name, region: environment)
    monkeypatch.setattr("pycognito.aws_srp.AWSSRP", Handshake)
    monkeypatch.setattr(Handshake, "given", 0)
    return environment


def test_a_user_is_signed_in_again_when_the_token_ends(
    desk: Desk, deployed: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_PASSWORD", "right")
    for number in range(6):
        desk.write(f"{number}.md")
    desk.api.tokens = {"token-1"}

    def expire(asked: Asked) -> None:
        if len(desk.api.documents) == 3:
            desk.api.tokens = {"token-2"}

    desk.api.faults.append(expire)

    status = main([str(desk.folder), "--env", "dev", "--user", "ada@example.com"])

    assert (status, len(desk.api.documents), Handshake.given) == (0, 6, 2)
    assert (deployed.folder / FILE).exists()


def test_a_user_whose_tokens_are_never_accepted_is_told_so(
    desk: Desk, deployed: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_PASSWORD", "right")
    path = desk.write("a.md")

    assert main([str(path), "--env", "dev", "--user", "ada@example.com"]) == 2
    assert "The API accepts no token of this user" in desk.capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "arguments", "said"),
    [
        ({"PARLEY_PASSWORD": "wrong"}, ["--user", "ada"], "ada needs more than a password to sign in"),
        ({}, ["--user", "ada"], "There is no password, and nobody to ask for it"),
        ({}, [], "Say who you are: --user NAME"),
    ],
)
def test_who_cannot_be_signed_in_is_told_why(
    desk: Desk,
    deployed: Environment,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: list[str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = desk.write("a.md")

    assert main([str(path), "--env", "dev", *arguments]) == 2
    assert said in desk.capsys.readouterr().err


def test_a_password_needs_a_user_pool(desk: Desk) -> None:
    path = desk.write("a.md")

    assert main([str(path), "--url", desk.api.url, "--user", "ada"]) == 2
    assert "There is no user pool to sign in to here" in desk.capsys.readouterr().err


def test_the_sandboxs_demo_user_needs_no_name(
    desk: Desk, deployed: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dataclasses import replace

    local = replace(deployed, name="local", demo=Demo("demo@example.com", "right"))
    monkeypatch.setattr("operations.ingest.resolve", lambda name, region: local)
    desk.api.tokens = {"token-1"}

    assert main([str(desk.write("a.md"))]) == 0
    assert len(desk.api.documents) == 1


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
