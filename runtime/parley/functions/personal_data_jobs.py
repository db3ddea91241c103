"""Works off the personal data queue: each message asks for an export or the deletion of one user.

A job goes on for as long as its message comes again: each invocation does what it has time for and queues the message
anew. What fails is delivered again after a pause; after many deliveries the job is noted as failed, and its message
lies in the dead-letter queue. From there it can be sent to the queue again, and the job goes on where it was.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import msgspec

from parley.aws import clients
from parley.aws.connection_posts import Connection
from parley.aws.documents_queue import LONGEST_PAUSE_SECONDS, Delivery, DocumentsQueue
from parley.aws.invocations import IndexForgetting
from parley.aws.personal_data_records import Account, DeletionTable, ExportTable
from parley.aws.personal_files import EXPORTS, BucketArchives, Files, Recordings, UserFolders
from parley.aws.personal_items import (
    Connections,
    Conversations,
    Credentials,
    Documents,
    Records,
    Sessions,
    Table,
    UsageCounters,
)
from parley.aws.recordings import RecordingTable
from parley.conversation.turns import new_id
from parley.errors import StoreUnavailable
from parley.functions.answering import conversation_table
from parley.functions.telemetry import correlate, instrument, logger
from parley.privacy.deletion import Deletion
from parley.privacy.export import Export
from parley.settings import Settings


class JobSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    idempotency_table: str
    sessions_table: str
    connections_table: str
    credentials_table: str
    audio_frames_table: str
    knowledge_table: str
    usage_table: str
    documents_bucket: str
    audio_bucket: str
    content_key_arn: str
    retention_days: int
    websocket_callback_url: str
    user_pool_id: str | None = None
    """Without it users have API keys."""
    forgetting_function: str | None = None
    """Takes documents out of the vector indexes; without it there are none."""
    settle_seconds: int
    """After this time nothing can be written any more for what was begun before a deletion was asked for."""
    personal_data_queue_url: str
    dead_letter_queue_url: str
    max_deliveries: int
    """A message that comes for this time is given up."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a message asks for."""

    job: Literal["export", "deletion"]
    subject: str


@cache
def settings() -> JobSettings:
    """This process's settings."""
    return JobSettings.load()


@cache
def queue() -> DocumentsQueue:
    """This process's queue."""
    return DocumentsQueue(clients.sqs(), settings().personal_data_queue_url, settings().dead_letter_queue_url)


class Jobs:
    """Exports and deletions over this deployment's tables and buckets: the one list of all that is a user's."""

    def __init__(self, own: JobSettings) -> None:
        documents, audio = Files(own.documents_bucket, clients.s3()), Files(own.audio_bucket, clients.s3())
        conversations = Conversations(
            _table(own.conversations_table),
            _table(own.idempotency_table),
            lambda: conversation_table(own.conversations_table, own.content_key_arn),
        )
        recordings = Recordings(
            audio,
            RecordingTable(own.conversations_table, clients.dynamodb(), retention_days=own.retention_days, now=_now),
        )
        settle_after = timedelta(seconds=own.settle_seconds)
        sessions = Sessions(
            _table(own.sessions_table),
            _table(own.audio_frames_table),
            audio,
            remembered=_table(own.conversations_table),
            late=settle_after / 2,
            now=_now,
        )
        forgetting = own.forgetting_function
        kept = Documents(
            _table(own.knowledge_table), documents, IndexForgetting(forgetting).forget if forgetting else None
        )
        usage = UsageCounters(_table(own.usage_table))
        self.export = Export(
            records=ExportTable(own.conversations_table, clients.dynamodb()),
            now=_now,
            new_id=lambda: new_id(_now()),
            archives=BucketArchives(own.documents_bucket, clients.s3()),
            holdings=(conversations, recordings, sessions, kept, usage),
        )
        self.deletion = Deletion(
            records=DeletionTable(own.conversations_table, clients.dynamodb()),
            now=_now,
            settle_after=settle_after,
            holdings=(
                Connections(_table(own.connections_table), _connection),
                sessions,
                conversations,
                recordings,
                kept,
                # After all that is found by them.
                Records(_table(own.conversations_table)),
                UserFolders("exports", documents, f"{EXPORTS}/{{owner}}/"),
                usage,
                # Last: until then the user can ask how far it is.
                Credentials(_table(own.credentials_table)),
                *([Account(own.user_pool_id, clients.cognito())] if own.user_pool_id else []),
            ),
        )


@cache
def jobs() -> Jobs:
    """This process's jobs."""
    return Jobs(settings())


def _process(event: Any, context: Any) -> Any:
    deliveries = [Delivery.of(record) for record in event["Records"]]
    unsettled = []
    with queue().holding(deliveries):
        for delivery in deliveries:
            correlate(delivery.correlation_id)
            try:
                _work(delivery, context)
            except StoreUnavailable:
                logger.warning("A store is busy; it is tried again")
                unsettled.append(delivery)
            except Exception:
                logger.exception("A job on personal data failed; it is tried again")
                unsettled.append(delivery)
    queue().delay(unsettled)
    return {"batchItemFailures": [{"itemIdentifier": delivery.id} for delivery in unsettled]}


def _work(delivery: Delivery, context: Any) -> None:
    try:
        order = msgspec.json.decode(delivery.body, type=Order)
    except msgspec.MsgspecError:
        queue().give_up(delivery)
        logger.error("A message went to the dead-letter queue", why="it asks for no job")
        return
    job = jobs().export if order.job == "export" else jobs().deletion
    if delivery.attempt >= settings().max_deliveries:
        job.give_up(order.subject)
        queue().give_up(delivery)
        logger.error("A job on personal data was given up", job=order.job)
        return
    if delivery.attempt == 1 and order.job == "deletion":
        # An operator may have sent it here again from the dead-letter queue.
        jobs().deletion.resume(order.subject)
    wait = job.work(order.subject, lambda: float(context.get_remaining_time_in_millis()) / 1000)
    if wait is not None:
        # Anew, so that waiting uses up no delivery.
        queue().send(delivery.body, after_seconds=min(round(wait + 0.5), LONGEST_PAUSE_SECONDS))
    logger.info("Worked on personal data", job=order.job, done=wait is None)


def _table(name: str) -> Table:
    return Table(name, clients.dynamodb())


def _connection(connection_id: str) -> Connection:
    return Connection(connection_id, clients.connections_api(settings().websocket_callback_url))


def _now() -> datetime:
    return datetime.now(UTC)


handler = instrument(_process)
