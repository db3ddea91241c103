"""A turn: history and passages to a model, its answer to the store."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from parley.conversation.citations import cited_passages
from parley.conversation.deadline import Deadline
from parley.conversation.errors import AlreadyAnswered, ConversationNotFound, RequestKeyReused
from parley.conversation.models import ModelChoice, ModelFailure, ModelRole
from parley.conversation.prompts import HISTORY_MESSAGES, build_prompt
from parley.conversation.quotas import Allowances
from parley.conversation.rounds import Asker, OnTool, Rounds, ToolRun
from parley.conversation.store import ConversationStore, Exchange, History
from parley.conversation.tools.tool import Tool
from parley.conversation.turns import GUARDRAIL, Knowledge, RequestKey, Turn, is_id, new_id, timestamp, title_of
from parley.errors import ParleyError
from parley.knowledge.passages import Passage, Retriever

PASSAGES = 5
"""Passages given to the model: with chunks of 512 tokens, about 2,500 tokens."""

RETRIEVAL_SECONDS = 8.0
"""The longest that a turn waits for passages: a retrieval function's cold start, and no more."""

STORE_SECONDS = 3.0
"""What a model call leaves of the deadline for storing the turn and answering."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks. `turn_id` names the answer, so that it can be announced before it is complete."""

    subject: str
    message: str
    conversation_id: str | None = None
    role: ModelRole = "quick"
    request: RequestKey | None = None
    turn_id: str = msgspec.field(default_factory=lambda: new_id(datetime.now(UTC)))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A stored answer. `failures` are the models that failed before one answered; `replayed`: it was stored before.

    `source_urls` open the cited documents for a few minutes, by the citations' ids. A replayed answer has none.
    """

    conversation_id: str
    turn: Turn
    failures: tuple[ModelFailure, ...] = ()
    tool_runs: tuple[ToolRun, ...] = ()
    replayed: bool = False
    source_urls: Mapping[int, str] = {}


class OfferTools(Protocol):
    """Chooses tools for a model."""

    def __call__(self, *, knowledge: bool) -> Mapping[str, Tool]:
        """The tools by name; without `knowledge` none that needs documents."""


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


def no_tools(*, knowledge: bool) -> Mapping[str, Tool]:
    """Offers the model no tool."""
    return {}


class Assistant(msgspec.Struct, frozen=True, kw_only=True):
    """Answers questions. Without a retriever, knowledge is off; without an allowance, tokens have no limit.

    `tools` gives those that a model is offered, by name, with or without knowledge.
    """

    store: ConversationStore
    models: ModelChoice
    retriever: Retriever | None = None
    tools: OfferTools = no_tools
    allowance: Allowances | None = None
    now: Callable[[], datetime] = utc_now

    def answer(
        self,
        question: Question,
        deadline: Deadline,
        *,
        on_text: Callable[[str], None] | None = None,
        on_tool: OnTool | None = None,
    ) -> Answer:
        """Answer and store; with `on_text`, the answer's pieces as they come, and with `on_tool` the use of tools.

        A request that was answered before gets the stored answer again, and costs nothing of the user's allowance.
        Raises ConversationNotFound, NoModelAnswered, TurnTimedOut, QuotaExceeded, RequestKeyReused, ConversationBusy or
        StoreUnavailable; then nothing is stored.
        """
        if question.request and (stored := self.replay(question)):
            return stored
        if self.allowance is not None:
            self.allowance.check_tokens(question.subject)
        asked_at = self.now()
        conversation_id = question.conversation_id or new_id(asked_at)
        history = self._history(question)
        passages, knowledge = self._passages(question, deadline)
        # A knowledge path that has just failed is not asked again: it would take the models' time.
        tools = self.tools(knowledge=knowledge in {"used", "none"})
        prompt = build_prompt(
            history.turns,
            question.message,
            passages,
            knowledge_unavailable=knowledge == "unavailable",
            tools=[tool.spec for tool in tools.values()],
        )
        asker = Asker(subject=question.subject, conversation_id=conversation_id, retriever=self.retriever)
        rounds = Rounds(
            self.models,
            question.role,
            deadline,
            tools=tools,
            asker=asker,
            reserve=STORE_SECONDS,
            on_text=on_text,
            on_tool=on_tool,
        )
        conclusion = rounds.answer(prompt, passages)
        turn = Turn(
            turn_id=question.turn_id,
            role="assistant",
            text=conclusion.text,
            created_at=timestamp(self.now()),
            citations=cited_passages(conclusion.text, conclusion.passages),
            knowledge="used" if conclusion.passages else knowledge,
            model=GUARDRAIL if conclusion.guarded else conclusion.model_id,
            usage=conclusion.usage,
        )
        asked = Turn(turn_id=new_id(asked_at), role="user", text=question.message, created_at=timestamp(asked_at))
        exchange = Exchange(question=asked, answer=turn, title=title_of(question.message), request=question.request)
        try:
            self.store.append(question.subject, conversation_id, exchange, turn_count=history.turn_count)
        except AlreadyAnswered:
            if stored := self.replay(question):
                return stored
            raise ConversationNotFound from None
        if self.allowance is not None:
            # By whoever stored the turn, so that one that is asked for twice is counted once.
            self.allowance.spend_tokens(
                question.subject, conclusion.usage.input_tokens + conclusion.usage.output_tokens
            )
        links = {citation.id: conclusion.passages[citation.id - 1].source_url for citation in turn.citations}
        return Answer(
            conversation_id=conversation_id,
            turn=turn,
            failures=conclusion.failures,
            tool_runs=conclusion.tool_runs,
            source_urls={id_: url for id_, url in links.items() if url is not None},
        )

    def replay(self, question: Question) -> Answer | None:
        """The stored answer to this very request, if there is one. Raises RequestKeyReused when it was another."""
        if question.request is None:
            return None
        stored = self.store.answer_to(question.subject, question.request)
        if stored is None:
            return None
        if stored.fingerprint != question.request.fingerprint:
            raise RequestKeyReused
        return Answer(conversation_id=stored.conversation_id, turn=stored.turn, replayed=True)

    def _history(self, question: Question) -> History:
        if question.conversation_id is None:
            return History(turns=(), turn_count=0)
        if not is_id(question.conversation_id):
            raise ConversationNotFound
        return self.store.history(question.subject, question.conversation_id, HISTORY_MESSAGES)

    def _passages(self, question: Question, deadline: Deadline) -> tuple[Sequence[Passage], Knowledge]:
        if self.retriever is None:
            return (), "off"
        # At most a third of what is left, so that a silent knowledge path cannot take the models' time.
        seconds = min(RETRIEVAL_SECONDS, deadline.share(3, reserve=STORE_SECONDS))
        try:
            passages = self.retriever.retrieve(
                question.subject, question.message, top_k=PASSAGES, timeout_seconds=seconds
            )
        except ParleyError:
            return (), "unavailable"
        return passages, "used" if passages else "none"
