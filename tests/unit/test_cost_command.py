"""`scripts/cost` as a command: what it prints, draws, checks and accepts, and how it ends."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from operations.assembly import Assembly, load
from operations.cost import __main__ as cost
from operations.cost import accepted, profiles, report
from operations.environment import OperationError

MODELS = json.dumps({"quick": ["global.amazon.nova-2-lite-v1:0"]})
CHAT = {
    "Type": "AWS::Lambda::Function",
    "Properties": {
        "Handler": "parley.functions.chat.handler",
        "MemorySize": 1024,
        "Environment": {"Variables": {"MODELS": MODELS}},
    },
}
KEY = {"Type": "AWS::KMS::Key"}


def write(folder: Path, env: str, *, keys: int, **others: dict[str, Any]) -> str:
    """A cloud assembly of one stack with a function, some keys, and others."""
    folder.mkdir()
    resources = {"Chat": CHAT, **{f"Key{number}": KEY for number in range(keys)}, **others}
    (folder / "data.json").write_text(json.dumps({"Resources": resources}))
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": "aws://unknown-account/eu-west-1",
        "properties": {"templateFile": "data.json", "stackName": f"Parley-{env}-Data"},
    }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"data": stack, "tree": {"type": "cdk:tree"}}}))
    return str(folder)


@pytest.fixture
def dev(tmp_path: Path) -> list[str]:
    return ["--assembly", write(tmp_path / "dev", "dev", keys=2)]


@pytest.fixture
def reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "reviewed" / "cost.toml"
    monkeypatch.setattr(accepted, "FILE", path)
    return path


def test_people_see_environments_side_by_side(
    dev: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = write(tmp_path / "prod", "prod", keys=3, Odd={"Type": "AWS::RDS::DBInstance"})
    assert cost.main([*dev, "--assembly", odd, "--profile", "small", "--sources"]) == 0
    said = capsys.readouterr().out
    first = [line.split() for line in said.splitlines()[:3]]
    assert first[0][-2:] == ["dev", "prod"]
    assert first[1] == ["KMS", "2.00", "3.00"]
    assert first[2] == ["total", "2.00", "3.00"]
    assert "prod: no price for AWS::RDS::DBInstance (1); it is in none of the sums." in said
    assert "dev is in eu-west-1, where prices differ." in said
    assert "https://aws.amazon.com/kms/pricing/" in said


def test_programs_see_every_line_with_its_source(dev: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main([*dev, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    idle = document["environments"]["dev"]["idle, a month"]
    assert idle["usd"] == 2
    [line] = idle["lines"]
    assert line["source"] == "https://aws.amazon.com/kms/pricing/"
    assert date.fromisoformat(line["read"])
    assert document["profile"]["name"] == "team"
    for part in report.PARTS:
        found = document["environments"]["dev"][part]
        assert found["usd"] == pytest.approx(sum(found["services"].values()), abs=1e-4)


@pytest.mark.parametrize(("name", "begin"), [("cost.svg", b"<?xml"), ("cost.png", b"\x89PNG")])
def test_it_draws_a_picture(dev: list[str], tmp_path: Path, name: str, begin: bytes) -> None:
    assert cost.main([*dev, "--picture", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_rise_fails_until_it_is_accepted(
    dev: list[str], tmp_path: Path, reviewed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost.main([*dev, "--check"]) == 1
    assert "The idle cost of dev, 2.00 dollars a month, was never accepted" in capsys.readouterr().err
    assert cost.main([*dev, "--accept", "Two keys."]) == 0
    assert accepted.read(reviewed) == {"dev": accepted.Accepted(2.0, date.today(), "Two keys.")}
    capsys.readouterr()
    assert cost.main([*dev, "--check"]) == 0
    assert capsys.readouterr().out.startswith("dev: 2.00 dollars a month, accepted 2.00 on ")
    four = write(tmp_path / "four", "dev", keys=4)
    assert cost.main(["--assembly", four, "--check", "--json"]) == 1
    checked = json.loads(capsys.readouterr().out)["dev"]
    assert checked["usd"] == 4
    assert "rises from the 2.00 dollars" in checked["problems"][0]


def test_accepting_needs_a_reason(dev: list[str], reviewed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main([*dev, "--accept", " "]) == 1
    assert "needs a reason" in capsys.readouterr().err
    assert not reviewed.exists()


def test_a_comment_says_what_changes(dev: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"Type": "AWS::RDS::DBInstance"}
    before = write(tmp_path / "before", "dev", keys=1, Secret={"Type": "AWS::SecretsManager::Secret"})
    after = write(tmp_path / "after", "dev", keys=3, Odd=odd)
    assert cost.main(["--assembly", after, "--markdown", "--against", before]) == 0
    comment = capsys.readouterr().out
    assert "| dev | 1.40 → **3.00** (+114%) |" in comment
    assert "- **dev** KMS, keys: 1.00 → 3.00" in comment
    assert "- **dev** Secrets Manager, secrets: 0.40 → -" in comment
    assert "- **dev**: no price for AWS::RDS::DBInstance (1)" in comment


def test_a_comment_on_a_new_environment_has_nothing_to_compare_with(
    dev: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other", "prod", keys=1)
    assert cost.main([*dev, "--markdown", "--against", other]) == 0
    comment = capsys.readouterr().out
    assert "| dev | 2.00 |" in comment
    assert "What changes" not in comment


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "huge"], "There is no profile huge; allowed are small, team, company"),
        (["--assembly", "no-such-folder"], "holds no cloud assembly"),
        (["--against", "main"], "--against goes with --markdown"),
        (["-c", "enableAlarms"], "-c enableAlarms has no value"),
    ],
)
def test_what_stops_it_is_one_sentence(
    arguments: list[str],
    said: str,
    dev: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments if arguments[0] in ("--assembly", "-c") else [*dev, *arguments]
    assert cost.main(given) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_an_assembly_of_no_environment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(write(tmp_path / "other", "dev", keys=1))
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("Parley-dev-Data", "Another"))
    assert cost.main(["--assembly", str(folder)]) == 1
    assert "no assembly of an environment" in capsys.readouterr().err


class Syntheses:
    """Stands for the synthesis of an environment, and keeps what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[tuple[str, dict[str, Any], Path]] = []

    def __call__(self, env: str, flags: dict[str, Any], out_dir: Path, *, root: Path) -> Assembly:
        self.asked.append((env, flags, root))
        return load(Path(write(out_dir, env, keys=2 if root.name == "source" else 3)))


