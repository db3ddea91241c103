"""Operators' commands on the deployed sandbox. None of them changes it: the other tests share it."""

import json

import pytest

from operations import destroy, logs, outputs, smoke, status
from tests.sandbox.people import Person, Sandbox


def test_outputs_name_what_is_deployed(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert outputs.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["UserPoolId"] == sandbox.outputs["user_pool_id"]
    assert found["SandboxHttpUrl"] == sandbox.outputs["http_url"]


def test_the_status_names_stacks_and_queues(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    # Whether it is well depends on what the other tests are doing to it.
    status.main(["--quick", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {stack["name"] for stack in found["stacks"]} >= {"Parley-local-Data", "Parley-local-Assistant"}
    assert any(queue["is_dead_letters"] for queue in found["queues"])
    assert next(check for check in found["checks"] if check["what"] == "stacks")["mark"] == "ok"


@pytest.mark.alone
def test_every_public_interface_answers(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [check["what"] for check in found["checks"]] == [
        "health",
        "sign-in",
        "chat",
        "rag query",
        "WebSocket turn",
        "voice session",
        "clean-up",
    ]


def test_a_conversation_is_followed_through_the_functions(
    sandbox: Sandbox, user: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = user.chat("How large may a WebSocket frame be?").raise_for_status().json()["conversation_id"]

    assert logs.main([conversation, "--since", "10m", "--json"]) == 0

    lines = json.loads(capsys.readouterr().out)
    assert {"Assistant-Chat", "Knowledge-Retrieval"} <= {line["source"] for line in lines}
    # One request, one correlation id, in every function.
    assert len({line["line"]["correlation_id"] for line in lines if "level" in line.get("line", {})}) == 1
    assert "WebSocket frame" not in json.dumps(lines)


def test_a_dry_run_names_all_that_would_go(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert destroy.main(["--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"Parley-local-Data", "Parley-local-Assistant", "Parley-Account", "CDKToolkit"} <= set(found["stacks"])
    # What an account shares outlives its stack: only this command takes it away.
    assert "AWS::ApiGateway::Account" in {one["type"] for one in found["retained"]}
