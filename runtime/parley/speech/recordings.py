"""Uploaded recordings and what becomes of them: a file is uploaded, a job transcribes it, its owner reads it.

Events only say where to look: each step compares the record, the file and the job as they stand now, so a repeated,
late or reordered event does no harm.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote, unquote

from parley.conversation.turns import is_id, new_id, timestamp
from parley.errors import NotFound, PayloadTooLarge, ValidationFailed
from parley.knowledge.documents import clean_name, extension
from parley.speech.recording_formats import MEDIA_TYPES, Format, UnreadableRecording, inspect
from parley.speech.transcripts import MalformedResult, Transcript, transcript_of

MAX_RECORDING_BYTES = 500_000_000
"""The largest file: four hours of 16-bit WAV at 16 kHz are 461 MB."""

FORM_SECONDS = 15 * 60
"""How long the form to upload a file with is valid."""

LINK_SECONDS = 15 * 60
"""How long a link to a file opens it."""

SOURCES = "recordings"
"""The folder of the uploaded files in the audio bucket."""

TRANSCRIPTS = "transcripts"
"""The folder of their transcripts."""

# Batch transcription: docs.aws.amazon.com/transcribe/latest/dg/supported-languages.html, read in November 2026.
_LANGUAGES = (
    "ab-GE af-ZA am-ET ar-AE ar-SA ast-ES az-AZ ba-RU be-BY bg-BG bn-IN bs-BA ca-ES ckb-IQ ckb-IR cs-CZ cy-GB cy-WL "
    "da-DK de-CH de-DE el-GR en-AB en-AU en-GB en-IE en-IN en-NZ en-US en-WL en-ZA es-ES es-MX es-US et-EE et-ET "
    "eu-ES fa-AF fa-IR fi-FI fr-CA fr-FR ga-IE gd-GB gl-ES gu-IN ha-NG he-IL hi-IN hr-HR ht-HT hu-HU hy-AM id-ID "
    "is-IS it-IT ja-JP jv-ID ka-GE kab-DZ kk-KZ km-KH kn-IN ko-KR ky-KG lg-IN lt-LT lv-LV mhr-RU mi-NZ mk-MK ml-IN "
    "mn-MN mr-IN ms-MY mt-MT my-MM ne-NP nl-NL no-NO or-IN pa-IN pl-PL ps-AF pt-BR pt-PT ro-RO ru-RU rw-RW si-LK "
    "sk-SK sl-SI so-SO sq-AL sr-RS su-ID sv-SE sw-BI sw-KE sw-RW sw-TZ sw-UG ta-IN te-IN th-TH tl-PH tr-TR tt-RU "
    "ug-CN uk-UA uz-UZ vi-VN wo-SN zh-CN zh-HK zh-TW zu-ZA"
)
LANGUAGES = frozenset(_LANGUAGES.split())
"""Languages that a recording can be said to be in."""

_NO_SUCH_RECORDING = "There is no such recording."
_LANGUAGE = re.compile(r"[a-z]{2,3}-[A-Z]{2}")
_NOT_TRANSCRIBED = "The recording could not be transcribed: it may be damaged. Save it anew and upload it again."
_LOST = "The transcription was lost. Upload the recording again."
GIVEN_UP = "The recording could not be transcribed, though it was tried again and again. Upload it again later."

# By a part of what the service says: the API reference of TranscriptionJob lists its failures.
_FAILURES = {
    "does not match the detected media format": "The file is not what its name says, or it is damaged.",
    "Unsupported media format": "The file's sound is in a format that cannot be transcribed: save it as MP3 or WAV.",
    "sample rate": "The sample rate must be from 8,000 to 48,000 Hz: save the recording with another one.",
    "file size": "The recording is too large or too long: upload it in shorter parts of at most 4 hours.",
    "number of channels": "The recording has more than two channels: save it with one or two.",
    "automatic language identification": "The recording holds too little speech to tell its language: upload it again "
    "with its `language`.",
    "empty": "The file is empty.",
}


class RecordingState(StrEnum):
    """`pending` (its file is still to come) -> `transcribing` -> `ready`, or `failed` with a reason."""

    PENDING = "pending"
    TRANSCRIBING = "transcribing"
    READY = "ready"
    FAILED = "failed"


UNSETTLED = (RecordingState.PENDING, RecordingState.TRANSCRIBING)
"""States that can still change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording's record. Times are ISO 8601 in UTC."""

    subject: str
    recording_id: str
    name: str
    """The file's name as its owner gave it. Untrusted text."""
    state: RecordingState = RecordingState.PENDING
    reason: str | None = None
    """Why it failed, in a sentence for its owner."""
    size: int = 0
    """Bytes of its file."""
    language: str | None = None
    """What its owner said, later what was found; None while nobody knows."""
    seconds: float | None = None
    """How long it lasts, where the file's headers tell."""
    created_at: str
    updated_at: str

    @property
    def format(self) -> Format:
        """What its name says that the file is."""
        return named_format(self.name)


