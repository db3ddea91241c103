"""POST and GET /me/export; DELETE /me and GET /me/deletion: all that is the caller's, to have and to be rid of."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Literal

import msgspec

from parley.aws import clients
from parley.aws.documents_queue import DocumentsQueue
from parley.aws.personal_data_records import DeletionTable, ExportTable
from parley.aws.personal_files import LINK_SECONDS, BucketArchives
from parley.conversation.turns import new_id, timestamp
from parley.errors import Conflict, NotFound
from parley.functions.http import HttpApi, Request
from parley.privacy.deletion import Deletion, DeletionRecord
from parley.privacy.export import KEPT, Export, ExportRecord, ExportState
from parley.settings import Settings

api = HttpApi()


class PersonalDataSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    documents_bucket: str
    personal_data_queue_url: str


class ArchiveView(msgspec.Struct, frozen=True, kw_only=True):
    """A ZIP archive of an export: `size` in bytes, and a link that downloads it for 15 minutes."""

    name: str
    size: int
    url: str
    expires_in: int
    """Seconds."""


class ExportView(msgspec.Struct, frozen=True, kw_only=True):
    """An export: `running`, `ready`, or `failed`. Its archives are kept until `kept_until`. Times: ISO 8601 in UTC."""

    export_id: str
    state: Literal["running", "ready", "failed"]
    requested_at: str
    finished_at: str | None
    kept_until: str
    archives: tuple[ArchiveView, ...]


class DeletionView(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion. Times are ISO 8601 in UTC.

    `deleting`: it is being worked on. `settling`: everything is deleted, and at `look_again_at` it is looked for what
    may have been written since by what was under way. `done`: nothing is left. `failed`: an operator has been told.
    """

    state: Literal["deleting", "settling", "done", "failed"]
    requested_at: str
    look_again_at: str | None
    finished_at: str | None
    deleted: dict[str, int]
    """How many things of each kind."""


class Parts(msgspec.Struct, frozen=True):
    """What the routes are made of."""

    deletion: Deletion
    export: Export
    archives: BucketArchives
    queue: DocumentsQueue


@cache
def parts() -> Parts:
    """This process's."""
    settings = PersonalDataSettings.load()
    table, archives = settings.conversations_table, BucketArchives(settings.documents_bucket, clients.s3())
    return Parts(
        deletion=Deletion(records=DeletionTable(table, clients.dynamodb()), now=_now),
        export=Export(
            records=ExportTable(table, clients.dynamodb()),
            now=_now,
            new_id=lambda: new_id(_now()),
            archives=archives,
        ),
        archives=archives,
        # It gives nothing up.
        queue=DocumentsQueue(clients.sqs(), settings.personal_data_queue_url, ""),
    )


@api.route(
    "POST",
    "/me/export",
    summary="Ask for a copy of all that is yours",
    response=ExportView,
    status=202,
    errors=("conflict", "store_unavailable"),
)
def request_export(request: Request[None]) -> ExportView:
    """Begin, or say that it is under way."""
    subject = request.caller.subject
    deletion = parts().deletion.find(subject)
    if deletion is not None and deletion.runs:
        raise Conflict("Your data is being deleted.")
    record = parts().export.request(subject)
    # Also when it runs already: a message too many does no harm, and one that was lost is made good.
    _enqueue("export", subject)
    return _export(record)


@api.route(
    "GET",
    "/me/export",
    summary="See how far your export is, and download it",
    response=ExportView,
    errors=("not_found", "store_unavailable"),
)
def read_export(request: Request[None]) -> ExportView:
    """The latest export."""
    record = parts().export.find(request.caller.subject)
    if record is None:
        raise NotFound("You have no export; ask for one first.")
    return _export(record)


@api.route(
    "DELETE",
    "/me",
    summary="Delete all that is yours: conversations, recordings, calls, documents, keys and the account itself",
    response=DeletionView,
    status=202,
    errors=("store_unavailable",),
)
def delete_me(request: Request[None]) -> DeletionView:
    """Begin, or say that it is under way."""
    subject = request.caller.subject
    record = parts().deletion.request(subject)
    _enqueue("deletion", subject)
    return _deletion(record)


@api.route(
    "GET",
    "/me/deletion",
    summary="See how far the deletion of your data is",
    response=DeletionView,
    errors=("not_found", "store_unavailable"),
)
def read_deletion(request: Request[None]) -> DeletionView:
    """The latest deletion."""
    record = parts().deletion.find(request.caller.subject)
    if record is None:
        raise NotFound("Nobody has asked to delete your data.")
    return _deletion(record)


def _enqueue(job: str, subject: str) -> None:
    parts().queue.send(json.dumps({"job": job, "subject": subject}))


def _export(record: ExportRecord) -> ExportView:
    archives = record.archives if record.state is ExportState.READY else ()
    day = record.requested_at.astimezone(UTC).strftime("%Y-%m-%d")
    names = [f"parley-{day}-{number}.zip" for number in range(1, len(archives) + 1)]
    return ExportView(
        export_id=record.export_id,
        state=record.state.value,
        requested_at=timestamp(record.requested_at),
        finished_at=_time(record.finished_at),
        kept_until=timestamp(record.requested_at + KEPT),
        archives=tuple(
            ArchiveView(
                name=name,
                size=archive.size,
                url=parts().archives.link(archive.key, filename=name),
                expires_in=LINK_SECONDS,
            )
            for name, archive in zip(names, archives, strict=True)
        ),
    )


def _deletion(record: DeletionRecord) -> DeletionView:
    return DeletionView(
        state=record.state.value,
        requested_at=timestamp(record.requested_at),
        look_again_at=_time(record.look_again_at),
        finished_at=_time(record.finished_at),
        deleted=dict(record.deleted),
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _now() -> datetime:
    return datetime.now(UTC)


handler = api.handler()
