"""POST /chat: one turn of text."""

from functools import cache

import msgspec

from parley.conversation.assistant import Question
from parley.conversation.deadline import HTTP_TURN_SECONDS, Deadline
from parley.conversation.turns import Knowledge, Usage
from parley.functions.answering import Answering, ChatRole, TurnSettings, check_message, request_key
from parley.functions.http import HttpApi, Parameter, Reply, Request
from parley.functions.schemas import ConversationId, MessageText, linked_citations
from parley.server_messages import LinkedCitation

api = HttpApi()

ANSWERING_SECONDS = 1.0
"""What a turn leaves of the function's own time limit for its response."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message. Without a `conversation_id` it begins a conversation."""

    message: MessageText
    conversation_id: ConversationId | None = None
    model_role: ChatRole = "quick"


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `knowledge`: were passages used, none found, not to be had, or is knowledge off."""

    conversation_id: str
    turn_id: str
    message: str
    citations: tuple[LinkedCitation, ...]
    model: str
    usage: Usage
    knowledge: Knowledge


@cache
def answering() -> Answering:
    """This process's assistant."""
    return Answering(TurnSettings.load())


@api.route(
    "POST",
    "/chat",
    summary="Ask, and get the answer with its citations",
    request=ChatRequest,
    response=ChatResponse,
    errors=(
        "not_found",
        "conflict",
        "payload_too_large",
        "quota_exceeded",
        "model_unavailable",
        "store_unavailable",
        "deadline_exceeded",
    ),
    parameters=(
        Parameter(
            "Idempotency-Key",
            "header",
            "Makes a retry safe: the same key with the same body is answered once, for as long as the turn is kept. "
            "While the first request runs, a second one gets `conflict`; with another body, `validation_failed`.",
            {"type": "string", "minLength": 1, "maxLength": 128},
        ),
    ),
)
def chat(request: Request[ChatRequest]) -> Reply:
    """Answer one message."""
    # The function's limit is the later one, unless it started cold and late.
    seconds = min(HTTP_TURN_SECONDS, request.context.get_remaining_time_in_millis() / 1000 - ANSWERING_SECONDS)
    deadline = Deadline.after(seconds)
    body = request.body
    check_message(body.message)
    question = Question(
        subject=request.caller.subject,
        message=body.message,
        conversation_id=body.conversation_id,
        role=body.model_role,
        request=request_key(
            request.headers.get("idempotency-key"),
            message=body.message,
            conversation_id=body.conversation_id,
            role=body.model_role,
        ),
    )
    answer = answering().answer(question, deadline, request.context)
    turn = answer.turn
    return Reply(
        ChatResponse(
            conversation_id=answer.conversation_id,
            turn_id=turn.turn_id,
            message=turn.text,
            citations=linked_citations(answer),
            model=turn.model or "",
            usage=turn.usage or Usage(input_tokens=0, output_tokens=0, cost_usd=None),
            knowledge=turn.knowledge or "off",
        ),
        headers={"Idempotent-Replayed": "true"} if answer.replayed else {},
    )


handler = api.handler()
