"""GET and POST /recordings; GET and DELETE /recordings/{id}."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from parley.aws import clients
from parley.aws.recordings import RecordingBucket, RecordingTable
from parley.conversation.turns import is_id
from parley.errors import ValidationFailed
from parley.functions import admission
from parley.functions.http import HttpApi, Request, page_parameters
from parley.settings import Settings
from parley.speech.recording_formats import MEDIA_TYPES
from parley.speech.recordings import FORM_SECONDS, MAX_RECORDING_BYTES, Form, Recording, Recordings
from parley.speech.transcripts import Transcript

api = HttpApi()

PAGE_LENGTH = 20
LONGEST_PAGE = 100

type Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=1_000,
        description=f"The file's name; it ends in one of {', '.join(f'.{known}' for known in MEDIA_TYPES)}, and the "
        "file is what that says.",
    ),
]
type Size = Annotated[int, msgspec.Meta(description=f"The file's size in bytes, at most {MAX_RECORDING_BYTES:,}.")]
type Language = Annotated[
    str,
    msgspec.Meta(
        description="What is spoken, for example `en-US`. Left out, the language is found; that takes about half a "
        "minute of speech to be sure of."
    ),
]


class RecordingSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    audio_bucket: str
    retention_days: int


class NewRecording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recording that will be uploaded."""

    name: Name
    size: Size
    language: Language | None = None


class FormView(msgspec.Struct, frozen=True, kw_only=True):
    """A form to post the recording with, as multipart/form-data: every field first, then the file as `file`."""

    url: str
    fields: dict[str, str]
    expires_in: int
    """Seconds."""

    @classmethod
    def of(cls, form: Form) -> "FormView":
        """The view of a form."""
        return cls(url=form.url, fields=dict(form.fields), expires_in=FORM_SECONDS)


class RecordingView(msgspec.Struct, frozen=True, kw_only=True):
    """A recording: `pending`, `transcribing`, `ready`, or `failed` for a `reason`. Times are ISO 8601 in UTC.

    `language` is what was said in the request, then what was found. `seconds` is how long the recording lasts, where
    its headers tell.
    """

    recording_id: str
    name: str
    state: str
    reason: str | None
    size: int
    language: str | None
    seconds: float | None
    created_at: str
    updated_at: str


class RecordingCreated(RecordingView, frozen=True, kw_only=True):
    """A new recording, and where its file goes. What is uploaded first is transcribed."""

    upload: FormView


class RecordingDetail(RecordingView, frozen=True, kw_only=True):
    """A recording with its transcript once it is `ready`, and `source_url`, which downloads its file for 15 minutes."""

    transcript: Transcript | None
    source_url: str | None


class RecordingList(msgspec.Struct, frozen=True, kw_only=True):
    """Recordings, the newest first. `cursor` asks for the next page; null: this was the last."""

    recordings: tuple[RecordingView, ...]
    cursor: str | None


@cache
def recordings() -> Recordings:
    """This process's recordings."""
    settings = RecordingSettings.load()
    return Recordings(
        records=RecordingTable(
            settings.conversations_table, clients.dynamodb(), retention_days=settings.retention_days, now=_now
        ),
        files=RecordingBucket(settings.audio_bucket, clients.s3()),
        now=_now,
    )


@api.route(
    "GET",
    "/recordings",
    summary="List your recordings, the newest first",
    response=RecordingList,
    errors=("validation_failed", "store_unavailable"),
    parameters=page_parameters(PAGE_LENGTH, longest=LONGEST_PAGE),
)
def list_recordings(request: Request[None]) -> RecordingList:
    """One page of the caller's recordings."""
    limit = request.query_int("limit", default=PAGE_LENGTH, minimum=1, maximum=LONGEST_PAGE)
    cursor = request.query.get("cursor")
    if cursor is not None and not is_id(cursor):
        raise ValidationFailed("`cursor` is not one that this list gave.")
    page = recordings().page(request.caller.subject, limit=limit, before=cursor)
    return RecordingList(
        recordings=tuple(RecordingView(**_fields(recording)) for recording in page),
        cursor=page[-1].recording_id if len(page) == limit else None,
    )


@api.route(
    "POST",
    "/recordings",
    summary="Ask for a form to upload a recording with; it is then transcribed",
    request=NewRecording,
    response=RecordingCreated,
    status=201,
    errors=("payload_too_large", "quota_exceeded", "store_unavailable"),
)
def add_recording(request: Request[NewRecording]) -> RecordingCreated:
    """The new record."""
    body = request.body
    with admission.document_of(request.caller.subject):
        recording, form = recordings().add(request.caller.subject, body.name, body.size, body.language)
    return RecordingCreated(**_fields(recording), upload=FormView.of(form))


@api.route(
    "GET",
    "/recordings/{id}",
    summary="Read what was said in one of your recordings",
    response=RecordingDetail,
    errors=("not_found", "store_unavailable"),
)
def read_recording(request: Request[None]) -> RecordingDetail:
    """One recording."""
    recording = recordings().get(request.caller.subject, request.path["id"])
    return RecordingDetail(
        **_fields(recording),
        transcript=recordings().transcript(recording),
        source_url=recordings().source_url(recording),
    )


@api.route(
    "DELETE",
    "/recordings/{id}",
    summary="Delete one of your recordings and its transcript",
    status=204,
    errors=("not_found", "store_unavailable"),
)
def delete_recording(request: Request[None]) -> None:
    """Remove everything that belongs to it."""
    recordings().delete(request.caller.subject, request.path["id"])


def _now() -> datetime:
    return datetime.now(UTC)


def _fields(recording: Recording) -> dict[str, Any]:
    return {
        "recording_id": recording.recording_id,
        "name": recording.name,
        "state": recording.state.value,
        "reason": recording.reason,
        "size": recording.size,
        "language": recording.language,
        "seconds": recording.seconds,
        "created_at": recording.created_at,
        "updated_at": recording.updated_at,
    }


handler = api.handler()
