"""A function that follows what changes in the chunks of a knowledge table."""

import jsii
from aws_cdk import Duration
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from parley_constructs.table_access import grant_items
from parley_constructs.wildcards import acknowledge_wildcard

RETRY_ATTEMPTS = 5
"""Deliveries after the first one before a change goes to the dead-letter queue."""

BATCH_SIZE = 100

_CHUNK = {"Keys": {"sk": {"S": [{"prefix": "chunk#"}]}}}
_FILTERS = (
    # Ingestion adds chunks, with the digest of what it has embedded, and deletes them; it never changes one.
    {"eventName": ["MODIFY"], "dynamodb": _CHUNK},
    {"eventName": ["INSERT"], "dynamodb": {**_CHUNK, "NewImage": {"embedded": {"S": [{"exists": False}]}}}},
)


def follow_changes(
    scope: Construct,
    construct_id: str,
    *,
    table: dynamodb.ITable,
    function: lambda_.Function,
    dead_letter_queue: sqs.IQueue,
    queue_key: kms.IKey,
) -> lambda_.EventSourceMapping:
    """Invoke `function` with the chunks of `table` that something other than ingestion wrote, and let it mend them.

    A batch that fails is halved, a reported record is delivered again, and what failed `RETRY_ATTEMPTS` more times
    is named in `dead_letter_queue` (encrypted with `queue_key`): its place in the stream, not its content.

    Raises:
        ValueError: the table has no stream.
    """
    stream_arn = table.table_stream_arn
    if stream_arn is None:
        raise ValueError(
            "The knowledge table has no stream; give it `stream=StreamViewType.NEW_AND_OLD_IMAGES`, or leave "
            "`reembedding_handler` out."
        )
    _grant(function, ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"], stream_arn)
    # Lambda asks for this when the mapping is made, before it knows which of the table's streams there are.
    streams = f"{table.table_arn}/stream/*"
    _grant(function, ["dynamodb:ListStreams"], streams)
    acknowledge_wildcard(
        function, streams, "The streams of one table: listing them is how Lambda finds the current one."
    )
    grant_items(table, function, "BatchGetItem", "GetItem", "UpdateItem")
    _grant(function, ["sqs:SendMessage"], dead_letter_queue.queue_arn)
    queue_key.grant(function, "kms:Decrypt", "kms:GenerateDataKey")
    return lambda_.EventSourceMapping(
        scope,
        construct_id,
        target=function,
        event_source_arn=stream_arn,
        # A change made while this is deployed is not missed; what needs nothing costs next to nothing.
        starting_position=lambda_.StartingPosition.TRIM_HORIZON,
        batch_size=BATCH_SIZE,
        max_batching_window=Duration.seconds(1),
        filters=[lambda_.FilterCriteria.filter(dict(each)) for each in _FILTERS],
        report_batch_item_failures=True,
        bisect_batch_on_error=True,
        retry_attempts=RETRY_ATTEMPTS,
        on_failure=_FailuresTo(dead_letter_queue),
    )


def _grant(function: lambda_.Function, actions: list[str], resource_arn: str) -> None:
    iam.Grant.add_to_principal(grantee=function, actions=actions, resource_arns=[resource_arn])


@jsii.implements(lambda_.IEventSourceDlq)
class _FailuresTo:
    """Not CDK's SqsDlq: its grant on the queue's key has wildcards."""

    def __init__(self, queue: sqs.IQueue) -> None:
        self._queue = queue

    def bind(self, target: lambda_.IEventSourceMapping, handler: lambda_.IFunction) -> lambda_.DlqDestinationConfig:
        """Where failures go; the grants are made elsewhere."""
        return lambda_.DlqDestinationConfig(destination=self._queue.queue_arn)
