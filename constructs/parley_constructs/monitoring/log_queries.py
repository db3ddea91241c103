"""The saved log queries: what one asks the logs when an alarm goes off. The runbooks name them."""

from collections.abc import Sequence

from aws_cdk import aws_logs as logs
from constructs import Construct

_ABOUT = ["@timestamp", "service", "level", "message"]

QUERIES: dict[str, logs.QueryString] = {
    # One query finds all of a request, from the browser's own id to the last function; or all of a conversation or a
    # session: whichever id there is goes in the place of the one that nobody has.
    "OneRequest": logs.QueryString(
        fields=[*_ABOUT, "correlation_id", "conversation_id", "session_id", "document_id", "function_request_id"],
        filter_statements=[
            'correlation_id = "PUT-THE-ID-HERE" or conversation_id = "PUT-THE-ID-HERE" or '
            'session_id = "PUT-THE-ID-HERE" or document_id = "PUT-THE-ID-HERE"'
        ],
        sort="@timestamp asc",
        limit=1000,
    ),
    "Errors": logs.QueryString(
        fields=[*_ABOUT, "error_code", "exception_name", "reason", "correlation_id", "function_request_id"],
        filter_statements=['level in ["WARNING", "ERROR", "CRITICAL"]'],
        sort="@timestamp desc",
        limit=100,
    ),
    "SlowRequests": logs.QueryString(
        fields=["@timestamp", "service", "route", "status", "milliseconds", "model_milliseconds", "correlation_id"],
        filter_statements=["ispresent(milliseconds)"],
        sort="milliseconds desc",
        limit=50,
    ),
    "CostByModel": logs.QueryString(
        filter_statements=['message = "Answered"'],
        stats_statements=[
            "count(*) as turns, sum(usage.cost_usd) as dollars, sum(usage.input_tokens) as input_tokens, "
            "sum(usage.output_tokens) as output_tokens, avg(model_milliseconds) as model_ms by model"
        ],
    ),
    "FirstAudio": logs.QueryString(
        filter_statements=["ispresent(FirstAudioLatency.0)"],
        stats_statements=[
            "count(*) as samples, pct(FirstAudioLatency.0, 50) as p50_ms, pct(FirstAudioLatency.0, 95) as p95_ms "
            "by bin(5m)"
        ],
    ),
    "ColdStarts": logs.QueryString(
        filter_statements=["ispresent(@initDuration)"],
        stats_statements=[
            "count(*) as starts, avg(@initDuration) as average_ms, max(@initDuration) as slowest_ms by @log"
        ],
    ),
}


def save_log_queries(scope: Construct, name: str, log_groups: Sequence[logs.ILogGroup]) -> None:
    """Save the queries in CloudWatch, in a folder called `name`."""
    for query_name, query in QUERIES.items():
        logs.QueryDefinition(
            scope,
            f"{query_name}Query",
            query_definition_name=f"{name}/{query_name}",
            query_string=query,
            log_groups=list(log_groups),
        )
