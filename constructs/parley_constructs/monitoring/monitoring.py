"""The construct: a topic that alarms can reach, and what is made over the parts it is told of."""

from aws_cdk import Aws
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from parley_constructs.findings import acknowledge
from parley_constructs.monitoring.alarms import Alarms
from parley_constructs.monitoring.budget import add_budget
from parley_constructs.monitoring.dashboard import add_dashboard
from parley_constructs.monitoring.log_queries import save_log_queries
from parley_constructs.monitoring.props import MonitoringProps


class Monitoring(Construct):
    """A dashboard over everything that is named, and alarms that all go to one encrypted topic.

    Attributes:
        topic: where alarms and budget warnings go; subscribe to it. An alarm's name ends in `-Page` or `-Warning`.
        encryption_key: the topic's key.
        alarms: those that notify, by their names without the environment's; a deployment can watch some of them.
    """

    def __init__(self, scope: Construct, construct_id: str, *, props: MonitoringProps) -> None:
        super().__init__(scope, construct_id)
        self.encryption_key = props.encryption_key or kms.Key(
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
        self.alarms: dict[str, cloudwatch.IAlarm] = {}
        if props.alarms:
            self.alarms = Alarms(self, "Watch", props=props, topic=self.topic).made
        if props.dashboard:
            add_dashboard(self, props, self.alarms)
        if props.log_queries and props.log_groups:
            save_log_queries(self, props.name, props.log_groups)
        if props.monthly_budget_usd is not None:
            self._admit("budgets.amazonaws.com")
            add_budget(self, self.topic, props.monthly_budget_usd, props.budget_tags)

    def _admit(self, service: str) -> None:
        """Let a service of this account publish to the topic, and use the key for it."""
        principal = iam.ServicePrincipal(service)
        # Not the stack's account: the key may be another stack's.
        conditions = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
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
