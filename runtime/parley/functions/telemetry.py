"""Logs, metrics and traces of every function. None of them ever holds the content of a message.

Nothing is logged that people wrote; a masker stands behind every logger all the same.
"""

import functools
import gc
import os
import warnings
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer

from parley.functions.masking import MaskingFormatter, mask_all_loggers, mask_exception

type Handler = Callable[[Any, Any], Any]

logger = Logger(logger_formatter=MaskingFormatter())
mask_all_loggers()
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Parley"))


def instrument(handler: Handler, *, correlation_id_path: str | None = None, trace_calls: bool = True) -> Handler:
    """Wrap an entry point: structured logs with a correlation id, metrics flushed, a trace segment.

    The tracer records calls to AWS and nothing of what they carried; without `trace_calls` not even those.
    """
    # A request that measured nothing (a refused one) is no reason for a warning in its log.
    warnings.filterwarnings("ignore", message="No application metrics to publish")
    tracer = Tracer(patch_modules=["botocore"], auto_patch=trace_calls)
    _keep_object_keys_out_of_traces()
    traced = tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)
    measured = metrics.log_metrics(traced, capture_cold_start_metric=True)
    logged = logger.inject_lambda_context(measured, correlation_id_path=correlation_id_path, clear_state=True)

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


def _collect_garbage_from_now_on() -> None:
    if not gc.isenabled():
        # What start-up made stays: no collection needs to look at it again.
        gc.freeze()
        gc.enable()


def _keep_object_keys_out_of_traces() -> None:
    """X-Ray's SDK notes the keys of S3 objects: they hold the names of files, and whose they are."""
    from aws_xray_sdk.ext import boto_utils

    boto_utils.whitelist["services"].pop("s3", None)
