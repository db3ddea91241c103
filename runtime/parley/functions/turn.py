"""Answers one message of a WebSocket client: invoked asynchronously, streams over the connection."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from parley.aws import clients
from parley.aws.connection_posts import Connection
from parley.aws.sessions import ConnectionTable
from parley.conversation.assistant import Answer, Question
from parley.conversation.deadline import Deadline
from parley.conversation.rounds import ToolStatus
from parley.errors import ParleyError
from parley.functions.answering import Answering, TurnSettings, request_key
from parley.functions.messages import Deltas, Outbox, TurnOrder
from parley.functions.schemas import linked_citations
from parley.functions.service_levels import failed, model_time, seconds_since_epoch, served
from parley.functions.telemetry import instrument, logger
from parley.server_messages import ErrorMessage, MessageDone, ToolNotice, UsageReport

TURN_SECONDS = 50.0
"""The longest turn. No gateway waits for it, but a person does."""

CLOSING_SECONDS = 2.0
"""What a turn leaves of the function's own time limit to tell the client how it ended."""


class StreamingTurnSettings(TurnSettings, frozen=True, kw_only=True):
    """Settings of this function."""

    connections_table: str
    websocket_callback_url: str


@cache
def settings() -> StreamingTurnSettings:
    """This process's settings."""
    return StreamingTurnSettings.load()


@cache
def answering() -> Answering:
    """This process's assistant."""
    return Answering(settings())


@cache
def connections() -> ConnectionTable:
    """The open connections."""
    return ConnectionTable(settings().connections_table, clients.dynamodb())


def answer_turn(event: Mapping[str, Any], context: Any) -> None:
    """Answer one order. Never raises for a turn that fails: the client is told, and nobody else would listen."""
    order = msgspec.convert(event, TurnOrder)
    model_time.begin()
    outbox = Outbox(Connection(order.connection_id, clients.connections_api(settings().websocket_callback_url)))
    try:
        answer = _answer(order, outbox, context)
    except ParleyError as error:
        logger.warning("The turn failed", error_code=error.code)
        failed(error.code)
        outbox.send(ErrorMessage.of(error, order.request_id))
    except Exception:
        logger.exception("Unexpected error")
        failed()
        outbox.send(ErrorMessage.of(ParleyError(), order.request_id))
    else:
        served(seconds_since_epoch(order.asked_at))
        _finish(order, answer, outbox)
    if not outbox.is_open:
        _forget(order.connection_id)


def _answer(order: TurnOrder, outbox: Outbox, context: Any) -> Answer:
    seconds = min(TURN_SECONDS, context.get_remaining_time_in_millis() / 1000 - CLOSING_SECONDS)
    question = Question(
        subject=order.subject,
        message=order.message,
        conversation_id=order.conversation_id,
        role=order.model_role,
        request=request_key(
            order.request_id,
            message=order.message,
            conversation_id=order.conversation_id,
            role=order.model_role,
        ),
    )
    deltas = Deltas(outbox, question.turn_id, order.request_id)

    def tell_of_tool(name: str, status: ToolStatus) -> None:
        # What was said before it comes first.
        deltas.flush()
        outbox.send(ToolNotice(turn_id=question.turn_id, name=name, status=status))

    answer = answering().answer(question, Deadline.after(seconds), context, on_text=deltas.add, on_tool=tell_of_tool)
    deltas.flush()
    return answer


def _finish(order: TurnOrder, answer: Answer, outbox: Outbox) -> None:
    turn = answer.turn
    outbox.send(
        MessageDone(
            turn_id=turn.turn_id,
            request_id=order.request_id,
            conversation_id=answer.conversation_id,
            message=turn.text,
            citations=linked_citations(answer),
            model=turn.model or "",
            knowledge=turn.knowledge or "off",
        )
    )
    if turn.usage:
        outbox.send(
            UsageReport(
                turn_id=turn.turn_id,
                input_tokens=turn.usage.input_tokens,
                output_tokens=turn.usage.output_tokens,
                cost_usd=turn.usage.cost_usd,
            )
        )


def _forget(connection_id: str) -> None:
    try:
        connections().forget(connection_id)
    except ParleyError as error:
        # The record expires by itself.
        logger.warning("A connection could not be forgotten", error_code=error.code)


handler = instrument(answer_turn)
