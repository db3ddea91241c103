"""Deleting all that is a user's: at once, and once more when nothing can be written on the user's behalf any more.

What is under way when a deletion is asked for may still write: a turn, a call, an upload whose form was signed before,
whoever holds a token that has not expired. So a deletion looks again when all of these have ended, and is done when it
then finds nothing. Until then it is `settling`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from parley.privacy.holdings import Holding

RESERVE_SECONDS = 60.0
"""Time that must be left to go on: no step takes longer, and what was done is then noted."""


class DeletionState(StrEnum):
    """`deleting` -> `settling` -> `done`; or `failed`, when it was tried too often."""

    DELETING = "deleting"
    SETTLING = "settling"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionRecord:
    """How far a deletion has come. It holds nothing of the user's: it outlives them."""

    state: DeletionState = DeletionState.DELETING
    requested_at: datetime
    look_again_at: datetime | None = None
    """When it is looked for what was written since; None before everything was deleted once."""
    finished_at: datetime | None = None
    deleted: Mapping[str, int] = field(default_factory=dict)
    """How many things, by the holding's name."""

    @property
    def runs(self) -> bool:
        """Is there work left?"""
        return self.state in (DeletionState.DELETING, DeletionState.SETTLING)


class DeletionRecords(Protocol):
    """Keeps records of deletions, by `pseudonym`. Every method raises StoreUnavailable."""

    def get(self, pseudonym: str) -> DeletionRecord | None:
        """The record of the latest deletion."""

    def put(self, pseudonym: str, record: DeletionRecord) -> None:
        """Keep a record in the place of the one before."""


def pseudonym(subject: str) -> str:
    """What a deleted user is known by in the record: SHA-256 of the subject, hexadecimal."""
    return sha256(subject.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes users. Every method raises StoreUnavailable."""

    records: DeletionRecords
    now: Callable[[], datetime]
    holdings: Sequence[Holding] = ()
    """In this order: what lets a user in at the end, so that they can see how far it has come."""
    settle_after: timedelta = timedelta(0)
    """When nothing can be written any more that was begun before the request."""

    def find(self, subject: str) -> DeletionRecord | None:
        """The user's latest deletion."""
        return self.records.get(pseudonym(subject))

    def request(self, subject: str) -> DeletionRecord:
        """A new deletion, or the one that is running."""
        record = self.find(subject)
        if record is None or not record.runs:
            record = DeletionRecord(requested_at=self.now())
            self.records.put(pseudonym(subject), record)
        return record

    def work(self, subject: str, seconds_left: Callable[[], float]) -> float | None:
        """Delete as far as the time goes. After how many seconds to go on; None: it is done."""
        record = self.find(subject)
        if record is None or not record.runs:
            return None
        started = self.now()
        if record.look_again_at is not None and started < record.look_again_at:
            return (record.look_again_at - started).total_seconds()
        deleted: Counter[str] = Counter()
        for holding in self.holdings:
            for count in holding.erase(subject):
                deleted[holding.name] += count
                if seconds_left() < RESERVE_SECONDS:
                    self._note(subject, record, deleted)
                    return 0.0
        if record.state is DeletionState.SETTLING and not deleted.total():
            self._note(subject, replace(record, state=DeletionState.DONE, finished_at=self.now()), deleted)
            return None
        again = max(record.requested_at + self.settle_after, started + self.settle_after / 6)
        self._note(subject, replace(record, state=DeletionState.SETTLING, look_again_at=again), deleted)
        return max(0.0, (again - self.now()).total_seconds())

    def give_up(self, subject: str) -> None:
        """Note that it is not tried again by itself."""
        record = self.find(subject)
        if record is not None and record.runs:
            self.records.put(pseudonym(subject), replace(record, state=DeletionState.FAILED))

    def resume(self, subject: str) -> None:
        """Take up again what was given up."""
        record = self.find(subject)
        if record is not None and record.state is DeletionState.FAILED:
            self.records.put(pseudonym(subject), replace(record, state=DeletionState.DELETING, look_again_at=None))

    def _note(self, subject: str, record: DeletionRecord, deleted: Counter[str]) -> None:
        total = Counter(record.deleted) + deleted
        self.records.put(pseudonym(subject), replace(record, deleted=dict(total)))
