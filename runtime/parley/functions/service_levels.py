"""What the objectives are measured by: was a request served, and how long did it wait for Parley.

`SuccessPercent` is 100 for a request that was served and 0 for one that failed through no fault of its caller.
`Latency` is the time of a served request that was not spent in a language model: from the moment that API Gateway took
the request (cold starts and queues count) to the answer, or to the first piece of an answer that is streamed. The
model's share is `ModelLatency`: it grows with what was asked, and another model is a decision, not an incident's cure.
"""

import time
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from parley.conversation.models import Completion, LanguageModel, Prompt
from parley.functions.telemetry import metrics

SERVER_FAULTS = frozenset(
    {
        "deadline_exceeded",
        "internal",
        "knowledge_unavailable",
        "model_unavailable",
        "session_unavailable",
        "store_unavailable",
    }
)
"""Codes of errors that are no fault of who asked: over HTTP they are answered with 500 and above."""


class ModelTime:
    """Seconds that the request has waited for language models. A process works for one request at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.begin()

    def begin(self) -> None:
        """Another request begins."""
        self.seconds = 0.0
        self.until_first_text: float | None = None
        """What had been spent when the model first said something; None while it has said nothing."""
        self.first_text_at: float | None = None
        """When that had been passed on, in seconds since the epoch."""


model_time = ModelTime()


class Timed:
    """The LanguageModel protocol over another, adding up what it takes."""

    def __init__(self, model: LanguageModel, spent: ModelTime = model_time) -> None:
        self._model = model
        self._spent = spent

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """See LanguageModel."""
        spent, clock = self._spent, self._spent.clock
        resumed = clock()

        def pass_on(text: str) -> None:
            nonlocal resumed
            spent.seconds += clock() - resumed
            if on_text is not None:
                on_text(text)
            if spent.first_text_at is None:
                spent.first_text_at, spent.until_first_text = time.time(), spent.seconds
            resumed = clock()

        try:
            return self._model.generate(
                model_id, prompt, timeout_seconds=timeout_seconds, on_text=pass_on if on_text else None
            )
        finally:
            spent.seconds += clock() - resumed


def served(began: float | None = None) -> None:
    """A request was served, or an answer is being streamed. `began`: see `seconds_since_epoch`."""
    metrics.add_metric(name="SuccessPercent", unit=MetricUnit.Percent, value=100)
    if began is None:
        return
    ended = model_time.first_text_at or time.time()
    model_seconds = model_time.seconds if model_time.until_first_text is None else model_time.until_first_text
    own = max(0.0, ended - began - model_seconds)
    metrics.add_metric(name="Latency", unit=MetricUnit.Milliseconds, value=round(own * 1000))
    if model_seconds:
        metrics.add_metric(name="ModelLatency", unit=MetricUnit.Milliseconds, value=round(model_seconds * 1000))


def failed(error_code: str = "internal") -> None:
    """A request failed. Errors that are their caller's do not count."""
    if error_code not in SERVER_FAULTS:
        return
    metrics.add_metric(name="SuccessPercent", unit=MetricUnit.Percent, value=0)


def seconds_since_epoch(milliseconds: Any) -> float:
    """When API Gateway took the request: from its own milliseconds, or now where an event has none."""
    now = time.time()
    # A moment that is not within the last quarter of an hour is none that a request of API Gateway's can have.
    if isinstance(milliseconds, int) and now - 900 < milliseconds / 1000 <= now:
        return milliseconds / 1000
    return now
