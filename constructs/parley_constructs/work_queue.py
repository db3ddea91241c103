"""A queue that one function works off with its own hands on the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from parley_constructs.findings import acknowledge

if TYPE_CHECKING:
    from aws_cdk import aws_kms as kms
    from constructs import Construct

_OWN_MESSAGES = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
)
"""What Lambda needs of the role to poll (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html), and
the function itself to hold messages and to put them back."""


class WorkQueue:
    """A queue for work that may fail: `queue`, and `dead_letter_queue` for what was given up.

    Both are made in `scope`, the first under `queue_id` and the other as `DeadLetterQueue`. A message comes again
    `max_receive_count` times at most. Without an `encryption_key` SQS encrypts with its own, which suits messages that
    name things and say nothing.
    """

    def __init__(
        self,
        scope: Construct,
        queue_id: str,
        *,
        function_timeout: Duration,
        max_receive_count: int,
        removal_policy: RemovalPolicy,
        encryption_key: kms.IKey | None = None,
    ) -> None:
        self._scope = scope
        self._removal_policy = removal_policy
        self._encryption_key = encryption_key
        self.dead_letter_queue = self._make("DeadLetterQueue")
        acknowledge(
            self.dead_letter_queue, {"Serverless-SQSRedrivePolicy": "It is where messages end; nothing reads from it."}
        )
        self.queue = self._make(
            queue_id,
            # Six times the function's timeout: Lambda's advice for queues with batches, and it refuses less than once.
            # A function that has taken its messages can say sooner when they come again.
            visibility_timeout=Duration.seconds(6 * int(function_timeout.to_seconds())),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letter_queue, max_receive_count=max_receive_count),
        )

    def _make(
        self,
        queue_id: str,
        *,
        visibility_timeout: Duration | None = None,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        key = self._encryption_key
        return sqs.Queue(
            self._scope,
            queue_id,
            encryption=sqs.QueueEncryption.KMS if key else sqs.QueueEncryption.SQS_MANAGED,
            encryption_master_key=key,
            data_key_reuse=Duration.hours(1) if key else None,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            removal_policy=self._removal_policy,
            visibility_timeout=visibility_timeout,
            dead_letter_queue=dead_letter_queue,
        )

    def invoke(
        self, function: lambda_.Function, mapping_id: str, *, batch_size: int, max_concurrency: int | None
    ) -> None:
        """Have `function` invoked with the messages, some of which it may report as failed; it gets all it needs."""
        self._grant_work(function)
        mapping = lambda_.EventSourceMapping(
            self._scope,
            mapping_id,
            target=function,
            event_source_arn=self.queue.queue_arn,
            batch_size=batch_size,
            report_batch_item_failures=True,
            max_concurrency=max_concurrency,
        )
        acknowledge(
            mapping,
            {
                "Serverless-LambdaEventSourceMappingDestination": "Queues take no failure destination: messages that "
                "fail move to the queue's own dead-letter queue."
            },
        )

    def _grant_work(self, grantee: iam.IGrantable) -> None:
        # CDK's own `grant_consume_messages` and `grant_send_messages` also admit looking up addresses and, on a queue's
        # key, every way to encrypt.
        given_up_to = self.dead_letter_queue.queue_arn
        iam.Grant.add_to_principal(grantee=grantee, actions=list(_OWN_MESSAGES), resource_arns=[self.queue.queue_arn])
        iam.Grant.add_to_principal(grantee=grantee, actions=["sqs:SendMessage"], resource_arns=[given_up_to])
        if self._encryption_key is not None:
            # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
            self._encryption_key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")
