"""The GitHub workflows: nothing they run can be swapped behind their back, and no key is stored."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

GITHUB = Path(__file__).parents[2] / ".github"
WORKFLOWS = {path.name: path for path in sorted((GITHUB / "workflows").glob("*.yml"))}


def _steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    uses = re.findall(r"uses: (\S+)", WORKFLOWS[name].read_text())
    foreign = [each for each in uses if not each.startswith("./")]
    assert [each for each in foreign if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", each)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_key_of_aws_is_stored_and_rights_are_given_job_by_job(name: str) -> None:
    text = WORKFLOWS[name].read_text()
    assert "pull_request_target" not in text
    assert not re.search(r"secrets\.AWS|aws-access-key-id|aws-secret", text)
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_what_a_workflow_runs_exists() -> None:
    root = GITHUB.parent
    for path in WORKFLOWS.values():
        for step in _steps(yaml.safe_load(path.read_text())):
            for script in re.findall(r"\./(scripts/[\w-]+|\.ci/run)", step.get("run", "")):
                assert (root / script).is_file(), f"{path.name}: {script}"


def test_every_environment_of_the_product_is_checked_and_deployed() -> None:
    check = yaml.safe_load(WORKFLOWS["check.yml"].read_text())
    deploy = yaml.safe_load(WORKFLOWS["deploy.yml"].read_text())
    deployed = [job["with"]["environment"] for job in deploy["jobs"].values() if "with" in job]
    assert deployed == ["dev", "staging", "prod"]
    assert check["jobs"]["environments"]["strategy"]["matrix"]["env"] == deployed
    # One after the other, and nothing before the checks.
    assert [deploy["jobs"][name]["needs"] for name in deployed] == ["check", "dev", "staging"]


def test_every_third_party_package_is_pinned_with_its_hashes() -> None:
    root = GITHUB.parent
    for path in [root / "requirements.txt", *sorted((root / "runtime").glob("requirements-*.txt"))]:
        blocks = re.split(r"\n(?=[a-z0-9-])", path.read_text())
        pinned = [block for block in blocks if re.match(r"[a-z0-9][a-z0-9._-]*(\[.*\])?==", block)]
        assert len(pinned) > 10
        assert [block.split()[0] for block in pinned if "--hash=sha256:" not in block] == []
