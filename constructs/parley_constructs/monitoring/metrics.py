"""The services' own metrics that alarms and the dashboard show. docs/monitoring.md says where each is documented."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_cloudwatch as cloudwatch

FEW_ERRORS = 3
"""With fewer errors than this in five minutes there is no rate worth speaking of: at night one of four is 25 %."""


def http(api: apigatewayv2.IHttpApi, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """A metric of an HTTP API."""
    return _api_metric(api.api_id, name, statistic)


def websocket(api: apigatewayv2.IWebSocketApi, name: str) -> cloudwatch.Metric:
    """A metric of a WebSocket API, summed up."""
    return _api_metric(api.api_id, name, "Sum")


def http_error_percent(api: apigatewayv2.IHttpApi) -> cloudwatch.MathExpression:
    """Share of an HTTP API's answers that are 500 and above; 0 while there are few."""
    return cloudwatch.MathExpression(
        expression=f"IF(errors >= {FEW_ERRORS}, 100 * errors / requests, 0)",
        using_metrics={"errors": http(api, "5xx"), "requests": http(api, "Count")},
        period=Duration.minutes(5),
        label="Errors, percent",
    )


def concurrency_percent() -> cloudwatch.MathExpression:
    """Functions that run at once in the account and region, in percent of its quota, whatever that is now."""
    running = cloudwatch.Metric(
        namespace="AWS/Usage",
        metric_name="ResourceCount",
        dimensions_map={
            "Class": "None",
            "Resource": "ConcurrentExecutions",
            "Service": "Lambda",
            "Type": "Resource",
        },
        statistic="Maximum",
        period=Duration.minutes(5),
    )
    return cloudwatch.MathExpression(
        expression="100 * running / SERVICE_QUOTA(running)",
        using_metrics={"running": running},
        period=Duration.minutes(5),
        label="Concurrency, percent of the quota",
    )


def sum_of(name: str, found: Sequence[cloudwatch.IMetric]) -> cloudwatch.IMetric:
    """The sum of metrics, of which some may have no values."""
    if len(found) == 1:
        return found[0]
    ids = {f"{name}{number}": metric for number, metric in enumerate(found)}
    return cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({each}, 0)" for each in ids), using_metrics=ids, period=Duration.minutes(5)
    )


def _api_metric(api_id: str, name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ApiGateway",
        metric_name=name,
        dimensions_map={"ApiId": api_id},
        statistic=statistic,
        period=Duration.minutes(5),
        label=name,
    )
