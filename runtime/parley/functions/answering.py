"""What the functions that answer turns share: the assistant over AWS, requests that run once, and their metrics."""

import contextlib
import hashlib
import hmac
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from parley.aws import clients
from parley.aws.bedrock_models import BedrockModels, Guardrail
from parley.aws.content_encryption import ContentCipher
from parley.aws.conversation_table import ConversationTable
from parley.aws.idempotency import RequestsOnce
from parley.aws.invocations import RetrievalFunction
from parley.conversation.assistant import Answer, Assistant, Question
from parley.conversation.deadline import Deadline
from parley.conversation.errors import ConversationNotFound, NoModelAnswered, TurnTimedOut
from parley.conversation.models import ModelChoice, ModelFailure
from parley.conversation.rounds import OnTool, ToolRun
from parley.conversation.tools import registry
from parley.conversation.turns import GUARDRAIL, MESSAGE_LENGTH, RequestKey, Usage
from parley.errors import PayloadTooLarge, StoreUnavailable, ValidationFailed
from parley.functions.admission import allowances
from parley.functions.service_levels import Timed, model_time
from parley.functions.telemetry import logger, metrics
from parley.settings import Settings

KEY_LENGTH = 128
"""Characters of an idempotency key: a UUID is 36."""

type ChatRole = Literal["quick", "reasoning"]


class InBackground[T]:
    """A part that is slow to make, being made from now on; calling gives it, once it is there."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._begin, daemon=True).start()

    def __call__(self) -> T:
        """The part. Raises what making it raises; the next call then tries again."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def _begin(self) -> None:
        # A failure here is nobody's yet: whoever needs the part makes it again, and gets the reason.
        with contextlib.suppress(Exception):
            self()


class TurnSettings(Settings, frozen=True, kw_only=True):
    """Settings of a function that answers turns."""

    conversations_table: str
    idempotency_table: str
    content_key_arn: str
    models: dict[str, list[str]]
    retention_days: int
    retrieval_function: str | None = None
    guardrail: Guardrail | None = None


class Answering:
    """Answers questions: each request once, with its metrics. The parts are made when first used."""

    def __init__(self, settings: TurnSettings) -> None:
        self._settings = settings

    @cached_property
    def assistant(self) -> Assistant:
        """The assistant over this deployment's tables, models and knowledge."""
        settings = self._settings
        return Assistant(
            store=conversation_table(
                settings.conversations_table, settings.content_key_arn, retention_days=settings.retention_days
            ),
            models=ModelChoice(model=Timed(BedrockModels(guardrail=settings.guardrail)), ids_by_role=settings.models),
            retriever=RetrievalFunction(settings.retrieval_function) if settings.retrieval_function else None,
            tools=registry.offered,
            allowance=allowances(),
        )

    @cached_property
    def requests(self) -> RequestsOnce:
        """The memory of requests that carry a key."""
        return RequestsOnce(self._settings.idempotency_table, clients.dynamodb())

    def answer(
        self,
        question: Question,
        deadline: Deadline,
        context: Any,
        *,
        on_text: Callable[[str], None] | None = None,
        on_tool: OnTool | None = None,
    ) -> Answer:
        """Answer a question, and count it. Raises what Assistant.answer raises, and TurnInProgress."""
        try:
            answer = self._answer(question, deadline, context, on_text, on_tool)
        except (NoModelAnswered, TurnTimedOut) as error:
            _count_failures(error.failures)
            raise
        _count_failures(answer.failures)
        _count_tools(answer.tool_runs)
        if not answer.replayed:
            _count_turn(answer, deadline)
        return answer

    def _answer(
        self,
        question: Question,
        deadline: Deadline,
        context: Any,
        on_text: Callable[[str], None] | None,
        on_tool: OnTool | None,
    ) -> Answer:
        if question.request is None:
            return self.assistant.answer(question, deadline, on_text=on_text, on_tool=on_tool)
        answers: list[Answer] = []

        def work() -> str:
            answers.append(self.assistant.answer(question, deadline, on_text=on_text, on_tool=on_tool))
            return answers[0].turn.turn_id

        try:
            self.requests.run(question.subject, question.request, context, work)
        except StoreUnavailable:
            # The answer counts, and the store has its own marker of this request, even when it cannot be noted here.
            if not answers:
                raise
        answer = answers[0] if answers else self.assistant.replay(question)
        if answer is None:
            raise ConversationNotFound("The conversation of this request was deleted.")
        return answer


