"""The manifest of a FAISS index on S3: which segments there are, and what has been removed since they were written.

Segments never change. The manifest is one small object, replaced only by a writer who has seen the one it replaces
(`If-Match`), so concurrent writers never lose each other's segments. Its *generation* counts the replacements.
"""

import random
import time
from collections.abc import Callable, Sequence, Set
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from parley.aws.failures import error_code, store_errors
from parley.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

FORMAT = 2
TIER_SEGMENTS = 8
"""Segments of one size class that are merged into one: a query visits few, and a row is rewritten a few times ever."""

LARGE_SEGMENT_ROWS = 4_096
"""Segments from this size on (8 MB) stay as they are, so that no merge writes more than 64 MB."""

MAX_REMOVALS = 1_000
"""Removals that are remembered before all segments are rewritten without the removed rows."""

EDIT_ATTEMPTS = 40
"""Tries to replace the manifest among other writers."""


class SegmentEntry(msgspec.Struct, frozen=True):
    """A segment: an immutable object with `rows` vectors."""

    id: str
    rows: int
    generation: int = 0
    """Removals up to this generation do not concern it: they were made before it was written, or it heeds them."""


class Removal(msgspec.Struct, frozen=True):
    """A document's version whose rows, as far as they were added before this generation, are gone."""

    owner: str
    document_id: str
    version: str
    generation: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """The whole of an index."""

    dimensions: int = 0
    generation: int = 0
    segments: tuple[SegmentEntry, ...] = ()
    removals: tuple[Removal, ...] = ()
    format: int = FORMAT

    def check(self, dimensions: int) -> None:
        """Raises ValueError when the index holds vectors of other dimensions."""
        if self.dimensions not in (0, dimensions):
            raise ValueError(f"The index holds vectors of {self.dimensions} dimensions, not {dimensions}: rebuild it.")

    def with_segment(self, entry: SegmentEntry, dimensions: int) -> "Manifest":
        """With one more segment; the same one again changes nothing. Raises ValueError for other dimensions."""
        self.check(dimensions)
        if any(known.id == entry.id for known in self.segments):
            return self
        generation = self.generation + 1
        added = msgspec.structs.replace(entry, generation=generation)
        return msgspec.structs.replace(
            self, dimensions=dimensions, generation=generation, segments=(*self.segments, added)
        )

    def with_removals(self, removals: Sequence[Removal]) -> "Manifest":
        """With these removals, which concern every segment there is and none that comes later."""
        if not self.segments or not removals:
            return self
        generation = self.generation + 1
        named = {(r.owner, r.document_id, r.version) for r in removals}
        kept = [r for r in self.removals if (r.owner, r.document_id, r.version) not in named]
        new = [msgspec.structs.replace(removal, generation=generation) for removal in removals]
        return msgspec.structs.replace(self, generation=generation, removals=(*kept, *new))

    def emptied(self) -> "Manifest":
        """Without anything, and free for vectors of any dimensions; an empty one stays as it is."""
        return Manifest(generation=self.generation + 1) if self.segments or self.removals else self

    def with_merged(self, inputs: Sequence[SegmentEntry], output: SegmentEntry | None) -> "Manifest":
        """With `output` (None: nothing was left) in place of `inputs`; unchanged if one of these is gone already."""
        return self.with_replaced({entry.id for entry in inputs}, [] if output is None else [output])

    def with_replaced(self, gone: Set[str], outputs: Sequence[SegmentEntry]) -> "Manifest":
        """With `outputs` in place of the segments `gone`; unchanged if one of these is gone already."""
        kept = tuple(entry for entry in self.segments if entry.id not in gone)
        if not gone or len(kept) != len(self.segments) - len(gone):
            return self
        segments = (*kept, *outputs)
        oldest = min((entry.generation for entry in segments), default=self.generation)
        removals = tuple(removal for removal in self.removals if removal.generation > oldest)
        return msgspec.structs.replace(self, generation=self.generation + 1, segments=segments, removals=removals)

    def without_owner(self, owner: str, *, segments: Set[str]) -> "Manifest":
        """Without removals of this owner's documents; unchanged if it has other segments than these."""
        if {entry.id for entry in self.segments} != segments:
            return self
        kept = tuple(removal for removal in self.removals if removal.owner != owner)
        if len(kept) == len(self.removals):
            return self
        return msgspec.structs.replace(self, generation=self.generation + 1, removals=kept)

    def mergeable(self, *, without: Set[str] = frozenset()) -> list[SegmentEntry]:
        """Segments of one size class, none of them in `without`, that are due to be merged; empty when none are.

        A class is due each time its size reaches a multiple of TIER_SEGMENTS, so that of many writers one merges.
        """
        small = sorted((s for s in self.segments if s.rows < LARGE_SEGMENT_ROWS and s.id not in without), key=_tier)
        for _, members in groupby(small, key=_tier):
            tier = list(members)
            if len(tier) % TIER_SEGMENTS == 0:
                return tier[:TIER_SEGMENTS]
        return []


def _tier(entry: SegmentEntry) -> int:
    return entry.rows.bit_length() // 3


class ManifestFile:
    """The manifest's object, read and replaced."""

    def __init__(
        self, client: "S3Client", bucket: str, key: str, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._pause = pause
        self._etag: str | None = None
        self._manifest = Manifest()

    def read(self) -> Manifest:
        """The manifest as it is now; an empty one where there is none. Raises StoreUnavailable, also for a damaged one.

        While it is unchanged it is the same object, and costs no transfer.
        """
        condition: dict[str, Any] = {"IfNoneMatch": self._etag} if self._etag else {}
        with store_errors():
            try:
                response = self._client.get_object(Bucket=self._bucket, Key=self._key, **condition)
                content = response["Body"].read()
            except ClientError as error:
                if error_code(error) in ("304", "NotModified"):
                    return self._manifest
                if error_code(error) not in ("404", "NoSuchKey"):
                    raise
                self._etag, self._manifest = None, Manifest()
                return self._manifest
        try:
            manifest = msgspec.json.decode(content, type=Manifest)
        except msgspec.MsgspecError as error:
            raise StoreUnavailable("The index is damaged: rebuild it.") from error
        if manifest.format != FORMAT:
            raise StoreUnavailable(f"The index has format {manifest.format}, not {FORMAT}: rebuild it.")
        self._etag, self._manifest = response["ETag"], manifest
        return manifest

    def edit(self, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Replace the manifest by `change` of it, as often as it takes, and return it as it is now.

        Raises StoreUnavailable when other writers keep coming first.
        """
        for attempt in range(EDIT_ATTEMPTS):
            manifest = self.read()
            changed = change(manifest)
            if changed is manifest or self._replace(changed):
                return changed
            self._pause(random.uniform(0, min(0.02 * 2**attempt, 1.0)))  # noqa: S311 - jitter, no secret
        raise StoreUnavailable

    def _replace(self, manifest: Manifest) -> bool:
        """Write the manifest; False when another writer came first."""
        condition: dict[str, Any] = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        content = msgspec.json.encode(manifest)
        with store_errors():
            try:
                response = self._client.put_object(
                    Bucket=self._bucket, Key=self._key, Body=content, ContentType="application/json", **condition
                )
            except ClientError as error:
                if error_code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey"):
                    return False
                raise
        self._etag, self._manifest = response["ETag"], manifest
        return True
