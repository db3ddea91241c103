import json
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template
from parley_constructs.monitoring import (
    AlarmThresholds,
    AssistantMetrics,
    MonitoredQueue,
    Monitoring,
    MonitoringProps,
)
from parley_constructs.python_function import PythonFunction


def template(**props: Any) -> Template:
    stack = Stack(App(), "Stack")
    function = PythonFunction(
        stack,
        "Function",
        code=lambda_.Code.from_inline("def handler(event, context): pass"),
        handler="index.handler",
        service="chat",
    )
    queues = {
        "Documents": MonitoredQueue(
            queue=sqs.Queue(stack, "Queue"), dead_letter_queue=sqs.Queue(stack, "Dead"), max_age=Duration.minutes(5)
        ),
        "Recordings": MonitoredQueue(queue=sqs.Queue(stack, "Other"), dead_letter_queue=sqs.Queue(stack, "OtherDead")),
    }
    watched: dict[str, Any] = {
        "functions": {"Chat": function},
        "background_functions": {"Chat": function},
        "queues": queues,
        "http_api": apigatewayv2.HttpApi(stack, "HttpApi"),
        "websocket_api": apigatewayv2.WebSocketApi(stack, "WebSocketApi"),
        "assistant": AssistantMetrics(namespace="Parley/test"),
        "log_groups": [function.log_group],
    }
    Monitoring(stack, "Monitoring", props=MonitoringProps(name="Parley-test", **(watched | props)))
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def full() -> Template:
    return template(
        alarm_email="oncall@example.com",
        monthly_budget_usd=250,
        budget_tags={"application": "parley"},
        thresholds=AlarmThresholds(latency=Duration.seconds(3), availability_objective=99.9),
        runbooks="https://git.example.com/runbooks/",
    )


@pytest.fixture(scope="module")
def sandbox() -> Template:
    return template(alarms=False, log_queries=False)


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    """The metric alarms by their names, without what all have in front."""
    found = template.find_resources("AWS::CloudWatch::Alarm").values()
    return {alarm["Properties"]["AlarmName"].removeprefix("Parley-test-"): alarm["Properties"] for alarm in found}


