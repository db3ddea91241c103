"""One dashboard, alarms that reach somebody, saved log queries, and a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cdk_monitoring_constructs as monitoring
from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from parley_constructs.findings import acknowledge


@dataclass(frozen=True)
class MonitoredQueue:
    """A queue and where its messages go when nobody could handle them."""

    queue: sqs.IQueue
    dead_letter_queue: sqs.IQueue


@dataclass(frozen=True)
class AlarmThresholds:
    """When an alarm goes off.

    Attributes:
        error_percent: share of a function's invocations, or of the HTTP API's answers, that failed.
        http_latency: the HTTP API's slowest one percent.
        queue_age: how long a message may wait.
    """

    error_percent: float = 5
    http_latency: Duration = field(default_factory=lambda: Duration.seconds(20))
    queue_age: Duration = field(default_factory=lambda: Duration.minutes(15))


@dataclass(frozen=True)
class MonitoringProps:
    """What `Monitoring` watches; every part may be left out.

    Attributes:
        name: what the dashboard and the alarms are called after; unique in the account and region.
        functions, tables, queues: what to watch, each under the name that people know it by.
        http_api, websocket_api: the APIs to watch.
        log_groups: what the saved queries search.
        log_queries: whether to save queries.
        alarms: whether to make alarms; without them there is still the dashboard, and the topic. A sandbox whose
            CloudWatch knows no metric math cannot take them.
        dashboard: whether to make the dashboard. One with more than 50 metrics costs 3 dollars a month.
        alarm_email: who hears of alarms and of the budget; the address is asked to confirm.
        monthly_budget_usd: spending at which to warn: at 80 % of it, at all of it, and when the forecast passes it.
        budget_tags: count only what carries one of these tags (they must be activated as cost allocation tags); all of
            the account otherwise.
        thresholds: when alarms go off.
        removal_policy: what becomes of the topic's key.
    """

    name: str
    functions: Mapping[str, lambda_.IFunction] = field(default_factory=dict)
    tables: Mapping[str, dynamodb.ITable] = field(default_factory=dict)
    queues: Mapping[str, MonitoredQueue] = field(default_factory=dict)
    http_api: apigatewayv2.IHttpApi | None = None
    websocket_api: apigatewayv2.IWebSocketApi | None = None
    log_groups: Sequence[logs.ILogGroup] = ()
    log_queries: bool = True
    alarms: bool = True
    dashboard: bool = True
    alarm_email: str | None = None
    monthly_budget_usd: float | None = None
    budget_tags: Mapping[str, str] = field(default_factory=dict)
    thresholds: AlarmThresholds = field(default_factory=AlarmThresholds)
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY


class Monitoring(Construct):
    """A dashboard over everything that is named, and alarms that all go to one encrypted topic.

    Attributes:
        topic: where alarms and budget warnings go; subscribe to it.
        encryption_key: the topic's key.
        facade: the cdk-monitoring-constructs facade, to watch more with.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: MonitoringProps) -> None:
        super().__init__(scope, construct_id)
        self._props = props
        self.encryption_key = kms.Key(
            self,
            "TopicKey",
            description="Encrypts alarms on their way",
            enable_key_rotation=True,
            removal_policy=props.removal_policy,
        )
        self.topic = sns.Topic(self, "Alarms", master_key=self.encryption_key, enforce_ssl=True)
        # An alarm to a topic under SNS's own key (alias/aws/sns) never arrives: its policy cannot admit CloudWatch.
        self._admit("cloudwatch.amazonaws.com")
        if props.alarm_email:
            self._subscribe(props.alarm_email)
        self.facade = self._facade()
        self._watch_apis()
        self._watch_functions()
        self._watch_tables()
        self._watch_queues()
        if props.log_queries and props.log_groups:
            self._save_log_queries()
        if props.monthly_budget_usd is not None:
            self._admit("budgets.amazonaws.com")
            self._budget(props.monthly_budget_usd)

    def _admit(self, service: str) -> None:
        """Let a service of this account publish to the topic, and use the key for it."""
        principal = iam.ServicePrincipal(service)
        conditions = {"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
        self.encryption_key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[principal],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                # In the policy of a key, this is the key itself.
                resources=["*"],
                conditions=conditions,
            )
        )
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[principal],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions=conditions,
            )
        )

    def _subscribe(self, email: str) -> None:
        subscription = self.topic.add_subscription(subscriptions.EmailSubscription(email))
        acknowledge(
            subscription,
            {
                "Serverless-SNSRedrivePolicy": (
                    "A person reads these; nothing would read a dead-letter queue of mails, and the alarm's state and "
                    "history stay in CloudWatch."
                )
            },
        )

    def _facade(self) -> monitoring.MonitoringFacade:
        return monitoring.MonitoringFacade(
            self,
            "Facade",
            alarm_factory_defaults=monitoring.AlarmFactoryDefaults(
                alarm_name_prefix=self._props.name,
                actions_enabled=True,
                action=monitoring.SnsAlarmActionStrategy(on_alarm_topic=self.topic, on_ok_topic=self.topic),
            ),
            dashboard_factory=monitoring.DefaultDashboardFactory(
                self,
                "Dashboards",
                dashboard_name_prefix=self._props.name,
                create_dashboard=self._props.dashboard,
                create_summary_dashboard=False,
                create_alarm_dashboard=False,
            ),
        )

    def _watch_apis(self) -> None:
        props, thresholds = self._props, self._props.thresholds
        if props.http_api or props.websocket_api:
            self.facade.add_large_header("APIs")
        if props.http_api:
            self.facade.monitor_api_gateway_v2_http_api(
                api=props.http_api,
                human_readable_name="HTTP API",
                alarm_friendly_name="HttpApi",
                add5xx_rate_alarm=self._alarm(_error_rate(thresholds)),
                add_latency_p99_alarm=self._alarm(
                    monitoring.LatencyThreshold(
                        max_latency=thresholds.http_latency, datapoints_to_alarm=3, evaluation_periods=5
                    )
                ),
            )
        if props.websocket_api:
            self._watch_websocket_api(props.websocket_api)

    def _watch_websocket_api(self, api: apigatewayv2.IWebSocketApi) -> None:
        integration_errors: cloudwatch.Metric | monitoring.CustomMetricWithAlarm
        integration_errors = _websocket_metric(api, "IntegrationError")
        if self._props.alarms:
            integration_errors = monitoring.CustomMetricWithAlarm(
                metric=integration_errors,
                alarm_friendly_name="IntegrationErrors",
                add_alarm={
                    "Warning": monitoring.CustomThreshold(
                        threshold=10,
                        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                        datapoints_to_alarm=2,
                        evaluation_periods=3,
                    )
                },
            )
        self.facade.monitor_custom(
            human_readable_name="WebSocket API",
            alarm_friendly_name="WebSocketApi",
            metric_groups=[
                monitoring.CustomMetricGroup(
                    title="Connections and messages",
                    metrics=[_websocket_metric(api, "ConnectCount"), _websocket_metric(api, "MessageCount")],
                ),
                monitoring.CustomMetricGroup(
                    title="Errors",
                    metrics=[
                        _websocket_metric(api, "ClientError"),
                        _websocket_metric(api, "ExecutionError"),
                        integration_errors,
                    ],
                ),
            ],
        )

    def _watch_functions(self) -> None:
        if self._props.functions:
            self.facade.add_large_header("Functions")
        for name, function in self._props.functions.items():
            self.facade.monitor_lambda_function(
                lambda_function=function,
                human_readable_name=name,
                alarm_friendly_name=name,
                add_fault_rate_alarm=self._alarm(_error_rate(self._props.thresholds)),
                add_throttles_count_alarm=self._alarm(monitoring.ErrorCountThreshold(max_error_count=0)),
            )

    def _watch_tables(self) -> None:
        throttled = self._alarm(monitoring.ThrottledEventsThreshold(max_throttled_events_threshold=0))
        if self._props.tables:
            self.facade.add_large_header("Tables")
        for name, table in self._props.tables.items():
            self.facade.monitor_dynamo_table(
                table=table,
                human_readable_name=name,
                alarm_friendly_name=name,
                add_read_throttled_events_count_alarm=throttled,
                add_write_throttled_events_count_alarm=throttled,
            )

    def _watch_queues(self) -> None:
        age = self._props.thresholds.queue_age.to_seconds()
        if self._props.queues:
            self.facade.add_large_header("Queues")
        for name, monitored in self._props.queues.items():
            self.facade.monitor_sqs_queue_with_dlq(
                queue=monitored.queue,
                dead_letter_queue=monitored.dead_letter_queue,
                human_readable_name=name,
                alarm_friendly_name=name,
                add_queue_max_message_age_alarm=self._alarm(monitoring.MaxMessageAgeThreshold(max_age_in_seconds=age)),
                add_dead_letter_queue_max_size_alarm=self._alarm(
                    monitoring.MaxMessageCountThreshold(max_message_count=0)
                ),
            )

    def _alarm[Threshold](self, threshold: Threshold) -> dict[str, Threshold] | None:
        return {"Warning": threshold} if self._props.alarms else None

    def _save_log_queries(self) -> None:
        queries = {
            "Errors": logs.QueryString(
                fields=["@timestamp", "service", "message", "exception_name", "function_request_id"],
                filter_statements=['level in ["ERROR", "CRITICAL"]'],
                sort="@timestamp desc",
                limit=100,
            ),
            "SlowestInvocations": logs.QueryString(
                fields=["@timestamp", "@duration", "@maxMemoryUsed", "@requestId", "@log"],
                filter_statements=['@type = "REPORT"'],
                sort="@duration desc",
                limit=50,
            ),
            "ColdStarts": logs.QueryString(
                filter_statements=["ispresent(@initDuration)"],
                stats_statements=[
                    "count(*) as starts, avg(@initDuration) as average_ms, max(@initDuration) as slowest_ms by @log"
                ],
            ),
        }
        for name, query in queries.items():
            logs.QueryDefinition(
                self,
                f"{name}Query",
                query_definition_name=f"{self._props.name}/{name}",
                query_string=query,
                log_groups=list(self._props.log_groups),
            )

    def _budget(self, limit: float) -> None:
        subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=self.topic.topic_arn)
        warnings = [("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
        tags = [f"user:{key}${value}" for key, value in self._props.budget_tags.items()]
        budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=limit, unit="USD"),
                cost_filters={"TagKeyValue": tags} if tags else None,
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[subscriber],
                )
                for kind, percent in warnings
            ],
        )
        # Budgets checks that it may publish when it is made.
        budget.node.add_dependency(self.topic)


def _error_rate(thresholds: AlarmThresholds) -> monitoring.ErrorRateThreshold:
    # The rate is the average of a metric that is 1 for a failure and 0 otherwise: a fraction.
    return monitoring.ErrorRateThreshold(
        max_error_rate=thresholds.error_percent / 100, datapoints_to_alarm=2, evaluation_periods=3
    )


def _websocket_metric(api: apigatewayv2.IWebSocketApi, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ApiGateway",
        metric_name=name,
        dimensions_map={"ApiId": api.api_id},
        statistic="Sum",
        period=Duration.minutes(5),
        label=name,
    )
