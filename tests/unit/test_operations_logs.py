"""One conversation through every function's log, and how an environment is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from operations import logs, outputs, status
from operations.command import Check, Mark
from operations.environment import Place
from tests.unit.aws_double import Account, account, place

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CONVERSATION, REQUEST = "01a1fee3b72bcc95", "79a34b95-ac64-4f07-947a-497df5460eff"


def line(message: str, level: str = "INFO", **fields: Any) -> str:
    return json.dumps({"level": level, "message": message, **fields})


LOGS = {
    "chat-logs": [
        (2, line("Answered", conversation_id=CONVERSATION, correlation_id=REQUEST, cold_start=False)),
        (4, line("Answered", conversation_id="01a1fee3ffffffff", correlation_id="another")),
        (5, "REPORT RequestId: 1 Duration: 3 ms"),
    ],
    "retrieval-logs": [(1, line("The cache does not answer", "WARNING", correlation_id=REQUEST))],
    "access-logs": [(3, json.dumps({"requestId": REQUEST, "status": "200"}))],
}


def filter_events(logGroupName: str, startTime: int, filterPattern: str = "", **_: Any) -> Any:
    if logGroupName not in LOGS:
        return "ResourceNotFoundException"
    term = json.loads(filterPattern) if filterPattern else ""
    return {
        "events": [{"timestamp": at, "message": said} for at, said in LOGS[logGroupName] if term in said],
    }


def stack(part: str, status_: str = "CREATE_COMPLETE", **outputs_: str) -> dict[str, Any]:
    return {
        "StackName": f"Parley-dev-{part}",
        "StackId": f"arn:Parley-dev-{part}",
        "StackStatus": status_,
        "CreationTime": NOW,
        "Tags": [{"Key": "application", "Value": "parley"}, {"Key": "environment", "Value": "dev"}],
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs_.items()],
    }


HELD = {
    "arn:Parley-dev-Assistant": [
        ("ChatPartsLogs859253CF", "AWS::Logs::LogGroup", "chat-logs"),
        ("VoiceApiHttpAccessLogLogGroup923115E4", "AWS::Logs::LogGroup", "access-logs"),
        ("GoneLogs859253CF", "AWS::Logs::LogGroup", "deleted-logs"),
        ("Queue", "AWS::SQS::Queue", "https://sqs.eu-central-1.amazonaws.com/1/queue"),
        ("JobsDeadLetterQueue", "AWS::SQS::Queue", "https://sqs.eu-central-1.amazonaws.com/1/dead"),
    ],
    "arn:Parley-dev-Knowledge": [("KnowledgeBaseRetrievalLogs19A8A06A", "AWS::Logs::LogGroup", "retrieval-logs")],
}


def held(StackName: str) -> Any:
    return {
        "StackResourceSummaries": [
            {"LogicalResourceId": one, "ResourceType": two, "PhysicalResourceId": three, "ResourceStatus": "C"}
            for one, two, three in HELD[StackName]
        ]
    }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr("operations.deployed.EDGE_REGION", "eu-central-1")
    answers: dict[str, Any] = {
        "DescribeStacks": {
            "Stacks": [
                stack("Knowledge"),
                stack("Assistant", HttpApiUrl="https://api/", ExportsOutputRefX="internal", Region="eu-central-1"),
            ]
        },
        "ListStackResources": held,
        "GetTemplate": {"TemplateBody": {}},
        "FilterLogEvents": filter_events,
        "DescribeAlarms": {
            "MetricAlarms": [
                {"AlarmName": "Parley-dev-Monitoring-Latency", "StateValue": "OK"},
                {"AlarmName": "Parley-prod-Monitoring-Latency", "StateValue": "ALARM"},
            ],
            "CompositeAlarms": [],
        },
        "GetQueueAttributes": {
            "Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "2"}
        },
    }
    here = place()
    for module in (logs, outputs, status):
        monkeypatch.setattr(module, "locate", lambda name, region: here)
    with account(monkeypatch, answers) as double:
        yield double


@pytest.fixture
def here(aws: Account) -> Place:
    return place()


def test_a_conversation_is_followed_through_every_log(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.main([CONVERSATION, "--env", "dev", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert [one["source"] for one in found] == [
        "Knowledge-Retrieval",
        "Assistant-Chat",
        "Assistant-VoiceApiHttpAccessLog",
    ]
    assert found[1]["line"]["conversation_id"] == CONVERSATION


def test_lines_are_short_and_without_what_every_line_has(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.main([CONVERSATION, "--env", "dev"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert "warning  The cache does not answer" in said[0]
    assert f"conversation_id={CONVERSATION}" in said[1]
    assert "cold_start" not in said[1]


def test_without_an_id_everything_is_shown_but_lambdas_own_lines(
    aws: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert logs.main(["--env", "dev", "--since", "15m"]) == 0
    assert "REPORT" not in capsys.readouterr().out
    assert logs.main(["--env", "dev", "--all"]) == 0
    assert "REPORT" in capsys.readouterr().out


def test_a_level_leaves_out_what_is_below_it(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.main(["--env", "dev", "--level", "warning"]) == 0
    assert [text.split()[1] for text in capsys.readouterr().out.splitlines()] == ["Knowledge-Retrieval"]


def test_following_goes_on_until_it_is_interrupted(
    aws: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = iter([None, None])

    def sleep(_: float) -> None:
        if next(rounds, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("operations.logs.time.sleep", sleep)

    assert logs.main([REQUEST, "--env", "dev", "--follow", "--json"]) == 130

    out, err = capsys.readouterr()
    # Each line once, each a document of its own.
    assert [json.loads(text)["source"] for text in out.splitlines()] == [
        "Knowledge-Retrieval",
        "Assistant-Chat",
        "Assistant-VoiceApiHttpAccessLog",
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nothing-of-this"], "look further back"), (["x' | y"], "letters, digits"), (["short"], "six of them")],
)
def test_what_is_not_found_is_said(
    arguments: list[str], said: str, aws: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert logs.main([*arguments, "--env", "dev"]) == 1
    assert said in capsys.readouterr().err


def test_a_wrong_time_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        logs.main(["--since", "yesterday"])
    assert ended.value.code == 2


def test_what_is_not_deployed_has_no_logs(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    aws.answers["DescribeStacks"] = {"Stacks": []}
    assert logs.main(["--env", "dev"]) == 1
    assert outputs.main(["--env", "dev"]) == 1
    assert status.main(["--env", "dev", "--quick"]) == 1
    assert capsys.readouterr().err.count("No environment dev is deployed in eu-central-1") == 3


def test_outputs_are_those_that_somebody_may_want(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert outputs.main(["--env", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"HttpApiUrl": "https://api/", "Region": "eu-central-1"}
    assert outputs.main(["--env", "dev"]) == 0
    assert "Parley-dev-Assistant" in capsys.readouterr().out
    assert outputs.main(["--env", "dev", "HttpApiUrl"]) == 0
    assert capsys.readouterr().out == "https://api/\n"
    assert outputs.main(["--env", "dev", "WebUrl"]) == 1
    assert "it has HttpApiUrl, Region" in capsys.readouterr().err


def test_a_well_environment_is_said_to_be_well(
    aws: Account, here: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "_health", lambda known: Check("health", Mark.OK))

    assert status.main(["--env", "dev", "--quick", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["well"] is True
    assert document["alarms"] == []
    assert [(queue["name"], queue["in_work"]) for queue in document["queues"]] == [("queue", 2), ("dead", 2)]


def test_what_needs_somebody_fails(aws: Account, capsys: pytest.CaptureFixture[str]) -> None:
    begun = {"LogicalResourceId": "Parley-dev-Knowledge", "ResourceStatus": "UPDATE_IN_PROGRESS"}
    failed = {"LogicalResourceId": "Index", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "No room."}
    event = {"StackId": "s", "EventId": "1", "StackName": "n", "Timestamp": NOW}
    aws.answers |= {
        "DescribeStacks": {"Stacks": [stack("Knowledge", "UPDATE_ROLLBACK_FAILED"), stack("Assistant")]},
        "DescribeStackEvents": {"StackEvents": [event | failed, event | begun | {"ResourceStatusReason": "User"}]},
        "DescribeAlarms": {"MetricAlarms": [{"AlarmName": "Parley-dev-Errors", "StateValue": "ALARM"}]},
        "GetQueueAttributes": {
            "Attributes": {"ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "0"}
        },
    }

    assert status.main(["--env", "dev", "--quick"]) == 1

    said = capsys.readouterr().out
    for part in (
        "Parley-dev-Knowledge is UPDATE_ROLLBACK_FAILED",
        "No room.",
        "there is no API",
        "in ALARM: Parley-dev-Errors",
        "3 in dead",
    ):
        assert part in said


def test_what_is_under_way_is_no_failure(aws: Account) -> None:
    aws.answers["DescribeStacks"] = {"Stacks": [stack("Assistant", "UPDATE_IN_PROGRESS")]}
    found = {check.what: check.mark for check in status.examine(place(), quick=True).checks}
    assert found["stacks"] is Mark.WARNING


@pytest.mark.parametrize(
    ("answer", "mark", "said"),
    [
        ((200, b'{"status": "ok", "checks": {"store": "ok"}}'), Mark.OK, "store"),
        ((503, b'{"status": "degraded", "checks": {"store": "failed"}}'), Mark.FAILED, "degraded: store"),
        ((200, b"<html>"), Mark.FAILED, "does not answer"),
    ],
)
def test_health_is_asked_for(answer: tuple[int, bytes], mark: Mark, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(url: str, **_: Any) -> httpx.Response:
        asked.append(url)
        return httpx.Response(answer[0], content=answer[1])

    monkeypatch.setattr("operations.status.httpx.get", get)

    check = status._health({"HttpApiUrl": "https://api/"})

    assert asked == ["https://api/health"]
    assert check.mark is mark
    assert said in check.said
