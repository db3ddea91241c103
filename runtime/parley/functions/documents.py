"""GET and POST /knowledge/documents; GET, PUT and DELETE /knowledge/documents/{id}."""

import base64
from functools import cache
from typing import Annotated

import msgspec

from parley.aws import clients
from parley.aws.documents_bucket import DocumentsBucket
from parley.aws.knowledge_table import KnowledgeTable
from parley.errors import ValidationFailed
from parley.functions import admission
from parley.functions.http import HttpApi, Request, page_parameters
from parley.knowledge.documents import (
    BINARY_FORMATS,
    FORMATS,
    MAX_DOCUMENT_BYTES,
    MAX_INLINE_BYTES,
    SHARED,
    Document,
    is_document_id,
)
from parley.knowledge.library import Library, Reader, next_after
from parley.knowledge.ports import Upload
from parley.settings import Settings

api = HttpApi()

PAGE_LENGTH = 50
LONGEST_PAGE = 100

type Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=1_000,
        description=f"The file's name; it ends in one of {', '.join(FORMATS)}, and the file is what that says.",
    ),
]
type Text = Annotated[
    str,
    msgspec.Meta(
        description=f"The whole text, at most {MAX_INLINE_BYTES:,} bytes of UTF-8. "
        f"Not for {' and '.join(sorted(BINARY_FORMATS))}: these are uploaded."
    ),
]
type ChosenId = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9_-]{1,64}$",
        description="An id of your own choice. The request can then be repeated without making a second document: "
        "`conflict` says that it is there already, `not_found` that it was deleted. Documents are listed by their ids, "
        "last first; ours begin with the time in milliseconds as 12 hexadecimal digits.",
    ),
]
type Size = Annotated[int, msgspec.Meta(description=f"The file's size in bytes, at most {MAX_DOCUMENT_BYTES:,}.")]


class DocumentsSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    knowledge_table: str
    documents_bucket: str


class NewDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document to add: with its `text`, or with the `size` of a file that will be uploaded."""

    name: Name
    text: Text | None = None
    size: Size | None = None
    shared: bool = False
    """Everyone may read it. Only curators may write such documents."""
    document_id: ChosenId | None = None


class Replacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What takes a document's place; without a `name` it keeps its own."""

    name: Name | None = None
    text: Text | None = None
    size: Size | None = None


class UploadView(msgspec.Struct, frozen=True, kw_only=True):
    """A form to post the file with, as multipart/form-data: every field first, then the file as `file`."""

    url: str
    fields: dict[str, str]
    expires_in: int
    """Seconds."""

    @classmethod
    def of(cls, upload: Upload) -> "UploadView":
        """The view of a form."""
        return cls(url=upload.url, fields=dict(upload.fields), expires_in=upload.expires_in)


class DocumentView(msgspec.Struct, frozen=True, kw_only=True):
    """A document: `pending`, `indexing`, `ready`, or `failed` for a `reason`. Times are ISO 8601 in UTC."""

    document_id: str
    name: str
    shared: bool
    state: str
    reason: str | None
    size: int
    chunk_count: int
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, document: Document) -> "DocumentView":
        """The view of a record."""
        return msgspec.convert(_fields(document), cls)


class WrittenDocument(DocumentView, frozen=True, kw_only=True):
    """A document that was just written; `upload` is there when its file is still to come."""

    upload: UploadView | None = None


class DocumentDetail(DocumentView, frozen=True, kw_only=True):
    """A document with `source_url`, which opens its file for 15 minutes; null while the file may still be to come.

    A PDF opens at a page with `#page=3` after it.
    """

    source_url: str | None


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own documents, newest first, then the shared ones. `cursor` asks for the next page."""

    documents: tuple[DocumentView, ...]
    cursor: str | None


@cache
def library() -> Library:
    """This process's library."""
    settings = DocumentsSettings.load()
    return Library(
        records=KnowledgeTable(settings.knowledge_table, clients.dynamodb()),
        files=DocumentsBucket(settings.documents_bucket, clients.s3()),
    )


