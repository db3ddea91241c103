"""Exporting all that is a user's: ZIP archives of a bounded size, made one after the other for as long as it takes.

An archive is named in the export's record when it is whole; a worker that dies in the middle leaves the record as it
was, and the next one makes that archive anew.
"""

import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from parley.privacy.holdings import Exportable, Part

ARCHIVE_BYTES = 1_000_000_000
"""An archive that has come to this size is closed: 15 minutes at 10 Mbit/s, as long as its link is valid."""

RESERVE_SECONDS = 90.0
"""Time that must be left for one more file: the largest has 500 MB."""

KEPT = timedelta(days=7)
"""How long the archives can be fetched; the bucket's lifecycle rule removes them then."""

_PACKED = (".json", ".txt", ".md", ".csv", ".html", ".htm")
"""Endings of files that get smaller by packing; sound and documents hardly do."""


class ExportState(StrEnum):
    """`running` -> `ready`; or `failed`, when it was tried too often."""

    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A part of an export, ready to be fetched."""

    key: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """How far an export has come."""

    export_id: str
    state: ExportState = ExportState.RUNNING
    requested_at: datetime
    finished_at: datetime | None = None
    holding: int = 0
    """The place of the holding that comes next."""
    position: str = ""
    """The last part of it that is in an archive."""
    archives: tuple[Archive, ...] = ()


class ExportRecords(Protocol):
    """Keeps the record of each user's latest export. Every method raises StoreUnavailable."""

    def get(self, subject: str) -> ExportRecord | None:
        """The record, if there is one."""

    def put(self, subject: str, record: ExportRecord) -> None:
        """Keep a record in the place of the one before."""


class Sink(Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Take some more bytes."""

    def flush(self) -> None:
        """Nothing is to be done."""


class Archives(Protocol):
    """Keeps archives. Every method raises StoreUnavailable."""

    def key(self, subject: str, export_id: str, number: int) -> str:
        """Where an archive is kept."""

    def create(self, key: str) -> AbstractContextManager[Sink]:
        """Write an archive: it is there once the context ends without an error, and not before."""


@dataclass(frozen=True, slots=True)
class Export:
    """Exports users. Every method raises StoreUnavailable."""

    records: ExportRecords
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    archives: Archives
    holdings: Sequence[Exportable] = ()
    archive_bytes: int = ARCHIVE_BYTES

    def find(self, subject: str) -> ExportRecord | None:
        """The user's latest export, unless its archives are gone."""
        record = self.records.get(subject)
        return None if record is None or self.now() > record.requested_at + KEPT else record

    def request(self, subject: str) -> ExportRecord:
        """A new export, or the one that is running."""
        record = self.find(subject)
        if record is None or record.state is not ExportState.RUNNING:
            record = ExportRecord(export_id=self.new_id(), requested_at=self.now())
            self.records.put(subject, record)
        return record

    def work(self, subject: str, seconds_left: Callable[[], float]) -> float | None:
        """Make archives as far as the time goes. After how many seconds to go on; None: it is done."""
        record = self.find(subject)
        while record is not None and record.state is ExportState.RUNNING:
            record = self._make_archive(subject, record, seconds_left)
            # A deletion that was asked for meanwhile has taken the record: it is not to come back.
            current = self.records.get(subject)
            if current is None or current.export_id != record.export_id:
                return None
            self.records.put(subject, record)
            if record.state is ExportState.RUNNING and seconds_left() < RESERVE_SECONDS:
                return 0.0
        return None

    def give_up(self, subject: str) -> None:
        """Note that it is not tried again by itself."""
        record = self.find(subject)
        if record is not None and record.state is ExportState.RUNNING:
            self.records.put(subject, replace(record, state=ExportState.FAILED))

    def _make_archive(self, subject: str, record: ExportRecord, seconds_left: Callable[[], float]) -> ExportRecord:
        key = self.archives.key(subject, record.export_id, len(record.archives) + 1)
        holding, position = record.holding, record.position
        size = 0
        with self.archives.create(key) as sink:
            counted = _Counted(sink)
            # It asks for no position and seeks nothing, so that an archive is never held as a whole.
            with zipfile.ZipFile(counted, "w", allowZip64=True) as archive:  # type: ignore[call-overload]  # it needs `write`
                while holding < len(self.holdings) and not self._is_full(counted, seconds_left):
                    for part in self.holdings[holding].parts(subject, position):
                        _pack(archive, self.holdings[holding].name, part, self.now())
                        position = part.position
                        if self._is_full(counted, seconds_left):
                            break
                    else:
                        holding, position = holding + 1, ""
            size = counted.size
        done = holding == len(self.holdings)
        return replace(
            record,
            holding=holding,
            position=position,
            archives=(*record.archives, Archive(key=key, size=size)),
            state=ExportState.READY if done else ExportState.RUNNING,
            finished_at=self.now() if done else None,
        )

    def _is_full(self, archive: "_Counted", seconds_left: Callable[[], float]) -> bool:
        return archive.size >= self.archive_bytes or (archive.size > 0 and seconds_left() < RESERVE_SECONDS)


class _Counted:
    """A sink that knows how much it was given."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.size = 0

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._sink.flush()


def _pack(archive: zipfile.ZipFile, folder: str, part: Part, now: datetime) -> None:
    info = zipfile.ZipInfo(f"{folder}/{part.path}", now.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if part.path.lower().endswith(_PACKED) else zipfile.ZIP_STORED
    with archive.open(info, "w", force_zip64=True) as file:
        for block in part.content:
            file.write(block)
