"""Logs, metrics and traces of every function. None of them ever holds the content of a message.

Nothing is logged that people wrote; a masker stands behind every logger all the same.

Metrics describe the assistant, not one of its functions: each has the one dimension `service: assistant`, in a
namespace of the environment's own, so that an alarm watches one metric, and one metric is paid for. Which function it
was stands in the logs.
"""

import functools
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from parley import correlation
from parley.aws import failures
from parley.functions.masking import MaskingFormatter, mask_all_loggers, mask_exception

type Handler = Callable[[Any, Any], Any]

METRICS_SERVICE = "assistant"
"""The value of the dimension `service` of every metric."""

logger = Logger(logger_formatter=MaskingFormatter())
mask_all_loggers()
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Parley"), service=METRICS_SERVICE)


def instrument(handler: Handler, *, trace_calls: bool = True) -> Handler:
    """Wrap an entry point: structured logs with a correlation id, metrics flushed, a trace segment.

    The tracer records calls to AWS and nothing of what they carried; without `trace_calls` not even those. The
    correlation id is the one that the event brings: from the function that asked, the client, or API Gateway.
    """
    # A request that measured nothing (a refused one) is no reason for a warning in its log.
    warnings.filterwarnings("ignore", message="No application metrics to publish")
    tracer = Tracer(patch_modules=["botocore"], auto_patch=trace_calls)
    _keep_content_out_of_traces()

    @functools.wraps(handler)
    def measured(event: Any, context: Any) -> Any:
        correlate(_correlation_id(event) or context.aws_request_id)
        tracer.put_annotation("correlation_id", correlation.current() or "")
        try:
            return handler(event, context)
        finally:
            count_throttles()

    traced = tracer.capture_lambda_handler(measured, capture_response=False, capture_error=False)
    logged = logger.inject_lambda_context(metrics.log_metrics(traced), clear_state=True)

    @functools.wraps(handler)
    def entry(event: Any, context: Any) -> Any:
        try:
            return logged(event, context)
        except Exception as error:
            # Lambda prints what ends an invocation, and no logger of ours sees it.
            mask_exception(error)
            raise
        finally:
            _collect_garbage_from_now_on()

    return entry


def correlate(correlation_id: str | None) -> None:
    """What follows belongs to this request: in the logs, and in what is asked of other functions."""
    correlation.begin(correlation_id)
    logger.set_correlation_id(correlation_id)


def count_throttles() -> None:
    """Turn the refusals of the store since the last time into a metric. They come from any thread; metrics do not."""
    if refused := failures.take_store_throttles():
        metrics.add_metric(name="StoreThrottles", unit=MetricUnit.Count, value=refused)


def _correlation_id(event: Any) -> str | None:
    if not isinstance(event, dict):
        return None
    if isinstance(carried := event.get("correlation_id"), str):
        return carried
    headers = event.get("headers")
    request = event.get("requestContext")
    if not isinstance(request, dict):
        return None
    given = headers.get(correlation.HEADER) if isinstance(headers, dict) else None
    return correlation.chosen_by_client(given) or request.get("requestId")


def _collect_garbage_from_now_on() -> None:
    if not gc.isenabled():
        # What start-up made stays: no collection needs to look at it again.
        gc.freeze()
        gc.enable()


def _keep_content_out_of_traces() -> None:
    """X-Ray's SDK notes what exceptions say, and the keys of S3 objects: the names of files, and whose they are.

    `capture_error=False` alone does not help: the SDK's own context manager records what passes through it.
    """
    from aws_xray_sdk.core.models import entity
    from aws_xray_sdk.core.models.throwable import Throwable
    from aws_xray_sdk.ext import boto_utils

    class Thrown(Throwable):  # type: ignore[misc]  # the SDK has no types
        """An exception's type and place, without its message."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.__dict__.pop("message", None)

    entity.Throwable = Thrown
    boto_utils.whitelist["services"].pop("s3", None)
