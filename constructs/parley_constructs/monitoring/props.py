"""What `Monitoring` is told: what there is to watch, when it is too much, and who hears of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs


@dataclass(frozen=True)
class MonitoredQueue:
    """A queue, where its messages go when nobody could handle them, and how long one may wait (None: as it likes)."""

    queue: sqs.IQueue
    dead_letter_queue: sqs.IQueue
    max_age: Duration | None = None


@dataclass(frozen=True)
class AssistantMetrics:
    """The metrics that the assistant's own code writes into its logs, in the embedded metric format.

    Attributes:
        namespace: where they are; one of its own for each environment, or environments of one account mix.
        service: the value of their one dimension, `service`.
        voice: whether there are live voice sessions. knowledge: whether answers come from documents.
    """

    namespace: str = "Parley"
    service: str = "assistant"
    voice: bool = True
    knowledge: bool = True

    def metric(self, name: str, statistic: str, period: Duration | None = None) -> cloudwatch.Metric:
        """One of them, over five minutes unless told otherwise."""
        return cloudwatch.Metric(
            namespace=self.namespace,
            metric_name=name,
            dimensions_map={"service": self.service},
            statistic=statistic,
            period=period or Duration.minutes(5),
            label=name,
        )


@dataclass(frozen=True, kw_only=True)
class AlarmThresholds:
    """When an alarm goes off.

    Attributes:
        warning_error_percent, page_error_percent: share of the HTTP API's answers that are 500 and above.
        latency: the assistant's own time for a request, without the language model's.
        availability_objective: percent of requests that are to be served, over 30 days.
        latency_objective: percent of served requests that are to take no longer than `latency`, over 30 days.
        concurrency_percent: share of the account's quota of Lambda functions that run at once.
        first_audio: from the end of what a user says to the first audio of the answer.
        tokens_per_hour: what language models read and write.
        cost_per_hour_usd: what they cost. None: a 72nd of the monthly budget, which is gone in three days then; without
            a budget there is no such alarm.
    """

    warning_error_percent: float = 1
    page_error_percent: float = 5
    latency: Duration = field(default_factory=lambda: Duration.seconds(2))
    availability_objective: float = 99.5
    latency_objective: float = 95
    concurrency_percent: float = 80
    first_audio: Duration = field(default_factory=lambda: Duration.seconds(2))
    tokens_per_hour: int = 2_000_000
    cost_per_hour_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class MonitoringProps:
    """What `Monitoring` watches; every part may be left out.

    Attributes:
        name: what the dashboard and the alarms are called after; unique in the account and region.
        functions: shown on the dashboard, each under the name that people know it by.
        background_functions: those of them that are invoked asynchronously and that nobody waits for: when one cannot
            even start, nothing but Lambda's own metric tells.
        queues, http_api, websocket_api: what else to watch.
        assistant: the metrics of the assistant's own code. None: other code, which writes none of them.
        log_groups: what the saved queries search.
        log_queries: whether to save queries.
        alarms: whether to make alarms; without them there is still the dashboard, and the topic. A sandbox whose
            CloudWatch knows no metric math cannot take them.
        burn_rate_windows: whether each objective is watched over four windows, which takes four alarms and a composite
            one (0.90 dollars a month instead of 0.10): it pages sooner, notices slow burns, and is over sooner.
        dashboard: whether to make the dashboard. It stays below the 50 metrics up to which it may be free.
        runbooks: where the pages about the alarms are read: an address, or a folder of the repository.
        alarm_email: who hears of alarms and of the budget; the address is asked to confirm.
        monthly_budget_usd: spending at which to warn: at 80 % of it, at all of it, and when the forecast passes it.
        budget_tags: count only what carries one of these tags (they must be activated as cost allocation tags); all of
            the account otherwise.
        thresholds: when alarms go off.
        encryption_key: a key to encrypt the topic with, whose policy will admit CloudWatch and Budgets. None: one of
            the topic's own, for a dollar a month.
        removal_policy: what becomes of the topic's own key.
    """

    name: str
    functions: Mapping[str, lambda_.IFunction] = field(default_factory=dict)
    background_functions: Mapping[str, lambda_.IFunction] = field(default_factory=dict)
    queues: Mapping[str, MonitoredQueue] = field(default_factory=dict)
    http_api: apigatewayv2.IHttpApi | None = None
    websocket_api: apigatewayv2.IWebSocketApi | None = None
    assistant: AssistantMetrics | None = None
    log_groups: Sequence[logs.ILogGroup] = ()
    log_queries: bool = True
    alarms: bool = True
    burn_rate_windows: bool = True
    dashboard: bool = True
    runbooks: str = "docs/runbooks"
    alarm_email: str | None = None
    monthly_budget_usd: float | None = None
    budget_tags: Mapping[str, str] = field(default_factory=dict)
    thresholds: AlarmThresholds = field(default_factory=AlarmThresholds)
    encryption_key: kms.IKey | None = None
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY
