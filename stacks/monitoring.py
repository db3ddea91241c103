"""Dashboard, alarms, saved log queries and budget over the environment."""

from aws_cdk import App, CfnOutput, Duration
from parley_constructs.monitoring import (
    AlarmThresholds,
    AssistantMetrics,
    MonitoredQueue,
    Monitoring,
    MonitoringProps,
)

from stacks.assistant import AssistantStack
from stacks.config import Configuration
from stacks.data import DataStack
from stacks.environment_stack import EnvironmentStack
from stacks.knowledge import KnowledgeStack
from stacks.settings import metrics_namespace


class MonitoringStack(EnvironmentStack):
    """Watches the other stacks of the environment, and sends what it sees to one topic."""

    def __init__(
        self,
        app: App,
        *,
        configuration: Configuration,
        data: DataStack,
        assistant: AssistantStack,
        knowledge: KnowledgeStack | None,
    ) -> None:
        """Create the monitoring of what the environment has."""
        super().__init__(app, "Monitoring", configuration=configuration, description="Parley: dashboard and alarms")
        sizes = configuration.sizes
        functions = dict(assistant.functions.made)
        jobs = assistant.personal_data_jobs
        queues = {"PersonalData": MonitoredQueue(queue=jobs.queue, dead_letter_queue=jobs.dead_letter_queue)}
        if assistant.recordings is not None:
            # Its messages are looks at jobs, each of them young: only what was given up tells anything.
            queues["Recordings"] = MonitoredQueue(
                queue=assistant.recordings.queue, dead_letter_queue=assistant.recordings.dead_letter_queue
            )
        if knowledge is not None:
            knowledge_base = knowledge.knowledge_base
            functions["Retrieval"] = knowledge_base.retrieval_function
            functions["Ingestion"] = knowledge_base.ingestion_function
            if knowledge_base.reembedding_function is not None:
                functions["Reembedding"] = knowledge_base.reembedding_function
            queues["Documents"] = MonitoredQueue(
                queue=knowledge_base.ingestion_queue,
                dead_letter_queue=knowledge_base.dead_letter_queue,
                max_age=Duration.seconds(sizes.alarm_queue_age_seconds),
            )
        self.monitoring = Monitoring(
            self,
            "Monitoring",
            props=MonitoringProps(
                name=f"Parley-{configuration.environment}",
                functions=functions,
                # A session worker that does not start is found by its client's pings, and counted.
                background_functions={"Turn": functions["Turn"]},
                queues=queues,
                http_api=assistant.api.http_api,
                websocket_api=assistant.api.websocket_api,
                assistant=AssistantMetrics(
                    namespace=metrics_namespace(configuration),
                    voice=configuration.enable_voice,
                    knowledge=configuration.enable_rag,
                ),
                log_groups=[function.log_group for function in functions.values()],
                alarms=configuration.enable_alarms,
                burn_rate_windows=sizes.alarm_burn_rate_windows,
                dashboard=configuration.enable_dashboard,
                log_queries=configuration.enable_log_queries,
                runbooks=configuration.runbooks,
                alarm_email=configuration.alarm_email,
                monthly_budget_usd=configuration.monthly_budget_usd,
                budget_tags=budget_tags(configuration),
                thresholds=AlarmThresholds(
                    latency=Duration.millis(sizes.alarm_latency_ms),
                    first_audio=Duration.millis(sizes.alarm_first_audio_ms),
                    tokens_per_hour=sizes.alarm_tokens_per_hour,
                ),
                # A key of its own would cost more than all of the alarms.
                encryption_key=data.storage.encryption_key,
            ),
        )
        CfnOutput(self, "AlarmTopicArn", value=self.monitoring.topic.topic_arn)


def budget_tags(configuration: Configuration) -> dict[str, str]:
    """The tags of what the budget counts; none for all of the account.

    A budget over a tag that nobody has activated for cost allocation counts nothing and never warns, which is why an
    environment has to ask for it.
    """
    return {"environment": configuration.environment} if configuration.budget_scope == "environment" else {}
