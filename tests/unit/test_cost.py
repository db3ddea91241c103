"""`scripts/cost`: what resources cost at rest and in use, what has no price, what is accepted, and what it shows."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations import prices
from operations.assembly import ROOT, Assembly
from operations.cost import accepted, kinds, profiles
from operations.cost.bill import Line, by_service, times, total
from operations.cost.idle import POLLS_OF_A_QUEUE, Idle, idle
from operations.cost.usage import CUSTOM_METRICS, usage
from operations.environment import OperationError

MODELS = json.dumps({"quick": ["global.amazon.nova-2-lite-v1:0"]})


def a_resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def an_assembly(*resources: dict[str, Any], **named: dict[str, Any]) -> Assembly:
    numbered = {f"R{number}": resource for number, resource in enumerate(resources)}
    stack = {"Resources": {**numbered, **named}}
    return Assembly(Path(), {"Parley-dev-Data": stack}, {"Parley-dev-Data": "eu-west-1"})


def usd(*resources: dict[str, Any], **named: dict[str, Any]) -> float:
    return total(idle(an_assembly(*resources, **named)).lines)


def a_function(name: str, memory: int = 1024, **variables: str) -> dict[str, Any]:
    return a_resource(
        "Lambda::Function",
        Handler=f"parley.functions.{name}.handler",
        MemorySize=memory,
        Environment={"Variables": {"MODELS": MODELS, **variables}},
    )


TABLE = a_resource("DynamoDB::Table", BillingMode="PAY_PER_REQUEST")
CHAT = a_function("chat")
RETRIEVAL = a_function("retrieval", EMBEDDING_MODEL="amazon.titan-embed-text-v2:0")
INGESTION = a_function("ingestion")
VOICE = a_function("voice_worker", 512, VOICE_ENGINES='["nova-sonic"]', VOICE_MODEL="amazon.nova-2-sonic-v1:0")
WHOLE = (TABLE, CHAT, RETRIEVAL, INGESTION, VOICE, a_resource("S3Vectors::VectorBucket"))


# At rest.


def test_an_alarm_is_paid_for_by_the_metrics_that_it_looks_at() -> None:
    simple = a_resource("CloudWatch::Alarm", MetricName="Errors", Period=60)
    parts = [{"Id": "a", "MetricStat": {"Period": 300}}, {"Id": "b", "MetricStat": {"Period": 300}}]
    rate = a_resource("CloudWatch::Alarm", Metrics=[{"Id": "r", "Expression": "a / b"}, *parts])
    assert usd(*[simple] * 10) == pytest.approx(0)
    assert usd(*[simple] * 11) == pytest.approx(0.10)
    assert usd(*[simple] * 10, rate) == pytest.approx(0.20)
    fast = a_resource("CloudWatch::Alarm", MetricName="Errors", Period=10)
    assert usd(fast) == pytest.approx(0.30)
    odd = a_resource("CloudWatch::Alarm", Metrics=[{"Id": "m", "MetricStat": {"Period": 60}}], ThresholdMetricId="b")
    assert usd(*[simple] * 10, odd) == pytest.approx(0.30)
    assert usd(a_resource("CloudWatch::CompositeAlarm")) == pytest.approx(0.50)


def test_a_dashboard_of_more_than_fifty_metrics_is_not_free() -> None:
    def dashboard(metrics: int) -> dict[str, Any]:
        rows = [["AWS/Lambda", "Errors", "FunctionName", "f"]] * metrics + [[{"expression": "m1 / m2"}]]
        body = json.dumps({"widgets": [{"type": "metric", "properties": {"metrics": rows}}, {"type": "text"}]})
        return a_resource("CloudWatch::Dashboard", DashboardBody={"Fn::Join": ["", [body[:9], body[9:]]]})

    assert usd(*[dashboard(50)] * 3) == pytest.approx(0)
    assert usd(*[dashboard(50)] * 4) == pytest.approx(3)
    assert usd(dashboard(51)) == pytest.approx(3)


def test_a_tables_capacity_is_the_least_that_scaling_leaves() -> None:
    table = a_resource("DynamoDB::Table", ProvisionedThroughput={"ReadCapacityUnits": 100, "WriteCapacityUnits": 10})
    target = a_resource(
        "ApplicationAutoScaling::ScalableTarget",
        ScalableDimension="dynamodb:table:ReadCapacityUnits",
        MinCapacity=20,
        ResourceId={"Fn::Join": ["", ["table/", {"Ref": "Sessions"}]]},
    )
    hour = 10 * prices.WRITE_CAPACITY_HOUR.usd
    assert usd(Sessions=table) == pytest.approx(730 * (hour + 100 * prices.READ_CAPACITY_HOUR.usd))
    assert usd(target, Sessions=table) == pytest.approx(730 * (hour + 20 * prices.READ_CAPACITY_HOUR.usd))
    assert usd(target, Others=table) == pytest.approx(730 * (hour + 100 * prices.READ_CAPACITY_HOUR.usd))
    assert usd(TABLE) == 0


def test_scaling_brings_alarms_that_are_in_no_template() -> None:
    metric = {"PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBReadCapacityUtilization"}}
    policy = a_resource("ApplicationAutoScaling::ScalingPolicy", TargetTrackingScalingPolicyConfiguration=metric)
    assert usd(*[policy] * 3) == pytest.approx(0.20)


@pytest.mark.parametrize(
    ("resource", "dollars"),
    [
        (a_resource("KMS::Key"), 1.00),
        (a_resource("SecretsManager::Secret"), 0.40),
        (a_resource("DAX::Cluster", NodeType="dax.t3.small", ReplicationFactor=3), 87.60),
        (a_resource("OpenSearchServerless::Collection"), 350.40),
        (a_resource("OpenSearchServerless::Collection", StandbyReplicas="DISABLED"), 175.20),
        (a_resource("OpenSearchServerless::Collection", CollectionGroupName="scales to zero"), 0),
        (a_resource("OpenSearchServerless::CollectionGroup", CapacityLimits={"MaxSearchCapacityInOCU": 8}), 0),
        (a_resource("OpenSearchServerless::CollectionGroup", CapacityLimits={"MinSearchCapacityInOCU": 1}), 175.20),
        (a_resource("OpenSearchServerless::VpcEndpoint", SubnetIds=["a", "b"]), 14.60),
        (a_resource("EC2::VPCEndpoint", VpcEndpointType="Interface", SubnetIds=["a", "b", "c"]), 21.90),
        (a_resource("EC2::VPCEndpoint", VpcEndpointType="Gateway"), 0),
        (a_resource("EC2::NatGateway"), 32.85),
        (a_resource("Route53::HostedZone"), 0.50),
        (a_resource("WAFv2::WebACL", Rules=[{"Name": "a"}, {"Name": "b"}]), 7.00),
        (a_resource("DynamoDB::GlobalTable", BillingMode="PAY_PER_REQUEST"), 0),
        (a_resource("Lambda::Alias"), 0),
    ],
)
def test_what_is_paid_for_by_the_month(resource: dict[str, Any], dollars: float) -> None:
    assert usd(resource) == pytest.approx(dollars)
    assert idle(an_assembly(resource)).unpriced == []


def test_lambda_asks_an_idle_queue_for_messages_and_a_stream_for_nothing() -> None:
    queue = a_resource("Lambda::EventSourceMapping", EventSourceArn="queue")
    stream = a_resource("Lambda::EventSourceMapping", EventSourceArn="stream", StartingPosition="LATEST")
    assert usd(queue) == 0
    assert usd(queue, queue) == pytest.approx((2 * POLLS_OF_A_QUEUE - 1e6) * prices.QUEUE_REQUEST.usd)
    assert usd(stream, stream) == 0


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (a_resource("RDS::DBInstance"), ""),
        (a_resource("DAX::Cluster", NodeType="dax.r7g.large", ReplicationFactor=1), ": nodes of type dax.r7g.large"),
        (a_resource("Lambda::Alias", ProvisionedConcurrencyConfig={}), ": provisioned concurrency"),
        (a_resource("Lambda::Function", SnapStart={"ApplyOn": "PublishedVersions"}), ": snapshots of SnapStart"),
        (a_resource("DynamoDB::GlobalTable"), ": provisioned capacity of a global table"),
        (a_resource("WAFv2::WebACL", Rules=[{"Name": "AWSManagedRulesBotControlRuleSet"}]), ": a managed rule group"),
        (a_resource("CloudWatch::Alarm", Metrics=[{"Expression": "SELECT MAX(x)"}]), ": a Metrics Insights query"),
        (a_resource("ApplicationAutoScaling::ScalingPolicy"), ": alarms of a scaling policy"),
    ],
)
def test_what_has_no_price_is_said_and_never_free(resource: dict[str, Any], reason: str) -> None:
    [said] = idle(an_assembly(resource)).unpriced
    assert said.startswith(resource["Type"] + reason)
    assert said.endswith("(1)")


def test_what_costs_nothing_at_rest_is_told_from_what_costs_nothing() -> None:
    found = idle(an_assembly(a_resource("S3::Bucket"), a_resource("IAM::Role"), {"Type": "Custom::Mine"}))
    assert (found.by_use, found.free, found.unpriced) == (
        {"AWS::S3::Bucket": 1},
        {"AWS::IAM::Role": 1, "Custom::Mine": 1},
        [],
    )
    assert not kinds.FREE.keys() & kinds.BY_USE.keys()


@given(kind=st.from_regex(r"AWS::[A-Z][a-z]+::[A-Z][a-z]+", fullmatch=True), count=st.integers(1, 3))
def test_any_type_is_in_exactly_one_list(kind: str, count: int) -> None:
    found = idle(an_assembly(*[{"Type": kind, "Properties": {"ReplicationFactor": 1, "NodeType": "?"}}] * count))
    if not found.lines:
        lists = [kind in found.by_use, kind in found.free, any(said.startswith(kind) for said in found.unpriced)]
        assert sum(lists) == 1


def test_every_price_says_what_it_is_of_and_where_and_when_it_was_read() -> None:
    given = [value for value in vars(prices).values() if isinstance(value, prices.Price)]
    given += prices.DAX_NODE_HOURS.values()
    assert len(given) > 40
    for price in given:
        assert price.usd > 0
        assert price.unit
        assert re.fullmatch(r"https://aws\.amazon\.com/.+/", price.source), price
        assert date.fromisoformat(price.read) <= date.today()


# In use.


def test_a_turn_is_mostly_its_model() -> None:
    found = usage(an_assembly(*WHOLE), profiles.PROFILES["team"])
    services = by_service(found.turn)
    assert next(iter(services)) == "Bedrock"
    # 3,500 tokens in and 300 out of Nova 2 Lite.
    assert services["Bedrock"] == pytest.approx(0.0018, rel=0.01)
    assert found.unpriced == []


def test_memory_and_stores_are_those_of_the_template() -> None:
    small = usage(an_assembly(*WHOLE), profiles.PROFILES["team"])
    large = usage(an_assembly(TABLE, a_function("chat", 2048)), profiles.PROFILES["team"])
    seconds = {line.what: line.count for line in (*small.turn, *large.turn) if "turns" in line.what}
    assert seconds["GB-seconds of turns"] == 8
    assert "vector queries" in {line.what for line in small.turn}
    assert "vector queries" not in {line.what for line in large.turn}
    assert (large.voice_minute, large.document) == ([], [])


def test_the_cascade_costs_what_it_hears_thinks_and_says() -> None:
    cascade = a_function("voice_worker", 512, VOICE_ENGINES='["cascade", "nova-sonic"]')
    found = usage(an_assembly(TABLE, CHAT, cascade), profiles.PROFILES["team"])
    services = by_service(found.voice_minute)
    assert services["Transcribe"] == pytest.approx(0.024)
    # Half a minute of fifteen characters a second.
    assert services["Polly"] == pytest.approx(450 * 30 / 1e6)
    assert "Bedrock" in services


def test_the_month_is_what_each_use_costs_as_often_as_it_happens() -> None:
    profile = profiles.Profile(name="p", users=0, conversations=10, turns=3, voice_minutes=7, documents=2)
    found = usage(an_assembly(*WHOLE), profile)
    uses = 30 * total(found.turn) + 7 * total(found.voice_minute) + 2 * total(found.document)
    fixed = (CUSTOM_METRICS - 10) * prices.CUSTOM_METRIC.usd
    assert total(found.month) == pytest.approx(uses + fixed, rel=1e-3)


def test_nobody_costs_nothing() -> None:
    nobody = profiles.Profile(name="nobody", users=0, conversations=0, turns=0, voice_minutes=0, documents=0)
    assert total(usage(an_assembly(*WHOLE), nobody).month) == 0


def test_users_above_the_free_ten_thousand_are_paid_for() -> None:
    crowd = profiles.Profile(name="crowd", users=10_100, conversations=1, turns=1, voice_minutes=0, documents=0)
    found = usage(an_assembly(*WHOLE, a_resource("Cognito::UserPool")), crowd)
    assert by_service(found.month)["Cognito"] == pytest.approx(1.50)


def test_provisioned_tables_have_paid_for_their_requests() -> None:
    table = a_resource("DynamoDB::Table", ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5})
    found = usage(an_assembly(table, *WHOLE[1:]), profiles.PROFILES["team"])
    assert "DynamoDB" not in by_service(found.turn)
    # The frames of calls are paid for by the request everywhere.
    paid = {line.what for line in found.voice_minute if line.service == "DynamoDB"}
    assert paid == {"write units of audio", "read units"}


def test_the_edge_is_paid_for_where_there_is_one() -> None:
    edge = (a_resource("CloudFront::Distribution"), a_resource("WAFv2::WebACL"))
    with_edge = by_service(usage(an_assembly(*WHOLE, *edge), profiles.PROFILES["team"]).turn)
    without = by_service(usage(an_assembly(*WHOLE), profiles.PROFILES["team"]).turn)
    assert {"CloudFront", "WAF"} <= with_edge.keys()
    assert "data transfer" in without


def test_a_guardrail_is_paid_for_by_what_it_judges() -> None:
    policies: dict[str, Any] = {"ContentPolicyConfig": {}, "SensitiveInformationPolicyConfig": {}}
    guarded = usage(an_assembly(*WHOLE, a_resource("Bedrock::Guardrail", **policies)), profiles.PROFILES["team"])
    plain = usage(an_assembly(*WHOLE), profiles.PROFILES["team"])
    # A question of up to 1,000 characters and an answer of 1,200 are filtered, and the answer is masked.
    assert total(guarded.turn) - total(plain.turn) == pytest.approx(3 * 0.15e-3 + 2 * 0.10e-3)
    unseen = usage(an_assembly(TABLE, a_function("chat", GUARDRAIL="{}")), profiles.PROFILES["team"])
    assert unseen.unpriced == ["a guardrail that is in no template"]


def test_a_model_without_a_price_is_said_once() -> None:
    odd = json.dumps({"quick": ["us.example.unheard-of-v1:0"]})
    chat, voice = a_function("chat", MODELS=odd), a_function("voice_worker", VOICE_MODEL="example.voice-v1:0")
    retrieval = a_function("retrieval", EMBEDDING_MODEL="example.embed-v1:0")
    group = a_resource("OpenSearchServerless::CollectionGroup")
    found = usage(an_assembly(TABLE, chat, voice, retrieval, INGESTION, group), profiles.PROFILES["team"])
    assert sorted(found.unpriced) == [
        "OCU hours of a NextGen collection while it is awake, 0.24 dollars each",
        "the model example.embed-v1:0",
        "the model example.voice-v1:0",
        "the model us.example.unheard-of-v1:0",
    ]


def test_as_many_metrics_are_paid_for_as_the_functions_report() -> None:
    named: set[str] = set()
    for path in (ROOT / "runtime" / "parley").rglob("*.py"):
        named |= set(re.findall(r"add_metric\(\s*(?:name=)?\"(\w+)\"", path.read_text()))
    assert 10 < len(named) <= CUSTOM_METRICS


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 1e6)), max_size=9), st.floats(0, 100))
def test_services_add_up_to_the_bill(parts: list[tuple[str, float]], factor: float) -> None:
    lines = [Line(service, "x", count, prices.KEY) for service, count in parts]
    assert sum(by_service(lines).values()) == pytest.approx(total(lines))
    assert total(times(lines, factor)) == pytest.approx(factor * total(lines))


# Profiles.


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("conversations = 10\nturns = 2\nusers = 3\n")
    profile = profiles.read(str(path))
    assert (profile.name, profile.text_turns, profile.voice_minutes, profile.input_tokens) == ("shop", 20, 0, 3_500)
    (tmp_path / "shop.json").write_text('{"name": "Shop", "voice_minutes": 5}')
    assert profiles.read(str(tmp_path / "shop.json")).name == "Shop"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("big", None, "There is no profile"),
        ("none.toml", None, "cannot be read"),
        ("bad.toml", "turns =", "cannot be read"),
        ("odd.toml", "visitors = 3", "has visitors; allowed are"),
        ("list.json", "[1]", "is no table"),
        ("less.toml", "turns = -1", "says turns = -1"),
        ("text.json", '{"turns": "many"}', "says turns = 'many'"),
    ],
)
def test_a_profile_that_cannot_be_used(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(OperationError, match=re.escape(said)):
        profiles.read(str(path))


# What was accepted.


def at_rest(dollars: float, *unpriced: str) -> Idle:
    return Idle([Line("KMS", "keys", dollars, prices.KEY)], {}, {}, list(unpriced))


@pytest.mark.parametrize(("dollars", "rises"), [(0.5, False), (5.4, False), (5.5, False), (5.51, True)])
def test_a_small_environment_may_rise_by_a_dollar(dollars: float, rises: bool) -> None:
    entry = accepted.Accepted(4.5, date(2026, 11, 21), "why")
    assert bool(accepted.problems("dev", at_rest(dollars), {"dev": entry})) == rises


@pytest.mark.parametrize(("dollars", "rises"), [(1050, False), (1051, True)])
def test_a_large_environment_may_rise_by_five_percent(dollars: float, rises: bool) -> None:
    entry = accepted.Accepted(1000, date(2026, 11, 21), "why")
    found = accepted.problems("prod", at_rest(dollars), {"prod": entry})
    assert bool(found) == rises
    assert all("from the 1000.00 dollars a month accepted on 2026-11-21 to 1051.00" in said for said in found)


def test_what_has_no_price_must_be_accepted_too() -> None:
    entry = accepted.Accepted(1, date(2026, 11, 21), "why", ("AWS::Old::Thing (1)",))
    [said] = accepted.problems("dev", at_rest(1, "AWS::Old::Thing (1)", "AWS::New::Thing (1)"), {"dev": entry})
    assert said.startswith("dev has AWS::New::Thing (1), which has no price here")
    [never] = accepted.problems("test", at_rest(1), {"dev": entry})
    assert "was never accepted" in never


def test_what_is_accepted_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "reviewed" / "cost.toml"
    entries = {
        "dev": accepted.Accepted(4.49, date(2026, 11, 21), 'It said "so".', ("AWS::A::B (1)",)),
        "prod": accepted.Accepted(1000.0, date(2026, 11, 22), "why"),
    }
    accepted.write(entries, path)
    assert accepted.read(path) == entries
    assert accepted.read(tmp_path / "none.toml") == {}
    path.write_text("[dev]\nusd = 1\n")
    with pytest.raises(OperationError, match="needs usd, on and reason"):
        accepted.read(path)
