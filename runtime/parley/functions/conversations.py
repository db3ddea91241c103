"""GET /conversations, GET and DELETE /conversations/{id}, GET /conversations/{id}/export."""

from functools import cache

import msgspec

from parley.aws.conversation_table import ConversationTable
from parley.conversation.errors import ConversationNotFound
from parley.conversation.turns import Conversation, is_id
from parley.functions.answering import conversation_table
from parley.functions.http import HttpApi, Reply, Request, page_parameters
from parley.functions.schemas import TurnView
from parley.settings import Settings

api = HttpApi()

PAGE_LENGTH = 20
LONGEST_PAGE = 100


class ConversationSettings(Settings, frozen=True, kw_only=True):
    """Settings of this function."""

    conversations_table: str
    content_key_arn: str


class ConversationList(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations, the newest first. `cursor` asks for the next page; null: this was the last."""

    conversations: tuple[Conversation, ...]
    cursor: str | None


class ConversationDetail(Conversation, frozen=True, kw_only=True):
    """A conversation with its messages, oldest first."""

    turns: tuple[TurnView, ...]


@cache
def store() -> ConversationTable:
    """This process's conversation store."""
    settings = ConversationSettings.load()
    return conversation_table(settings.conversations_table, settings.content_key_arn)


@api.route(
    "GET",
    "/conversations",
    summary="List your conversations, the newest first",
    response=ConversationList,
    errors=("validation_failed", "store_unavailable"),
    parameters=page_parameters(PAGE_LENGTH, longest=LONGEST_PAGE),
)
def list_conversations(request: Request[None]) -> ConversationList:
    """One page of the caller's conversations."""
    limit = request.query_int("limit", default=PAGE_LENGTH, minimum=1, maximum=LONGEST_PAGE)
    page = store().page(request.caller.subject, limit, request.query.get("cursor"))
    return ConversationList(conversations=tuple(page.conversations), cursor=page.cursor)


@api.route(
    "GET",
    "/conversations/{id}",
    summary="Read one of your conversations",
    response=ConversationDetail,
    errors=("not_found", "store_unavailable"),
)
def read_conversation(request: Request[None]) -> ConversationDetail:
    """A conversation and its turns."""
    return _detail(request)


@api.route(
    "GET",
    "/conversations/{id}/export",
    summary="Download one of your conversations as a JSON file",
    response=ConversationDetail,
    errors=("not_found", "store_unavailable"),
)
def export_conversation(request: Request[None]) -> Reply:
    """The same as a file."""
    detail = _detail(request)
    name = f"conversation-{detail.conversation_id}.json"
    return Reply(detail, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@api.route(
    "DELETE",
    "/conversations/{id}",
    summary="Delete one of your conversations and all its messages",
    status=204,
    errors=("not_found", "conflict", "store_unavailable"),
)
def delete_conversation(request: Request[None]) -> None:
    """Remove everything that belongs to it."""
    store().delete(request.caller.subject, _id(request))


def _detail(request: Request[None]) -> ConversationDetail:
    subject, conversation_id = request.caller.subject, _id(request)
    conversation = store().conversation(subject, conversation_id)
    turns = tuple(map(TurnView.of, store().turns(subject, conversation_id)))
    return ConversationDetail(**msgspec.structs.asdict(conversation), turns=turns)


def _id(request: Request[None]) -> str:
    conversation_id = request.path["id"]
    if not is_id(conversation_id):
        raise ConversationNotFound
    return conversation_id


handler = api.handler()