def statistics(alarm: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Name, statistic and period of each metric that an alarm looks at."""
    if "Metrics" not in alarm:
        return [(alarm["MetricName"], alarm.get("Statistic") or alarm["ExtendedStatistic"], alarm["Period"])]
    stats = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
    return [(stat["Metric"]["MetricName"], stat["Stat"], stat["Period"]) for stat in stats]


def expression(alarm: dict[str, Any]) -> str:
    return next(str(query["Expression"]) for query in alarm["Metrics"] if "Expression" in query)


def admitted(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """The statements of the one policy of a kind that admit an AWS service, by service."""
    [resource] = template.find_resources(kind).values()
    properties = resource["Properties"]
    document = properties.get("KeyPolicy") or properties["PolicyDocument"]
    return {
        statement["Principal"]["Service"]: statement
        for statement in document["Statement"]
        if "Service" in statement["Principal"]
    }


def test_every_alarm_that_notifies_reaches_the_topic_and_says_when_it_is_over(full: Template) -> None:
    [topic] = full.find_resources("AWS::SNS::Topic")
    composites = [alarm["Properties"] for alarm in full.find_resources("AWS::CloudWatch::CompositeAlarm").values()]
    windows = {name for name in alarms(full) if name.endswith("m")}

    assert len(composites) == 2
    assert len(windows) == 8
    for alarm in [*composites, *(alarm for name, alarm in alarms(full).items() if name not in windows)]:
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert alarm["AlarmName"].endswith(("-Page", "-Warning"))
    # The windows of an objective tell nobody: the composite alarm does.
    assert not any("AlarmActions" in alarms(full)[name] for name in windows)


def test_the_description_says_what_is_wrong_and_leads_to_the_runbook(full: Template) -> None:
    found = alarms(full)

    assert found["ApiErrorRate-Page"]["AlarmDescription"] == (
        "More than 5 % of the HTTP API's answers are errors of ours (500 and above). "
        "Runbook: https://git.example.com/runbooks/api-error-rate.md"
    )
    assert found["DocumentsQueueAge-Warning"]["AlarmDescription"].endswith("/runbooks/queue-age.md")


def test_silence_is_no_failure(full: Template) -> None:
    assert {alarm["TreatMissingData"] for alarm in alarms(full).values()} == {"notBreaching"}


def test_the_topics_key_admits_who_publishes(full: Template) -> None:
    """Under SNS's own key the alarms of CloudWatch are dropped without a word."""
    full.has_resource_properties(
        "AWS::SNS::Topic", {"KmsMasterKeyId": {"Fn::GetAtt": [Match.string_like_regexp("TopicKey"), "Arn"]}}
    )
    services = {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    keys, topics = admitted(full, "AWS::KMS::Key"), admitted(full, "AWS::SNS::TopicPolicy")
    assert set(keys) == set(topics) == services
    for statement in (*keys.values(), *topics.values()):
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert all(statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"] for statement in keys.values())


def test_budgets_is_admitted_only_when_there_is_one(sandbox: Template) -> None:
    assert set(admitted(sandbox, "AWS::KMS::Key")) == {"cloudwatch.amazonaws.com"}
    assert set(admitted(sandbox, "AWS::SNS::TopicPolicy")) == {"cloudwatch.amazonaws.com"}
    sandbox.resource_count_is("AWS::Budgets::Budget", 0)


def test_an_error_rate_has_two_severities_and_needs_more_than_one_error(full: Template) -> None:
    for severity, percent in {"Warning": 1, "Page": 5}.items():
        alarm = alarms(full)[f"ApiErrorRate-{severity}"]
        assert (alarm["Threshold"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (percent, 2, 3)
        assert expression(alarm) == "IF(errors >= 3, 100 * errors / requests, 0)"
        assert statistics(alarm) == [("5xx", "Sum", 300), ("Count", "Sum", 300)]


def test_latency_is_the_assistants_own_and_of_the_slowest_twentieth(full: Template) -> None:
    alarm = alarms(full)["ApiLatency-Warning"]

    assert alarm["Threshold"] == 3000
    assert statistics(alarm) == [("Latency", "p95", 300)]


def test_an_objective_burns_too_fast_over_a_long_and_a_short_window(full: Template) -> None:
    """14.4 and 6 times as many failures as 0.1 % and 5 % of requests."""
    found = alarms(full)
    thresholds = {name: alarm["Threshold"] for name, alarm in found.items() if "Objective" in name}
    assert thresholds == pytest.approx(
        {
            "AvailabilityObjective-60m": 98.56,
            "AvailabilityObjective-5m": 98.56,
            "AvailabilityObjective-360m": 99.4,
            "AvailabilityObjective-30m": 99.4,
            "LatencyObjective-60m": 28,
            "LatencyObjective-5m": 28,
            "LatencyObjective-360m": 70,
            "LatencyObjective-30m": 70,
        }
    )
    for name, alarm in found.items():
        if "Objective" in name:
            kept = ("Latency", "PR(:3000)") if "Latency" in name else ("SuccessPercent", "Average")
            minutes = int(name.rpartition("-")[2].removesuffix("m"))
            assert statistics(alarm) == [(*kept, minutes * 60)]
            assert alarm["ComparisonOperator"] == "LessThanThreshold"
    rules = [
        json.dumps(alarm["Properties"]["AlarmRule"])
        for alarm in full.find_resources("AWS::CloudWatch::CompositeAlarm").values()
    ]
    assert all(rule.count(" AND ") == 2 and rule.count(" OR ") == 1 for rule in rules)


def test_a_small_environment_watches_an_objective_by_one_alarm() -> None:
    small = template(burn_rate_windows=False)

    small.resource_count_is("AWS::CloudWatch::CompositeAlarm", 0)
    alarm = alarms(small)["AvailabilityObjective-Page"]
    assert alarm["Threshold"] == pytest.approx(92.8)
    assert statistics(alarm) == [("SuccessPercent", "Average", 3600)]
    assert alarm["AlarmActions"]
    # Ten metrics in alarms are free, and the others a tenth of a dollar each.
    assert sum(len(statistics(alarm)) for alarm in alarms(small).values()) <= 21


def test_concurrency_is_measured_against_the_quota_that_the_account_has(full: Template) -> None:
    alarm = alarms(full)["Concurrency-Page"]

    assert expression(alarm) == "100 * running / SERVICE_QUOTA(running)"
    assert alarm["Threshold"] == 80


def test_dead_letters_of_all_queues_are_one_alarm_and_age_is_watched_where_asked(full: Template) -> None:
    found = alarms(full)

    assert expression(found["DeadLetters-Warning"]) == "FILL(letters0, 0) + FILL(letters1, 0)"
    assert found["DeadLetters-Warning"]["Threshold"] == 0
    assert found["DocumentsQueueAge-Warning"]["Threshold"] == 300
    assert "RecordingsQueueAge-Warning" not in found


def test_spending_is_watched_by_the_hour(full: Template) -> None:
    found = alarms(full)

    assert statistics(found["TokensPerHour-Warning"]) == [("Tokens", "Sum", 3600)]
    # At this rate the month's 250 dollars are gone in three days.
    assert found["CostPerHour-Warning"]["Threshold"] == 3.47
    assert "CostPerHour-Warning" not in alarms(template())
    own = template(thresholds=AlarmThresholds(cost_per_hour_usd=2))
    assert alarms(own)["CostPerHour-Warning"]["Threshold"] == 2


def test_what_is_not_there_is_not_watched() -> None:
    without = template(assistant=AssistantMetrics(voice=False, knowledge=False), websocket_api=None)
    names = set(alarms(without))
    assert not names & {"WorkerCrashes-Page", "FirstAudioLatency-Warning", "KnowledgeUnavailable-Warning"}
    assert "ConnectionErrors-Warning" not in names
    other = template(assistant=None, functions={}, background_functions={}, queues={})
    assert set(alarms(other)) == {"ApiErrorRate-Warning", "ApiErrorRate-Page", "ConnectionErrors-Warning"}
    assert not alarms(
        template(assistant=None, functions={}, background_functions={}, queues={}, http_api=None, websocket_api=None)
    )


def test_a_key_of_ones_own_admits_who_publishes() -> None:
    stack = Stack(App(), "Stack")
    key = kms.Key(stack, "Key")
    Monitoring(stack, "Monitoring", props=MonitoringProps(name="Parley-test", encryption_key=key, dashboard=False))
    found = Template.from_stack(stack)

    found.resource_count_is("AWS::KMS::Key", 1)
    found.resource_count_is("AWS::CloudWatch::Dashboard", 0)
    assert set(admitted(found, "AWS::KMS::Key")) == {"cloudwatch.amazonaws.com"}


def test_the_budget_warns_before_at_and_ahead_of_its_limit(full: Template) -> None:
    [budget] = full.find_resources("AWS::Budgets::Budget").values()

    assert budget["Properties"]["Budget"]["BudgetLimit"] == {"Amount": 250, "Unit": "USD"}
    assert budget["Properties"]["Budget"]["CostFilters"] == {"TagKeyValue": ["user:application$parley"]}
    warnings = budget["Properties"]["NotificationsWithSubscribers"]
    assert [(w["Notification"]["NotificationType"], w["Notification"]["Threshold"]) for w in warnings] == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    [topic] = full.find_resources("AWS::SNS::Topic")
    assert all(w["Subscribers"] == [{"SubscriptionType": "SNS", "Address": {"Ref": topic}}] for w in warnings)


def test_somebody_hears_of_it(full: Template, sandbox: Template) -> None:
    full.has_resource_properties("AWS::SNS::Subscription", {"Protocol": "email", "Endpoint": "oncall@example.com"})
    sandbox.resource_count_is("AWS::SNS::Subscription", 0)


def test_saves_queries_over_the_log_groups(full: Template) -> None:
    queries = [query["Properties"] for query in full.find_resources("AWS::Logs::QueryDefinition").values()]

    assert {query["Name"] for query in queries} == {
        f"Parley-test/{name}"
        for name in ("OneRequest", "Errors", "SlowRequests", "CostByModel", "FirstAudio", "ColdStarts")
    }
    assert all(len(query["LogGroupNames"]) == 1 for query in queries)


def test_a_sandbox_has_the_dashboard_and_nothing_that_it_cannot_make(full: Template, sandbox: Template) -> None:
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::Logs::QueryDefinition"):
        sandbox.resource_count_is(kind, 0)
    for made in (full, sandbox):
        titles = {widget["properties"].get("title") for widget in widgets(made)}
        assert {"HTTP API", "WebSocket API", "Requests served (%)", "Errors of functions", "Messages waiting"} <= titles
        assert ("Alarms" in titles) == (made is full)


def test_the_dashboard_stays_among_those_that_may_be_free(full: Template) -> None:
    """CloudWatch gives three dashboards of up to 50 metrics to each account."""
    rows = [row for widget in widgets(full) for row in widget["properties"].get("metrics", [])]

    assert 30 < sum(isinstance(row[0], str) for row in rows) <= 50 - 12


def widgets(template: Template) -> list[dict[str, Any]]:
    [dashboard] = template.find_resources("AWS::CloudWatch::Dashboard").values()
    parts = dashboard["Properties"]["DashboardBody"]["Fn::Join"][1]
    body = json.loads("".join(part if isinstance(part, str) else "x" for part in parts))
    found: list[dict[str, Any]] = body["widgets"]
    return found
