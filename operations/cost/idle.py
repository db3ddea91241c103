"""What an environment costs in a month in which nobody uses it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from operations import prices
from operations.assembly import Assembly, Resource
from operations.cost.bill import Line
from operations.cost.kinds import BY_USE, is_free
from operations.prices import HOURS, Price

POLLS_OF_A_QUEUE = 5 * HOURS * 3600 / 20
"""Requests a month by which Lambda asks an empty queue for messages: an assumption, five pollers that wait 20 s each.
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html says that it polls, and not how often."""

SCALING_ALARMS = 4
"""Alarms that a target tracking policy makes for a DynamoDB table: consumption above and below the target, capacity
above and below what was set. They are in no template."""

_DEAR_RULE_GROUPS = ("BotControl", "ATPRuleSet", "ACFPRuleSet", "AntiDDoS")


@dataclass(frozen=True, slots=True)
class Idle:
    """The idle month, and what it does not say."""

    lines: list[Line]
    by_use: dict[str, int]
    """Types that cost by use: how many there are of each."""
    free: dict[str, int]
    unpriced: list[str]
    """Types, or what is special about one, that have no price here."""


class Unpriced(Exception):
    """What a resource has that no price is known for."""


def idle(assembly: Assembly) -> Idle:
    """What the resources of an assembly cost at rest."""
    lines: list[Line] = []
    by_use: Counter[str] = Counter()
    free: Counter[str] = Counter()
    unpriced: Counter[str] = Counter()
    for resource in assembly.resources():
        try:
            if resource.type in _PRICED:
                lines += _PRICED[resource.type](resource, assembly)
            elif resource.type in BY_USE:
                by_use[resource.type] += 1
            elif is_free(resource.type):
                free[resource.type] += 1
            else:
                unpriced[resource.type] += 1
        except Unpriced as reason:
            unpriced[f"{resource.type}: {reason}"] += 1
    lines = _together(lines)
    return Idle(
        [*lines, *_allowances(lines)],
        dict(sorted(by_use.items())),
        dict(sorted(free.items())),
        [f"{name} ({count})" for name, count in sorted(unpriced.items())],
    )


def _together(lines: list[Line]) -> list[Line]:
    """One line for each kind of line."""
    counts: dict[tuple[str, str, Price], float] = {}
    for line in lines:
        kind = (line.service, line.what, line.price)
        counts[kind] = counts.get(kind, 0.0) + line.count
    return [Line(service, what, count, price) for (service, what, price), count in counts.items() if count]


def _allowances(lines: list[Line]) -> Iterator[Line]:
    """What every account has free for ever, as if this environment were alone in it."""
    for what, price, allowed in (
        ("alarms", prices.ALARM_METRIC, prices.FREE_ALARM_METRICS),
        ("small dashboards", prices.DASHBOARD, prices.FREE_DASHBOARDS),
        ("polls of queues", prices.QUEUE_REQUEST, prices.FREE_QUEUE_REQUESTS),
    ):
        for line in lines:
            if line.what == what and line.price == price:
                yield Line(line.service, f"{what}, free of charge", -min(line.count, allowed), price)


def _alarm(alarm: Resource, _: Assembly) -> list[Line]:
    found = alarm.properties
    queries = found.get("Metrics", [])
    if any(str(query.get("Expression", "")).lstrip().upper().startswith("SELECT") for query in queries):
        raise Unpriced("a Metrics Insights query, which is paid for by the metrics that it finds")
    count = sum("MetricStat" in query for query in queries) if queries else 1
    if "ThresholdMetricId" in found:
        # Anomaly detection: the metric and the two edges of its band.
        count += 2
    periods = [query.get("MetricStat", {}).get("Period", 60) for query in queries] or [found.get("Period", 60)]
    fast = min(periods) < 60
    price = prices.FAST_ALARM_METRIC if fast else prices.ALARM_METRIC
    return [Line("CloudWatch", "fast alarms" if fast else "alarms", count, price)]


def _dashboard(dashboard: Resource, _: Assembly) -> list[Line]:
    small = _metrics_shown(dashboard.properties["DashboardBody"]) <= prices.FREE_DASHBOARD_METRICS
    return [Line("CloudWatch", "small dashboards" if small else "dashboards", 1, prices.DASHBOARD)]


def _metrics_shown(body: Any) -> int:
    """How many metrics a dashboard shows; its body is JSON in which tokens stand for what deployment fills in."""
    if isinstance(body, Mapping):
        body = "".join(part if isinstance(part, str) else "x" for part in body["Fn::Join"][1])
    widgets = json.loads(body).get("widgets", [])
    rows = [row for widget in widgets for row in widget.get("properties", {}).get("metrics", [])]
    # A row that begins with an object is an expression over the others.
    return sum(isinstance(row[0], str) for row in rows)


def _dax(cluster: Resource, _: Assembly) -> list[Line]:
    node = cluster.properties["NodeType"]
    if node not in prices.DAX_NODE_HOURS:
        raise Unpriced(f"nodes of type {node}")
    return [Line("DAX", f"{node} nodes", cluster.properties["ReplicationFactor"] * HOURS, prices.DAX_NODE_HOURS[node])]


def _table(table: Resource, assembly: Assembly) -> list[Line]:
    if table.properties.get("BillingMode") == "PAY_PER_REQUEST":
        return []
    given = [table.properties, *table.properties.get("GlobalSecondaryIndexes", [])]
    capacity = {
        unit: sum(part.get("ProvisionedThroughput", {}).get(unit, 0) for part in given)
        for unit in ("ReadCapacityUnits", "WriteCapacityUnits")
    }
    for target in assembly.resources("AWS::ApplicationAutoScaling::ScalableTarget"):
        dimension = target.properties["ScalableDimension"]
        if dimension.startswith("dynamodb:table:") and f'"{table.logical_id}"' in json.dumps(target.properties):
            capacity[dimension.rpartition(":")[2]] = target.properties["MinCapacity"]
    return [
        Line("DynamoDB", "read capacity", capacity["ReadCapacityUnits"] * HOURS, prices.READ_CAPACITY_HOUR),
        Line("DynamoDB", "write capacity", capacity["WriteCapacityUnits"] * HOURS, prices.WRITE_CAPACITY_HOUR),
    ]


def _global_table(table: Resource, _: Assembly) -> list[Line]:
    if table.properties.get("BillingMode") != "PAY_PER_REQUEST":
        raise Unpriced("provisioned capacity of a global table")
    return []


def _scaling_policy(policy: Resource, _: Assembly) -> list[Line]:
    metric = json.dumps(policy.properties.get("TargetTrackingScalingPolicyConfiguration", {}))
    if "DynamoDB" not in metric:
        raise Unpriced("alarms of a scaling policy that is not for DynamoDB")
    return [Line("CloudWatch", "alarms", SCALING_ALARMS, prices.ALARM_METRIC)]


def _endpoint(endpoint: Resource, _: Assembly) -> list[Line]:
    if endpoint.properties.get("VpcEndpointType", "Gateway") == "Gateway":
        return []
    zones = len(endpoint.properties["SubnetIds"])
    return [Line("VPC", "interface endpoints in a zone", zones * HOURS, prices.ENDPOINT_HOUR)]


def _search_endpoint(endpoint: Resource, _: Assembly) -> list[Line]:
    zones = len(endpoint.properties["SubnetIds"])
    return [Line("VPC", "interface endpoints in a zone", zones * HOURS, prices.ENDPOINT_HOUR)]


def _collection(collection: Resource, _: Assembly) -> list[Line]:
    # Half a unit each for indexing and searching, twice with replicas: the least that a classic collection runs on.
    # https://aws.amazon.com/blogs/big-data/amazon-opensearch-serverless-cost-effective-search-capabilities-at-any-scale
    if "CollectionGroupName" in collection.properties:
        return []
    units = 1 if collection.properties.get("StandbyReplicas") == "DISABLED" else 2
    return [Line("OpenSearch Serverless", "classic collections", units * HOURS, prices.OCU_HOUR)]


def _collection_group(group: Resource, _: Assembly) -> list[Line]:
    # https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-scale-to-zero.html
    limits = group.properties.get("CapacityLimits", {})
    units = limits.get("MinIndexingCapacityInOCU", 0) + limits.get("MinSearchCapacityInOCU", 0)
    return [Line("OpenSearch Serverless", "least capacity of collection groups", units * HOURS, prices.OCU_HOUR)]


def _mapping(mapping: Resource, _: Assembly) -> list[Line]:
    # Only streams have a position to start from, and Lambda reads DynamoDB's without charge.
    if "StartingPosition" in mapping.properties:
        return []
    return [Line("SQS", "polls of queues", POLLS_OF_A_QUEUE, prices.QUEUE_REQUEST)]


def _function(function: Resource, _: Assembly) -> list[Line]:
    if function.properties.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions":
        raise Unpriced("snapshots of SnapStart")
    return []


def _alias(alias: Resource, _: Assembly) -> list[Line]:
    if "ProvisionedConcurrencyConfig" in alias.properties:
        raise Unpriced("provisioned concurrency")
    return []


def _web_acl(acl: Resource, _: Assembly) -> list[Line]:
    rules = acl.properties.get("Rules", [])
    if any(name in json.dumps(rules) for name in _DEAR_RULE_GROUPS):
        raise Unpriced("a managed rule group with a price of its own")
    return [
        Line("WAF", "web ACLs", 1, prices.WEB_ACL),
        Line("WAF", "rules and managed rule groups", len(rules), prices.WEB_ACL_RULE),
    ]


def _flat(service: str, what: str, price: Price, count: float = 1) -> Callable[[Resource, Assembly], list[Line]]:
    return lambda *_: [Line(service, what, count, price)]


_PRICED: dict[str, Callable[[Resource, Assembly], list[Line]]] = {
    "AWS::ApplicationAutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::CompositeAlarm": _flat("CloudWatch", "composite alarms", prices.COMPOSITE_ALARM),
    "AWS::CloudWatch::Dashboard": _dashboard,
    "AWS::DAX::Cluster": _dax,
    "AWS::DynamoDB::GlobalTable": _global_table,
    "AWS::DynamoDB::Table": _table,
    "AWS::EC2::NatGateway": _flat("VPC", "NAT gateways", prices.NAT_HOUR, HOURS),
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::KMS::Key": _flat("KMS", "keys", prices.KEY),
    "AWS::KMS::ReplicaKey": _flat("KMS", "keys", prices.KEY),
    "AWS::Lambda::Alias": _alias,
    "AWS::Lambda::EventSourceMapping": _mapping,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::Version": _alias,
    "AWS::OpenSearchServerless::Collection": _collection,
    "AWS::OpenSearchServerless::CollectionGroup": _collection_group,
    "AWS::OpenSearchServerless::VpcEndpoint": _search_endpoint,
    "AWS::Route53::HostedZone": _flat("Route 53", "hosted zones", prices.HOSTED_ZONE),
    "AWS::SecretsManager::Secret": _flat("Secrets Manager", "secrets", prices.SECRET),
    "AWS::WAFv2::WebACL": _web_acl,
}
