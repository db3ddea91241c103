import json
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Match, Template
from parley_constructs.monitoring import AlarmThresholds, MonitoredQueue, Monitoring, MonitoringProps
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
    table = dynamodb.Table(
        stack, "Table", partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
    )
    queues = MonitoredQueue(queue=sqs.Queue(stack, "Queue"), dead_letter_queue=sqs.Queue(stack, "Dead"))
    Monitoring(
        stack,
        "Monitoring",
        props=MonitoringProps(
            name="Parley-test",
            functions={"Chat": function},
            tables={"Conversations": table},
            queues={"Ingestion": queues},
            http_api=apigatewayv2.HttpApi(stack, "HttpApi"),
            websocket_api=apigatewayv2.WebSocketApi(stack, "WebSocketApi"),
            log_groups=[function.log_group],
            **props,
        ),
    )
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def full() -> Template:
    return template(
        alarm_email="oncall@example.com",
        monthly_budget_usd=250,
        budget_tags={"application": "parley"},
        thresholds=AlarmThresholds(error_percent=2, http_latency=Duration.seconds(8), queue_age=Duration.minutes(5)),
    )


@pytest.fixture(scope="module")
def sandbox() -> Template:
    return template(alarms=False, log_queries=False)


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    found = template.find_resources("AWS::CloudWatch::Alarm").values()
    return {alarm["Properties"]["AlarmName"]: alarm["Properties"] for alarm in found}


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


def test_every_alarm_reaches_the_topic_and_says_when_it_is_over(full: Template) -> None:
    [topic] = full.find_resources("AWS::SNS::Topic")

    assert len(alarms(full)) == 9
    for alarm in alarms(full).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]


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


def test_rates_are_compared_as_the_fractions_that_they_are(full: Template) -> None:
    rates = [alarm for name, alarm in alarms(full).items() if "Rate" in name]

    assert len(rates) == 2
    for alarm in rates:
        assert alarm["Threshold"] == 0.02
        assert alarm["Metrics"][0]["MetricStat"]["Stat"] == "Average"


def test_thresholds_are_in_the_units_of_their_metrics(full: Template) -> None:
    thresholds = {name.removeprefix("Parley-test-"): alarm["Threshold"] for name, alarm in alarms(full).items()}

    [latency] = [value for name, value in thresholds.items() if "Latency" in name]
    [age] = [value for name, value in thresholds.items() if "Age" in name]
    [dead_letters] = [value for name, value in thresholds.items() if "DLQ" in name]
    assert (latency, age, dead_letters) == (8000, 300, 0)


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
        "Parley-test/Errors",
        "Parley-test/SlowestInvocations",
        "Parley-test/ColdStarts",
    }
    assert all(len(query["LogGroupNames"]) == 1 for query in queries)


def test_a_sandbox_has_the_dashboard_and_nothing_that_it_cannot_make(full: Template, sandbox: Template) -> None:
    for kind in ("AWS::CloudWatch::Alarm", "AWS::Logs::QueryDefinition"):
        sandbox.resource_count_is(kind, 0)
    for made in (full, sandbox):
        made.resource_count_is("AWS::CloudWatch::CompositeAlarm", 0)
        [dashboard] = made.find_resources("AWS::CloudWatch::Dashboard").values()
        body = json.dumps(dashboard["Properties"]["DashboardBody"])
        for part in ("HTTP API", "WebSocket API", "Chat", "Conversations", "Ingestion"):
            assert part in body