def conversation_table(table: str, content_key_arn: str, *, retention_days: int = 30) -> ConversationTable:
    """The conversation store. Its cipher is on the way while the caller waits for passages and a model."""
    cipher = InBackground(lambda: ContentCipher(content_key_arn, clients.kms()))
    return ConversationTable(table, clients.dynamodb(), cipher, retention_days=retention_days)


def check_message(message: str) -> None:
    """Raises PayloadTooLarge or ValidationFailed for a message that no turn takes."""
    if len(message) > MESSAGE_LENGTH:
        raise PayloadTooLarge(f"`message` has at most {MESSAGE_LENGTH} characters; this one has {len(message)}.")
    if not message.strip():
        raise ValidationFailed("`message` is empty.")


def request_key(key: str | None, *, message: str, conversation_id: str | None, role: str) -> RequestKey | None:
    """The identity of a request that carries an idempotency key. Raises ValidationFailed for a malformed key."""
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
        raise ValidationFailed(f"An idempotency key has 1 to {KEY_LENGTH} printable characters.")
    content = "\0".join((conversation_id or "", role, message))
    return RequestKey(key=key, fingerprint=hmac.new(key.encode(), content.encode(), hashlib.sha256).hexdigest())


def _count_failures(failures: tuple[ModelFailure, ...]) -> None:
    for failure in failures:
        logger.warning("A model did not answer", model=failure.model_id, reason=failure.reason)
        metrics.add_metric(name="ModelFallbacks", unit=MetricUnit.Count, value=1)


def _count_tools(runs: tuple[ToolRun, ...]) -> None:
    for run in runs:
        metrics.add_metric(name="ToolRuns", unit=MetricUnit.Count, value=1)
        if run.error_kind is not None:
            logger.warning("A tool failed", tool=run.name, kind=run.error_kind)
            metrics.add_metric(name="ToolFailures", unit=MetricUnit.Count, value=1)


def _count_turn(answer: Answer, deadline: Deadline) -> None:
    usage = answer.turn.usage
    metrics.add_metric(name="Turns", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="TurnLatency", unit=MetricUnit.Milliseconds, value=round(deadline.elapsed * 1000))
    count_usage(usage)
    if answer.turn.model == GUARDRAIL:
        metrics.add_metric(name="GuardrailInterventions", unit=MetricUnit.Count, value=1)
    if answer.turn.knowledge == "unavailable":
        metrics.add_metric(name="KnowledgeUnavailable", unit=MetricUnit.Count, value=1)
    logger.info(
        "Answered",
        conversation_id=answer.conversation_id,
        turn_id=answer.turn.turn_id,
        model=answer.turn.model,
        knowledge=answer.turn.knowledge,
        citations=len(answer.turn.citations),
        milliseconds=round(deadline.elapsed * 1000),
        model_milliseconds=round(model_time.seconds * 1000),
        usage=None if usage is None else msgspec.to_builtins(usage),
    )


def count_usage(usage: Usage | None) -> None:
    """Add what a turn consumed to what is spent."""
    if usage is None:
        return
    tokens = usage.input_tokens + usage.output_tokens
    metrics.add_metric(name="Tokens", unit=MetricUnit.Count, value=tokens)
    if usage.cost_usd is not None:
        metrics.add_metric(name="CostUsd", unit=MetricUnit.NoUnit, value=usage.cost_usd)