@api.route(
    "GET",
    "/knowledge/documents",
    summary="List your documents and the shared ones",
    response=DocumentList,
    errors=("validation_failed", "store_unavailable"),
    parameters=page_parameters(PAGE_LENGTH, longest=LONGEST_PAGE),
)
def list_documents(request: Request[None]) -> DocumentList:
    """One page of records."""
    limit = request.query_int("limit", default=PAGE_LENGTH, minimum=1, maximum=LONGEST_PAGE)
    page = library().page(_reader(request), limit=limit, after=_decode_cursor(request.query.get("cursor")))
    return DocumentList(documents=tuple(map(DocumentView.of, page)), cursor=_encode_cursor(next_after(page, limit)))


@api.route(
    "POST",
    "/knowledge/documents",
    summary="Add a document, or ask for a form to upload it with",
    request=NewDocument,
    response=WrittenDocument,
    status=201,
    errors=("conflict", "forbidden", "not_found", "payload_too_large", "quota_exceeded", "store_unavailable"),
)
def add_document(request: Request[NewDocument]) -> WrittenDocument:
    """The new record."""
    body, reader = request.body, _reader(request)
    shared, id_ = body.shared, body.document_id
    with admission.document_of(reader.subject):
        if body.text is not None and body.size is None:
            return _written(library().add_text(reader, body.name, body.text, shared=shared, document_id=id_))
        if body.size is not None and body.text is None:
            return _written(*library().add_upload(reader, body.name, body.size, shared=shared, document_id=id_))
        raise ValidationFailed("Send either `text` or `size`.")


@api.route(
    "GET",
    "/knowledge/documents/{id}",
    summary="See what became of a document, and open its file",
    response=DocumentDetail,
    errors=("not_found", "store_unavailable"),
)
def read_document(request: Request[None]) -> DocumentDetail:
    """One record."""
    document = library().get(_reader(request), request.path["id"])
    return msgspec.convert({**_fields(document), "source_url": library().source_url(document)}, DocumentDetail)


@api.route(
    "PUT",
    "/knowledge/documents/{id}",
    summary="Replace a document",
    request=Replacement,
    response=WrittenDocument,
    errors=("forbidden", "not_found", "payload_too_large", "quota_exceeded", "store_unavailable"),
)
def replace_document(request: Request[Replacement]) -> WrittenDocument:
    """The changed record."""
    body, id_ = request.body, request.path["id"]
    with admission.document_of(request.caller.subject):
        if body.text is not None and body.size is None:
            return _written(library().replace_text(_reader(request), id_, body.name, body.text))
        if body.size is not None and body.text is None:
            return _written(*library().replace_upload(_reader(request), id_, body.name, body.size))
        raise ValidationFailed("Send either `text` or `size`.")


@api.route(
    "DELETE",
    "/knowledge/documents/{id}",
    summary="Delete a document",
    status=204,
    errors=("forbidden", "not_found", "store_unavailable"),
)
def delete_document(request: Request[None]) -> None:
    """It is not retrieved from now on; what is stored of it goes soon after."""
    library().delete(_reader(request), request.path["id"])


def _reader[BodyT](request: Request[BodyT]) -> Reader:
    return Reader(request.caller.subject, request.caller.is_curator)


def _fields(document: Document) -> dict[str, str | int | bool | None]:
    return {
        "document_id": document.document_id,
        "name": document.name,
        "shared": document.owner == SHARED,
        "state": document.state.value,
        "reason": document.reason,
        "size": document.size,
        "chunk_count": document.chunk_count,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
    }


def _written(document: Document, upload: Upload | None = None) -> WrittenDocument:
    return msgspec.convert({**_fields(document), "upload": UploadView.of(upload) if upload else None}, WrittenDocument)


def _encode_cursor(after: tuple[str, str] | None) -> str | None:
    return base64.urlsafe_b64encode("\n".join(after).encode()).decode() if after else None


def _decode_cursor(cursor: str | None) -> tuple[str, str] | None:
    """Where a page begins. The owner in it only picks among those that the caller may read."""
    if cursor is None:
        return None
    try:
        owner, document_id = base64.urlsafe_b64decode(cursor).decode().split("\n")
    except ValueError as error:
        raise ValidationFailed("`cursor` is not one of this list.") from error
    if not is_document_id(document_id):
        raise ValidationFailed("`cursor` is not one of this list.")
    return owner, document_id


handler = api.handler()
