"""Who `scripts/ingest` speaks for: tokens, keys and users, and what becomes of it when they end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operations.environment import Demo, Environment
from operations.ingest import main
from operations.memory import FILE
from tests.unit.documents_api_double import Asked, answering
from tests.unit.ingest_desk import Desk, desk, own_home, pauses

__all__ = ["desk", "own_home", "pauses"]


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
