"""What a function needs that works off a queue with its own hands on the messages."""

from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs

_RECEIVE = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")
"""What Lambda needs of the role to poll: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


def grant_work(queue: sqs.IQueue, grantee: iam.IGrantable, *, gives_up_to: sqs.IQueue) -> None:
    """Let `grantee` be invoked with the queue's messages, hold them, put them back, and give them up.

    CDK's own `grant_consume_messages` and `grant_send_messages` also admit looking up addresses and, on a queue's key,
    every way to encrypt.
    """
    own = [*_RECEIVE, "sqs:ChangeMessageVisibility", "sqs:SendMessage"]
    iam.Grant.add_to_principal(grantee=grantee, actions=own, resource_arns=[queue.queue_arn])
    iam.Grant.add_to_principal(grantee=grantee, actions=["sqs:SendMessage"], resource_arns=[gives_up_to.queue_arn])
    for each in (queue, gives_up_to):
        if each.encryption_master_key is not None:
            # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
            each.encryption_master_key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")
