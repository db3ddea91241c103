"""Works off the recordings queue: files that were uploaded, jobs that ended, and jobs to look after.

The service announces the end of a job on a best-effort basis, so whoever starts a job also looks after it: a message
comes back after a pause that grows, for as long as the job runs.
"""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from parley.aws import clients
from parley.aws.documents_queue import Delivery, DocumentsQueue
from parley.aws.recordings import RecordingBucket, RecordingTable
from parley.aws.transcription_jobs import TranscribeJobs
from parley.errors import StoreUnavailable
from parley.functions.telemetry import correlate, instrument, logger
from parley.settings import Settings
from parley.speech.recordings import Place, Transcription, place_of

FIRST_CHECK_SECONDS = 5
LONGEST_CHECK_SECONDS = 900
"""Pauses between looks at a job: twice as long each time, up to the longest that SQS takes."""

MAX_CHECKS = 100
"""After a day a job is given up: the longest recording takes a few hours."""


class JobSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    audio_bucket: str
    retention_days: int
    encryption_key_arn: str
    """Of the key that encrypts the bucket."""
    job_prefix: str
    """With what the names of this environment's jobs begin."""
    recordings_queue_url: str
    dead_letter_queue_url: str
    max_deliveries: int
    """A message that comes for this time is given up."""


class _Task(NamedTuple):
    """What a message asks for: to begin with an uploaded file, or to look at its job.

    `checks` counts the looks that our own messages asked for. Where the service said that a job ended, it is None: one
    look is enough, and the others are on their way.
    """

    place: Place
    begins: bool
    checks: int | None = 0


@cache
def settings() -> JobSettings:
    """This process's settings."""
    return JobSettings.load()


@cache
def queue() -> DocumentsQueue:
    """This process's queue."""
    return DocumentsQueue(clients.sqs(), settings().recordings_queue_url, settings().dead_letter_queue_url)


@cache
def jobs() -> TranscribeJobs:
    """This process's transcription jobs."""
    return TranscribeJobs(
        clients.transcribe(),
        bucket=settings().audio_bucket,
        prefix=settings().job_prefix,
        encryption_key=settings().encryption_key_arn,
    )


@cache
def transcription() -> Transcription:
    """This process's work on recordings."""
    return Transcription(
        records=RecordingTable(
            settings().conversations_table,
            clients.dynamodb(),
            retention_days=settings().retention_days,
            now=lambda: datetime.now(UTC),
        ),
        files=RecordingBucket(settings().audio_bucket, clients.s3()),
        jobs=jobs(),
    )


def _process(event: Any, context: Any) -> Any:
    unsettled = []
    for delivery in map(Delivery.of, event["Records"]):
        correlate(delivery.correlation_id or delivery.id)
        try:
            _work(delivery)
        except StoreUnavailable:
            logger.warning("A store or the transcription service is busy; it is tried again")
            unsettled.append(delivery)
        except Exception:
            logger.exception("A recording's step failed; it is tried again")
            unsettled.append(delivery)
    queue().delay(unsettled)
    return {"batchItemFailures": [{"itemIdentifier": delivery.id} for delivery in unsettled]}


def _work(delivery: Delivery) -> None:
    task = _task(delivery.body)
    if task is None:
        logger.info("Ignored a message that is about no recording")
        return
    if delivery.attempt >= settings().max_deliveries or (task.checks or 0) > MAX_CHECKS:
        transcription().give_up(task.place)
        queue().give_up(delivery)
        logger.warning("A recording was given up", recording_id=task.place.recording_id)
        return
    running = transcription().begin(task.place) if task.begins else transcription().settle(task.place)
    logger.info("Worked off", recording_id=task.place.recording_id, begun=task.begins, running=running)
    if running and task.checks is not None:
        _look_again(task.place, task.checks)


def _look_again(place: Place, checks: int) -> None:
    pause = min(FIRST_CHECK_SECONDS * 2 ** min(checks, 10), LONGEST_CHECK_SECONDS)
    body = {"check": checks + 1, "subject": place.subject, "recording_id": place.recording_id}
    queue().send(json.dumps(body), after_seconds=pause)


def _task(body: str) -> _Task | None:
    """What a message asks for; None for one that is about no recording."""
    try:
        message = json.loads(body)
    except ValueError:
        return None
    match message:
        case {"detail-type": "Object Created", "detail": {"object": {"key": str(key)}}}:
            place = place_of(key)
            return _Task(place, begins=True) if place else None
        case {"detail-type": "Transcribe Job State Change", "detail": {"TranscriptionJobName": str(name)}}:
            file = jobs().file_of(name)
            place = place_of(file) if file else None
            return _Task(place, begins=False, checks=None) if place else None
        case {"check": int(check), "subject": str(subject), "recording_id": str(recording_id)}:
            return _Task(Place(subject, recording_id), begins=False, checks=check)
    return None


handler = instrument(_process)