class Form(NamedTuple):
    """What to post a file with: the fields first, then the file."""

    url: str
    fields: Mapping[str, str]


class Place(NamedTuple):
    """Whose recording a key is of."""

    subject: str
    recording_id: str


class Job(NamedTuple):
    """A transcription job as the service knows it."""

    state: Literal["running", "completed", "failed"]
    reason: str | None = None
    """What the service says about a failure."""
    language: str | None = None


class JobRefused(Exception):
    """The service does not take this job, whenever it is asked."""


class RecordingRecords(Protocol):
    """Keeps records. Every method raises StoreUnavailable."""

    def add(self, recording: Recording) -> None:
        """Keep a new record."""

    def get(self, subject: str, recording_id: str) -> Recording | None:
        """A record as it stands now."""

    def page(self, subject: str, *, limit: int, before: str | None) -> list[Recording]:
        """The subject's records, newest first; those older than the id `before`."""

    def begin(self, subject: str, recording_id: str, *, size: int, seconds: float | None) -> bool:
        """Its file is there and is being transcribed. False when the record is settled or gone."""

    def finish(
        self, subject: str, recording_id: str, *, reason: str | None = None, language: str | None = None
    ) -> bool:
        """It is ready, or with a `reason` failed. False when the record was settled before, or is gone."""

    def remove(self, subject: str, recording_id: str) -> None:
        """Forget a record."""


class RecordingFiles(Protocol):
    """Keeps the files and transcripts of recordings. Every method raises StoreUnavailable."""

    def upload_form(self, key: str, *, max_bytes: int, media_type: str) -> Form:
        """A form to post one file of at most `max_bytes` with, for FORM_SECONDS."""

    def link(self, key: str, *, media_type: str, filename: str) -> str:
        """A link that downloads a file, for LINK_SECONDS."""

    def head(self, key: str) -> tuple[int, bytes] | None:
        """A file's size and first bytes (`recording_formats.HEAD_BYTES`); None when it is not there."""

    def read(self, key: str) -> bytes | None:
        """A whole file; None when it is not there."""

    def write(self, key: str, content: bytes) -> None:
        """Keep a file of JSON."""

    def remove(self, keys: Sequence[str]) -> None:
        """Delete files; those that are not there are no error."""


class TranscriptionJobs(Protocol):
    """The service that transcribes. Every method raises StoreUnavailable."""

    def start(self, recording_id: str, *, key: str, result: str, format: Format, language: str | None) -> None:
        """Transcribe the file `key` into the file `result`; a job that is there already is no error.

        Raises JobRefused.
        """

    def find(self, recording_id: str) -> Job | None:
        """The job of a recording."""

    def remove(self, recording_id: str) -> None:
        """Forget a job; one that is not there is no error."""


def source_key(subject: str, recording_id: str) -> str:
    """Where a recording's file stands in the audio bucket."""
    return f"{SOURCES}/{_owner(subject)}/{recording_id}"


def transcript_key(subject: str, recording_id: str) -> str:
    """Where its transcript stands."""
    return f"{TRANSCRIPTS}/{_owner(subject)}/{recording_id}.json"


def result_key(subject: str, recording_id: str) -> str:
    """Where the service writes what it found, until the transcript is made of it."""
    return f"{TRANSCRIPTS}/{_owner(subject)}/{recording_id}.result.json"


def place_of(key: str) -> Place | None:
    """Whose recording a file of the audio bucket is; None when it is no recording's."""
    match key.split("/"):
        case [folder, owner, recording_id] if folder == SOURCES and owner and is_id(recording_id):
            return Place(unquote(owner.replace("!", "%")), recording_id)
    return None


def named_format(name: str) -> Format:
    """The format in which a file's name ends. Raises ValidationFailed for any other."""
    for known in MEDIA_TYPES:
        if extension(name) == f".{known}":
            return known
    raise ValidationFailed(f"`name` ends in one of {', '.join(f'.{known}' for known in MEDIA_TYPES)}.")


def _owner(subject: str) -> str:
    # Transcribe's output keys admit neither `%` nor `~`.
    return quote(subject, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "!")


def _files_of(subject: str, recording_id: str) -> list[str]:
    return [each(subject, recording_id) for each in (source_key, transcript_key, result_key)]