@pytest.fixture
def syntheses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syntheses:
    made = Syntheses(tmp_path)
    monkeypatch.setattr(cost, "synthesize", made)
    return made


def test_environments_are_synthesized_with_the_flags_that_are_given(
    syntheses: Syntheses, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--env", "dev", "--env", "prod", "--env", "dev", "--region", "eu-west-1", "-c", "enableRag=false"]
    assert cost.main(given) == 0
    assert sorted(env for env, _, _ in syntheses.asked) == ["dev", "prod"]
    assert all(flags == {"region": "eu-west-1", "enableRag": "false"} for _, flags, _ in syntheses.asked)


def test_dev_is_meant_unless_told(syntheses: Syntheses) -> None:
    assert cost.main([]) == 0
    assert [env for env, _, _ in syntheses.asked] == ["dev"]


def test_a_commit_is_synthesized_from_its_own_files(
    syntheses: Syntheses, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def checkout(ref: str, folder: Path) -> Path:
        asked.append(ref)
        return folder

    monkeypatch.setattr(cost, "checkout", checkout)
    assert cost.main(["--env", "dev", "--markdown", "--against", "main"]) == 0
    assert asked == ["main"]
    assert "2.00 → **3.00**" in capsys.readouterr().out


def test_the_sandbox_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost.main(["--assembly", write(tmp_path / "local", "local", keys=1)])
    assert "local runs in the sandbox, for nothing" in capsys.readouterr().out


def test_the_region_is_the_environments_own(tmp_path: Path) -> None:
    folder = Path(write(tmp_path / "dev", "dev", keys=1))
    found = load(folder)
    assert found.regions == {"Parley-dev-Data": "eu-west-1"}
    assert report.estimate("dev", found, profiles.PROFILES["small"]).region == "eu-west-1"
    assert [resource.path for resource in found.resources("AWS::KMS::Key")] == ["Parley-dev-Data/Key0"]
    with pytest.raises(OperationError, match="holds no cloud assembly"):
        load(tmp_path)
