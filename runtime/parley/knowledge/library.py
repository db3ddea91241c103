"""The library: what a user does with documents before and after they are indexed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parley.errors import Forbidden, NotFound, ValidationFailed
from parley.knowledge.documents import (
    FORMATS,
    MAX_DOCUMENT_BYTES,
    MAX_INLINE_BYTES,
    SHARED,
    Document,
    DocumentState,
    check_size,
    check_takes_text,
    display_name,
    document_key,
    document_prefix,
    extension,
    is_document_id,
    new_document_id,
    owner_of,
    readable_by,
)
from parley.knowledge.errors import DocumentExists
from parley.knowledge.ports import DocumentsStore, KnowledgeStore, Upload
from parley.knowledge.sources import source_url

UPLOAD_GRACE_SECONDS = 24 * 3600
"""How long a record waits for its file; an upload form is valid for far less."""

_NO_SUCH_DOCUMENT = "There is no such document."


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: a verified subject, and whether it may write shared documents."""

    subject: str
    is_curator: bool


@dataclass(frozen=True, slots=True)
class Library:
    """A user's documents and the shared ones. Every method raises StoreUnavailable."""

    records: KnowledgeStore
    files: DocumentsStore

    def page(self, reader: Reader, *, limit: int, after: tuple[str, str] | None) -> list[Document]:
        """At most `limit` records that the reader may read: its own, newest first, then the shared ones.

        `after` is the owner and id of the last one of the page before.
        """
        owners: Sequence[str] = readable_by(reader.subject)
        before: str | None = None
        if after is not None and after[0] in owners:
            owners, before = owners[owners.index(after[0]) :], after[1]
        found: list[Document] = []
        for owner in owners:
            if len(found) < limit:
                found += self.records.list_documents(owner, limit=limit - len(found), before=before)
            before = None
        return found

    def get(self, reader: Reader, document_id: str) -> Document:
        """One record. Raises NotFound, also for another user's and a deleted one."""
        record = self._find(reader, document_id)
        if record.deleted:
            raise NotFound(_NO_SUCH_DOCUMENT)
        return record

    def source_url(self, document: Document) -> str | None:
        """A link to a document that the caller was given by `get`; None while its file may still be to come."""
        return None if document.state is DocumentState.PENDING else source_url(self.files, document)

    def add_text(
        self, reader: Reader, name: str, text: str, *, shared: bool, document_id: str | None = None
    ) -> Document:
        """A new document from its text. Raises Forbidden, ValidationFailed or PayloadTooLarge.

        With an id of the caller's choice also DocumentExists when there is such a document, and NotFound when it was
        deleted: whoever repeats the request never makes a second document, and finishes what an attempt began that
        ended before the file was there.
        """
        content = _content(text)
        check_takes_text(name)
        record = self._new(reader, name, len(content), shared=shared, document_id=document_id)
        self.files.write(record.key, content, _media_type(record))
        return record

    def add_upload(
        self, reader: Reader, name: str, size: int, *, shared: bool, document_id: str | None = None
    ) -> tuple[Document, Upload]:
        """A new document, and the form to upload its file with. Raises as `add_text`."""
        check_size(size)
        record = self._new(reader, name, size, shared=shared, document_id=document_id)
        return record, self._form(record)

    def replace_text(self, reader: Reader, document_id: str, name: str | None, text: str) -> Document:
        """Put a text in a document's place; nothing of the old one is retrieved from now on.

        Without a name it keeps its own. Raises as `add_text`, and NotFound.
        """
        content = _content(text)
        check_takes_text(self.get(reader, document_id).name if name is None else name)
        record = self._replace(reader, document_id, name, len(content), keep_version=False)
        self.files.write(record.key, content, _media_type(record))
        return record

    def replace_upload(self, reader: Reader, document_id: str, name: str | None, size: int) -> tuple[Document, Upload]:
        """The form to upload a document's replacement with; the old one stays until the new file is there."""
        check_size(size)
        record = self._replace(reader, document_id, name, size, keep_version=True)
        return record, self._form(record)

    def delete(self, reader: Reader, document_id: str) -> None:
        """Delete a document; it is never listed or retrieved from now on. Raises Forbidden or NotFound.

        Asked again, it deletes what a failure may have left of the files, before it raises NotFound.
        """
        record = self._find(reader, document_id)
        _check_writer(reader, record.owner)
        self.records.mark_deleted(record.owner, record.document_id)
        self.files.delete_folder(document_prefix(record.owner, record.document_id))
        if record.deleted:
            raise NotFound(_NO_SUCH_DOCUMENT)

    def _find(self, reader: Reader, document_id: str) -> Document:
        """The record among those that the reader may read, a deleted one too. Raises NotFound."""
        if is_document_id(document_id):
            for owner in readable_by(reader.subject):
                record = self.records.document(owner, document_id)
                if record is not None:
                    return record
        raise NotFound(_NO_SUCH_DOCUMENT)

    def _new(self, reader: Reader, name: str, size: int, *, shared: bool, document_id: str | None) -> Document:
        owner = SHARED if shared else owner_of(reader.subject)
        _check_writer(reader, owner)
        shown = display_name(name)
        known = None if document_id is None else self._known(reader, document_id)
        document_id = document_id or new_document_id()
        record = Document(
            owner=owner,
            document_id=document_id,
            name=shown,
            key=document_key(owner, document_id, shown),
            size=size,
        )
        if known is None:
            return self.records.put_new(record, unless_used_within_seconds=UPLOAD_GRACE_SECONDS)
        if not self._goes_on(known, record):
            raise DocumentExists
        return known

    def _known(self, reader: Reader, document_id: str) -> Document | None:
        """The document that has this id already. Raises NotFound for a deleted one: its id is not used again."""
        if not is_document_id(document_id):
            raise ValidationFailed("`document_id` has 1 to 64 letters, digits, `-` and `_`.")
        try:
            record = self._find(reader, document_id)
        except NotFound:
            return None
        if record.deleted:
            raise NotFound("The document with this `document_id` was deleted; choose another one.")
        return record

    def _goes_on(self, known: Document, wanted: Document) -> bool:
        """Is this the same request again, after an attempt that ended before the file was there?"""
        same = (known.owner, known.key, known.size) == (wanted.owner, wanted.key, wanted.size)
        return same and known.state is DocumentState.PENDING and self.files.describe(known.key) is None

    def _replace(
        self, reader: Reader, document_id: str, name: str | None, size: int, *, keep_version: bool
    ) -> Document:
        record = self.get(reader, document_id)
        _check_writer(reader, record.owner)
        shown = display_name(record.name if name is None else name)
        key = document_key(record.owner, record.document_id, shown)
        # A worker that comes between this and the new file still finds the old one there: it must not bring it back.
        old = None if keep_version else self.files.describe(key)
        new = self.records.replace(
            replace(record, name=shown, key=key, size=size),
            keep_version=keep_version,
            barred=old.version if old is not None else None,
        )
        if new is None:
            raise NotFound(_NO_SUCH_DOCUMENT)
        return new

    def _form(self, record: Document) -> Upload:
        return self.files.upload_form(record.key, max_bytes=MAX_DOCUMENT_BYTES, media_type=_media_type(record))


def next_after(page: Sequence[Document], limit: int) -> tuple[str, str] | None:
    """Where the page after this one begins; None when this one is the last."""
    return (page[-1].owner, page[-1].document_id) if len(page) == limit else None


def _check_writer(reader: Reader, owner: str) -> None:
    if owner == SHARED and not reader.is_curator:
        raise Forbidden("Only curators may write shared documents.")


def _content(text: str) -> bytes:
    content = text.encode()
    check_size(len(content), MAX_INLINE_BYTES)
    return content


def _media_type(record: Document) -> str:
    return FORMATS[extension(record.name)]