@dataclass(frozen=True, slots=True)
class Recordings:
    """What a user does with recordings. Every method raises StoreUnavailable."""

    records: RecordingRecords
    files: RecordingFiles
    now: Callable[[], datetime]

    def add(self, subject: str, name: str, size: int, language: str | None) -> tuple[Recording, Form]:
        """A new record, and the form to upload its file with. Raises ValidationFailed and PayloadTooLarge."""
        shown = clean_name(name)
        media_type = MEDIA_TYPES[named_format(shown)]
        if size < 1:
            raise ValidationFailed("The recording is empty.")
        if size > MAX_RECORDING_BYTES:
            raise PayloadTooLarge(f"The recording has {size:,} bytes; at most {MAX_RECORDING_BYTES:,} are taken.")
        if language is not None and language not in LANGUAGES:
            known = f"{language} is not" if _LANGUAGE.fullmatch(language) else "`language` is not one that is"
            raise ValidationFailed(f"{known} transcribed. Leave `language` out to have it found.")
        now = self.now()
        at = timestamp(now)
        recording = Recording(
            subject=subject,
            recording_id=new_id(now),
            name=shown,
            size=size,
            language=language,
            created_at=at,
            updated_at=at,
        )
        self.records.add(recording)
        key = source_key(subject, recording.recording_id)
        # Whoever measured wrongly learns it from the record, and not from S3's XML.
        return recording, self.files.upload_form(key, max_bytes=MAX_RECORDING_BYTES, media_type=media_type)

    def page(self, subject: str, *, limit: int, before: str | None) -> list[Recording]:
        """The subject's recordings, newest first; those older than the id `before`."""
        return self.records.page(subject, limit=limit, before=before)

    def get(self, subject: str, recording_id: str) -> Recording:
        """One recording. Raises NotFound, also for another user's."""
        found = self.records.get(subject, recording_id) if is_id(recording_id) else None
        if found is None:
            raise NotFound(_NO_SUCH_RECORDING)
        return found

    def transcript(self, recording: Recording) -> Transcript | None:
        """The transcript of one that is ready."""
        if recording.state is not RecordingState.READY:
            return None
        stored = self.files.read(transcript_key(recording.subject, recording.recording_id))
        return None if stored is None else Transcript.from_json(stored)

    def source_url(self, recording: Recording) -> str | None:
        """A link to its file; None while that may still be to come."""
        if recording.state is RecordingState.PENDING:
            return None
        key = source_key(recording.subject, recording.recording_id)
        return self.files.link(key, media_type=MEDIA_TYPES[recording.format], filename=recording.name)

    def delete(self, subject: str, recording_id: str) -> None:
        """Delete a recording with its transcript. Raises NotFound."""
        self.get(subject, recording_id)
        # The record goes last: a deletion that breaks off can be asked for again.
        self.files.remove(_files_of(subject, recording_id))
        self.records.remove(subject, recording_id)


@dataclass(frozen=True, slots=True)
class Transcription:
    """Takes recordings from their upload to their transcript. Every method raises StoreUnavailable."""

    records: RecordingRecords
    files: RecordingFiles
    jobs: TranscriptionJobs

    def begin(self, place: Place) -> bool:
        """A file was uploaded: start its transcription. Says whether there is a job to look after."""
        subject, recording_id = place
        record = self.records.get(subject, recording_id)
        if record is None:
            # Deleted while it was being uploaded.
            self.files.remove(_files_of(subject, recording_id))
            return False
        head = self.files.head(source_key(subject, recording_id)) if record.state in UNSETTLED else None
        if head is None:
            return False
        size, first_bytes = head
        try:
            sound = inspect(first_bytes, size, named=record.format)
            if not self.records.begin(subject, recording_id, size=size, seconds=sound.seconds):
                return False
            self.jobs.start(
                recording_id,
                key=source_key(subject, recording_id),
                result=result_key(subject, recording_id),
                format=sound.format,
                language=record.language,
            )
        except UnreadableRecording as error:
            self.records.finish(subject, recording_id, reason=error.reason)
            return False
        except JobRefused:
            self.records.finish(subject, recording_id, reason=_NOT_TRANSCRIBED)
            return False
        return True

    def settle(self, place: Place) -> bool:
        """Look what became of a recording's job, and settle its record. Says whether the job is still running."""
        subject, recording_id = place
        record = self.records.get(subject, recording_id)
        job = self.jobs.find(recording_id)
        if job is not None and job.state == "running":
            return True
        if record is None:
            # Deleted while it was being transcribed.
            self.files.remove(_files_of(subject, recording_id))
        elif record.state in UNSETTLED:
            self._settle(record, job)
        if job is not None:
            self.files.remove([result_key(subject, recording_id)])
            self.jobs.remove(recording_id)
        return False

    def give_up(self, place: Place) -> None:
        """Nothing helped: say so in the record."""
        self.records.finish(*place, reason=GIVEN_UP)

    def _settle(self, record: Recording, job: Job | None) -> None:
        subject, recording_id = record.subject, record.recording_id
        if job is None:
            self.records.finish(subject, recording_id, reason=_LOST)
            return
        if job.state == "failed":
            self.records.finish(subject, recording_id, reason=_sentence(job.reason or ""))
            return
        result = self.files.read(result_key(subject, recording_id))
        try:
            transcript = transcript_of(result or b"", language=job.language or record.language or "")
        except MalformedResult:
            self.records.finish(subject, recording_id, reason=_LOST)
            return
        self.files.write(transcript_key(subject, recording_id), transcript.to_json())
        if not self.records.finish(subject, recording_id, language=transcript.language) and (
            self.records.get(subject, recording_id) is None
        ):
            self.files.remove(_files_of(subject, recording_id))


def _sentence(failure: str) -> str:
    return next((sentence for part, sentence in _FAILURES.items() if part in failure), _NOT_TRANSCRIBED)
