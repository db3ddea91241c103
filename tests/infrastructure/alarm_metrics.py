"""The alarms of a synthesized environment, and what they look at."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infrastructure.assemblies import ROOT, Assembly

RUNBOOKS = ROOT / "docs" / "runbooks"


@dataclass(frozen=True)
class Metric:
    """A metric that an alarm looks at; the values of dimensions where they are known before deployment."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class AlarmFound:
    """An alarm of a template. One that nobody hears of needs no name."""

    name: str | None
    page: Path
    metrics: frozenset[Metric]


def alarms_of(assembly: Assembly) -> list[AlarmFound]:
    """Every alarm, of metrics and of alarms."""
    found = []
    for resource_name, resource in assembly.resources("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        properties = resource["Properties"]
        link = re.search(r"Runbook: (\S+)$", properties["AlarmDescription"])
        assert link, f"{resource_name} names no runbook"
        found.append(
            AlarmFound(
                properties.get("AlarmName"), RUNBOOKS / link[1].rpartition("/")[2], frozenset(_metrics(properties))
            )
        )
    return found


def _metrics(properties: dict[str, Any]) -> Iterator[Metric]:
    if "MetricName" in properties:
        yield _metric(properties)
    for query in properties.get("Metrics", []):
        if "MetricStat" in query:
            yield _metric(query["MetricStat"]["Metric"])


def _metric(found: dict[str, Any]) -> Metric:
    dimensions = {
        dimension["Name"]: dimension["Value"] if isinstance(dimension["Value"], str) else None
        for dimension in found.get("Dimensions", [])
    }
    return Metric(found["Namespace"], found["MetricName"], tuple(sorted(dimensions.items())))
