"""Every function may do what it did in the tests of this run, and nothing that none of them needed.

The sandbox records calls when `PARLEY_RECORD_CALLS` names a file; `scripts/test` sets it, and runs this when all other
tests of the sandbox have run. The roles are those of every environment, as the snapshots of the templates have them.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.assembly import ROOT, Assembly
from operations.privileges.proof import ACCEPTED, Accepted, Proof, Reasons, open_resources, prove
from operations.privileges.recording import Deployment, Recorded, read_deployment, read_recording
from operations.privileges.templates import Templates
from sandbox.calls import VARIABLE
from tests.sandbox.people import Sandbox

pytestmark = pytest.mark.last

_ENVIRONMENTS = json.loads((ROOT / "cdk.json").read_text())["context"]["environments"]
_SNAPSHOTS = ROOT / "tests" / "infrastructure" / "__snapshots__" / "test_snapshots"


@pytest.fixture(scope="module")
def recording() -> list[Recorded]:
    file = os.environ.get(VARIABLE)
    if not file:
        pytest.fail(f"Nothing was recorded: start the sandbox with {VARIABLE} naming a file, and run the other tests.")
    return read_recording(Path(file))


@pytest.fixture(scope="module")
def deployment(sandbox: Sandbox) -> Deployment:
    return read_deployment(sandbox.aws("cloudformation"))


@pytest.fixture(scope="module")
def reasons() -> Reasons:
    return Reasons(Accepted.read())


def _templates(environment: str) -> Templates:
    stacks = {file.stem: json.loads(file.read_text()) for file in _SNAPSHOTS.glob(f"Parley-{environment}-*.json")}
    region = _ENVIRONMENTS[environment].get("region")
    return Templates(Assembly(_SNAPSHOTS, stacks, dict.fromkeys(stacks, region)), environment)


def _prove(environment: str, recording: list[Recorded], deployment: Deployment, reasons: Reasons) -> Proof:
    templates = _templates(environment)
    calls = deployment.calls(recording, environment=environment, callback=templates.callback, region=templates.region)
    unread = sorted({call.resource for made in calls.values() for call in made if call.action.endswith(":?")})
    assert not unread, f"sandbox/calls/needs.py does not know what these need of a role: {unread}"
    return prove(templates, calls, deployed=set(deployment.names.values()), accepted=reasons.of(environment))


@pytest.mark.parametrize("environment", sorted(_ENVIRONMENTS))
def test_every_role_allows_what_its_function_called_and_nothing_more(
    environment: str, recording: list[Recorded], deployment: Deployment, reasons: Reasons
) -> None:
    proof = _prove(environment, recording, deployment, reasons)

    assert proof == Proof(), "\n".join(_said(environment, proof))


def test_every_reviewed_reason_is_still_needed(recording: list[Recorded], deployment: Deployment) -> None:
    reasons = Reasons(Accepted.read())
    for environment in _ENVIRONMENTS:
        _prove(environment, recording, deployment, reasons)

    assert reasons.stale == [], f"These entries of {ACCEPTED.name} accept nothing any more."


def test_the_recording_saw_each_way_in_which_functions_call(recording: list[Recorded]) -> None:
    """A recorder that sees nothing proves nothing: one call for each server, protocol and kind of signature."""
    services = {recorded.call.action.partition(":")[0] for recorded in recording}

    assert services >= {"bedrock", "dynamodb", "execute-api", "kms", "lambda", "s3", "sqs", "transcribe"}
    actions = {recorded.call.action for recorded in recording}
    assert "bedrock:InvokeModelWithBidirectionalStream" in actions


@pytest.mark.parametrize("environment", sorted(_ENVIRONMENTS))
def test_nothing_is_allowed_on_every_resource_that_could_be_named(environment: str) -> None:
    assert list(open_resources(_templates(environment).policies())) == []


def _said(environment: str, proof: Proof) -> Iterator[str]:
    for function in proof.undriven:
        yield f"{environment}: no test of the sandbox drives the function {function}."
    for finding in proof.missing:
        yield f"{environment}: the role of {finding.function} lacks {json.dumps(finding.statement())}"
    for finding in proof.unused:
        yield f"{environment}: nothing that {finding.function} did needs {json.dumps(finding.statement())}"
    if proof.unused:
        yield f"Take away what is not needed, or give the reason in {ACCEPTED.relative_to(ROOT)}."
