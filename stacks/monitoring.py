"""Dashboard, alarms, saved log queries and budget over the environment."""

from aws_cdk import App, CfnOutput, Duration
from parley_constructs.monitoring import AlarmThresholds, MonitoredQueue, Monitoring, MonitoringProps

from stacks.assistant import AssistantStack
from stacks.config import Configuration
from stacks.data import DataStack
from stacks.environment_stack import EnvironmentStack
from stacks.knowledge import KnowledgeStack


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
        sizes, storage = configuration.sizes, data.storage
        functions = dict(assistant.functions.made)
        tables = {
            "Conversations": storage.conversations_table,
            "Connections": storage.connections_table,
            "Sessions": storage.sessions_table,
            "Credentials": storage.credentials_table,
        }
        queues = {}
        if configuration.enable_voice:
            tables["AudioFrames"] = storage.audio_frames_table
        if assistant.recordings is not None:
            queues["Recordings"] = MonitoredQueue(
                queue=assistant.recordings.queue, dead_letter_queue=assistant.recordings.dead_letter_queue
            )
        if knowledge is not None:
            knowledge_base = knowledge.knowledge_base
            functions["Retrieval"] = knowledge_base.retrieval_function
            functions["Ingestion"] = knowledge_base.ingestion_function
            if knowledge_base.reembedding_function is not None:
                functions["Reembedding"] = knowledge_base.reembedding_function
            tables["Knowledge"] = storage.knowledge_table
            queues["Ingestion"] = MonitoredQueue(
                queue=knowledge_base.ingestion_queue, dead_letter_queue=knowledge_base.dead_letter_queue
            )
        self.monitoring = Monitoring(
            self,
            "Monitoring",
            props=MonitoringProps(
                name=f"Parley-{configuration.environment}",
                functions=functions,
                tables=tables,
                queues=queues,
                http_api=assistant.api.http_api,
                websocket_api=assistant.api.websocket_api,
                log_groups=[function.log_group for function in functions.values()],
                alarms=configuration.enable_alarms,
                dashboard=configuration.enable_dashboard,
                log_queries=configuration.enable_log_queries,
                alarm_email=configuration.alarm_email,
                monthly_budget_usd=configuration.monthly_budget_usd,
                budget_tags=budget_tags(configuration),
                thresholds=AlarmThresholds(
                    error_percent=sizes.alarm_error_percent,
                    http_latency=Duration.millis(sizes.alarm_latency_ms),
                    queue_age=Duration.seconds(sizes.alarm_queue_age_seconds),
                ),
            ),
        )
        CfnOutput(self, "AlarmTopicArn", value=self.monitoring.topic.topic_arn)


def budget_tags(configuration: Configuration) -> dict[str, str]:
    """The tags of what the budget counts; none for all of the account.

    A budget over a tag that nobody has activated for cost allocation counts nothing and never warns, which is why an
    environment has to ask for it.
    """
    return {"environment": configuration.environment} if configuration.budget_scope == "environment" else {}
