"""The alarms: each is there because somebody must do something, and its runbook says what.

Alarms are paid for by the metric, so that one watches a whole assistant, not each of its functions. A `Page` gets
somebody up; a `Warning` can wait for the morning. The name says which, and so does the subject of the mail.
"""

import re
from collections.abc import Sequence
from typing import Literal

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.monitoring import metrics
from parley_constructs.monitoring.props import AssistantMetrics, MonitoringProps

type Severity = Literal["Page", "Warning"]

_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD

BURN_RATES: Sequence[tuple[float, Duration, Duration]] = (
    (14.4, Duration.hours(1), Duration.minutes(5)),
    (6, Duration.hours(6), Duration.minutes(30)),
)
"""How many times too fast the error budget burns, over a long and a short window: at the first rate 2 % of a month's
budget is gone in the hour, at the second 5 % in six. https://sre.google/workbook/alerting-on-slos/"""

_WHY_SILENT = (
    "One window of an objective: the composite alarm over all of them notifies, so that nobody is told of a burst that "
    "is over."
)


class Alarms(Construct):
    """Makes the alarms of what there is to watch, and sends them to one topic."""

    def __init__(self, scope: Construct, construct_id: str, *, props: MonitoringProps, topic: sns.ITopic) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self._action = actions.SnsAction(topic)
        self.made: dict[str, cloudwatch.IAlarm] = {}
        """By their names, without what all have in front."""
        self._watch_apis()
        self._watch_services()
        if props.assistant is not None:
            self._watch_requests(props.assistant)
            self._watch_models(props.assistant)
            if props.assistant.voice:
                self._watch_voice(props.assistant)

    def _watch_apis(self) -> None:
        props, thresholds = self._props, self._props.thresholds
        if props.http_api is not None:
            rates: tuple[tuple[Severity, float], ...] = (
                ("Warning", thresholds.warning_error_percent),
                ("Page", thresholds.page_error_percent),
            )
            for severity, percent in rates:
                self._add(
                    "ApiErrorRate",
                    severity,
                    f"More than {percent:g} % of the HTTP API's answers are errors of ours (500 and above).",
                    metrics.http_error_percent(props.http_api),
                    percent,
                    of=(2, 3),
                )
        if props.websocket_api is not None:
            self._add(
                "ConnectionErrors",
                "Warning",
                "WebSocket routes fail behind API Gateway: a function, or the table that takes audio frames.",
                metrics.websocket(props.websocket_api, "IntegrationError"),
                10,
                of=(2, 3),
            )

    def _watch_services(self) -> None:
        props = self._props
        if props.background_functions:
            self._add(
                "BackgroundErrors",
                "Page",
                f"{' or '.join(props.background_functions)} fails, and nobody waits for its result who would see it.",
                metrics.sum_of(
                    "errors",
                    [
                        function.metric_errors(statistic="Sum", period=Duration.minutes(5))
                        for function in props.background_functions.values()
                    ],
                ),
                0,
                of=(2, 3),
            )
        if props.functions:
            percent = props.thresholds.concurrency_percent
            self._add(
                "Concurrency",
                "Page",
                f"More than {percent:g} % of the functions that the account may run at once are running.",
                metrics.concurrency_percent(),
                percent,
            )
        if props.queues:
            self._add(
                "DeadLetters",
                "Warning",
                "A message was given up: nobody could work it off, however often it was tried.",
                metrics.sum_of(
                    "letters",
                    [
                        monitored.dead_letter_queue.metric_approximate_number_of_messages_visible(
                            statistic="Maximum", period=Duration.minutes(5)
                        )
                        for monitored in props.queues.values()
                    ],
                ),
                0,
            )
        for name, monitored in props.queues.items():
            if monitored.max_age is not None:
                self._add(
                    "QueueAge",
                    "Warning",
                    f"A message has waited in the queue {name} for more than {monitored.max_age.to_minutes()} minutes.",
                    monitored.queue.metric_approximate_age_of_oldest_message(
                        statistic="Maximum", period=Duration.minutes(5)
                    ),
                    monitored.max_age.to_seconds(),
                    called=f"{name}QueueAge",
                )

    def _watch_requests(self, assistant: AssistantMetrics) -> None:
        thresholds = self._props.thresholds
        milliseconds = thresholds.latency.to_milliseconds()
        self._add(
            "ApiLatency",
            "Warning",
            f"The slowest 5 % of requests wait more than {milliseconds:g} ms for Parley, the language model's own time "
            "left out.",
            assistant.metric("Latency", "p95"),
            milliseconds,
            of=(3, 5),
        )
        self._watch_objective(
            "AvailabilityObjective",
            f"{thresholds.availability_objective:g} % of requests are to be served in 30 days",
            assistant,
            ("SuccessPercent", "Average"),
            thresholds.availability_objective,
        )
        self._watch_objective(
            "LatencyObjective",
            f"{thresholds.latency_objective:g} % of requests are to be served within {milliseconds:g} ms in 30 days, "
            "the language model's own time left out",
            assistant,
            # The share of the values that are at most that.
            ("Latency", cloudwatch.Stats.percentile_rank(milliseconds)),
            thresholds.latency_objective,
        )
        self._add(
            "StoreThrottles",
            "Warning",
            "DynamoDB refuses requests for want of capacity.",
            assistant.metric("StoreThrottles", "Sum"),
            10,
            of=(2, 3),
        )
        if assistant.knowledge:
            self._add(
                "KnowledgeUnavailable",
                "Warning",
                "Questions are answered without the documents, because retrieval does not answer.",
                assistant.metric("KnowledgeUnavailable", "Sum"),
                2,
                of=(2, 3),
            )

    def _watch_models(self, assistant: AssistantMetrics) -> None:
        thresholds, budget = self._props.thresholds, self._props.monthly_budget_usd
        self._add(
            "ModelFallbacks",
            "Warning",
            "Language models fail or are throttled, and others answer in their place.",
            assistant.metric("ModelFallbacks", "Sum"),
            5,
            of=(2, 3),
        )
        self._add(
            "TokensPerHour",
            "Warning",
            f"Language models have read and written more than {thresholds.tokens_per_hour:,} tokens within an hour.",
            assistant.metric("Tokens", "Sum", Duration.hours(1)),
            thresholds.tokens_per_hour,
        )
        limit = thresholds.cost_per_hour_usd or (None if budget is None else budget / 72)
        if limit is not None:
            self._add(
                "CostPerHour",
                "Warning",
                f"Language models have cost more than {limit:.2f} dollars within an hour.",
                assistant.metric("CostUsd", "Sum", Duration.hours(1)),
                round(limit, 2),
            )

    def _watch_voice(self, assistant: AssistantMetrics) -> None:
        self._add(
            "WorkerCrashes",
            "Page",
            "Workers of voice sessions die while somebody speaks with them.",
            assistant.metric("WorkerCrashes", "Sum"),
            0,
            of=(2, 3),
        )
        self._add(
            "HandoffFailures",
            "Warning",
            "Voice sessions could not be handed to the next worker: their clients wait until a ping finds out.",
            assistant.metric("HandoffFailures", "Sum"),
            0,
        )
        milliseconds = self._props.thresholds.first_audio.to_milliseconds()
        self._add(
            "FirstAudioLatency",
            "Warning",
            f"The slowest 5 % of spoken answers begin more than {milliseconds:g} ms after the user has spoken.",
            assistant.metric("FirstAudioLatency", "p95"),
            milliseconds,
            of=(3, 5),
        )

    def _watch_objective(
        self, name: str, promise: str, assistant: AssistantMetrics, metric: tuple[str, str], percent: float
    ) -> None:
        """One alarm for an objective: `metric` says which percentage was kept."""
        budget = 100 - percent
        if not self._props.burn_rate_windows:
            factor, long, _ = BURN_RATES[0]
            what = f"{promise}; the last hour failed {factor:g} times as many as that leaves room for."
            self._add(name, "Page", what, assistant.metric(*metric, long), 100 - factor * budget, comparison=_BELOW)
            return
        pairs = []
        for factor, long, short in BURN_RATES:
            windows = [
                self._silent(
                    name,
                    f"{promise}; over {window.to_minutes():g} minutes {factor:g} times as many fail.",
                    assistant.metric(*metric, window),
                    100 - factor * budget,
                    f"{window.to_minutes():g}m",
                )
                for window in (long, short)
            ]
            pairs.append(
                cloudwatch.AlarmRule.all_of(
                    *(cloudwatch.AlarmRule.from_alarm(window, cloudwatch.AlarmState.ALARM) for window in windows)
                )
            )
        alarm = cloudwatch.CompositeAlarm(
            self,
            f"{name}Page",
            composite_alarm_name=f"{self._props.name}-{name}-Page",
            alarm_description=self._description(name, f"{promise}; that budget burns too fast."),
            alarm_rule=cloudwatch.AlarmRule.any_of(*pairs),
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)
        self.made[f"{name}-Page"] = alarm

    def _add(
        self,
        name: str,
        severity: Severity,
        what: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        of: tuple[int, int] = (1, 1),
        comparison: cloudwatch.ComparisonOperator = _ABOVE,
        called: str | None = None,
    ) -> None:
        """An alarm that goes off when `of[0]` of the last `of[1]` values are beyond the threshold."""
        alarm = cloudwatch.Alarm(
            self,
            f"{called or name}{severity}",
            alarm_name=f"{self._props.name}-{called or name}-{severity}",
            alarm_description=self._description(name, what),
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            datapoints_to_alarm=of[0],
            evaluation_periods=of[1],
            # Nothing happens at night, and that is no failure.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)
        self.made[f"{called or name}-{severity}"] = alarm

    def _silent(
        self, name: str, what: str, metric: cloudwatch.IMetric, threshold: float, window: str
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            f"{name}{window}",
            alarm_name=f"{self._props.name}-{name}-{window}",
            alarm_description=self._description(name, what),
            metric=metric,
            threshold=threshold,
            comparison_operator=_BELOW,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        packs = ("HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321")
        acknowledge(alarm, {f"{pack}-CloudWatchAlarmAction": _WHY_SILENT for pack in packs})
        return alarm

    def _description(self, name: str, what: str) -> str:
        page = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        return f"{what} Runbook: {self._props.runbooks.rstrip('/')}/{page}.md"
