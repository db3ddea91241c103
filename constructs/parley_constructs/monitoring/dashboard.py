"""The dashboard: what users get first, then voice, models and money, then what may run out.

It shows fewer than the 50 metrics up to which CloudWatch's three free dashboards are free, so functions and tables are
shown by the sums that decide something; each has a page of its own in its service's console.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from parley_constructs.monitoring import metrics
from parley_constructs.monitoring.props import AssistantMetrics, MonitoringProps

_WIDTH, _HEIGHT = 8, 6
_FUNCTIONS_SHOWN = 12
"""Of the functions, errors are shown of so many: more lines than this nobody tells apart."""


def add_dashboard(scope: Construct, props: MonitoringProps, alarms: Mapping[str, cloudwatch.IAlarm]) -> None:
    """The dashboard of what `props` names, with the state of the alarms on top."""
    dashboard = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=props.name, default_interval=Duration.hours(3))
    if alarms:
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms.values()), width=24, height=4)
        )
    rows = [_apis(props)]
    if props.assistant is not None:
        rows += [_requests(props.assistant), _models(props.assistant)]
        if props.assistant.voice:
            rows.append(_voice(props.assistant))
    rows += [_services(props)]
    for row in rows:
        if row:
            dashboard.add_widgets(*row)


def _apis(props: MonitoringProps) -> Sequence[cloudwatch.IWidget]:
    widgets: list[cloudwatch.IWidget] = []
    if (api := props.http_api) is not None:
        widgets += [
            _graph("HTTP API", metrics.http(api, "Count"), metrics.http(api, "4xx"), metrics.http(api, "5xx")),
            _graph(
                "HTTP API: latency, models included (ms)",
                metrics.http(api, "Latency", "p50"),
                metrics.http(api, "Latency", "p95"),
            ),
        ]
    if (sockets := props.websocket_api) is not None:
        names = ("ConnectCount", "MessageCount", "ClientError", "IntegrationError", "ExecutionError")
        widgets.append(_graph("WebSocket API", *(metrics.websocket(sockets, name) for name in names)))
    return widgets


def _requests(assistant: AssistantMetrics) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph("Requests served (%)", assistant.metric("SuccessPercent", "Average")),
        _graph(
            "Latency without, and of, language models (ms)",
            assistant.metric("Latency", "p95"),
            assistant.metric("ModelLatency", "p95"),
        ),
        _graph(
            "Degraded",
            assistant.metric("ModelFallbacks", "Sum"),
            assistant.metric("StoreThrottles", "Sum"),
            *([assistant.metric("KnowledgeUnavailable", "Sum")] if assistant.knowledge else []),
            assistant.metric("ToolFailures", "Sum"),
        ),
    ]


def _models(assistant: AssistantMetrics) -> Sequence[cloudwatch.IWidget]:
    hour = Duration.hours(1)
    return [
        _graph("Turns of text", assistant.metric("Turns", "Sum")),
        _graph("Tokens an hour", assistant.metric("Tokens", "Sum", hour)),
        _graph("Dollars an hour, of language models", assistant.metric("CostUsd", "Sum", hour)),
    ]


def _voice(assistant: AssistantMetrics) -> Sequence[cloudwatch.IWidget]:
    return [
        _graph(
            "First audio after the user has spoken (ms)",
            assistant.metric("FirstAudioLatency", "p50"),
            assistant.metric("FirstAudioLatency", "p95"),
        ),
        _graph("A frame's way to the worker (ms)", assistant.metric("RelayLatency", "p95")),
        _graph(
            "Workers and sessions",
            *(
                assistant.metric(name, "Sum")
                for name in ("WorkerCrashes", "SessionHandoffs", "HandoffFailures", "SessionsFailed", "EngineLost")
            ),
        ),
    ]


def _services(props: MonitoringProps) -> Sequence[cloudwatch.IWidget]:
    widgets: list[cloudwatch.IWidget] = []
    if props.functions:
        shown = list(props.functions.items())[:_FUNCTIONS_SHOWN]
        widgets += [
            _graph(
                "Errors of functions",
                *(function.metric_errors(statistic="Sum", label=name) for name, function in shown),
            ),
            _graph("Concurrency (% of the account's quota)", metrics.concurrency_percent()),
        ]
    if props.queues:
        waiting: list[cloudwatch.IMetric] = []
        for name, monitored in props.queues.items():
            waiting += [
                monitored.queue.metric_approximate_number_of_messages_visible(statistic="Maximum", label=name),
                monitored.dead_letter_queue.metric_approximate_number_of_messages_visible(
                    statistic="Maximum", label=f"{name}: given up"
                ),
            ]
        widgets.append(_graph("Messages waiting", *waiting))
    return widgets


def _graph(title: str, *shown: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(shown),
        left_y_axis=cloudwatch.YAxisProps(min=0),
        width=_WIDTH,
        height=_HEIGHT,
    )
