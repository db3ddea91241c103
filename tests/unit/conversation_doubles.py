"""Stands in for models, stores and Lambda in tests of conversations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from parley.conversation.errors import ConversationNotFound
from parley.conversation.models import Completion, ModelFailure, Prompt
from parley.conversation.store import Exchange, History, Page, StoredAnswer
from parley.conversation.tools.tool import ToolUse
from parley.conversation.turns import Conversation, RequestKey, Turn
from parley.errors import KnowledgeUnavailable
from parley.knowledge.passages import Passage


@dataclass
class Context:
    """A Lambda context with `seconds` left."""

    seconds: float = 29.0
    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:function"
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class Clock:
    """A clock that moves when told."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Model:
    """Answers by script: for each model id a list of failures to raise, or of texts to say and tools to ask for in
    pieces; then `answer`.
    """

    script: dict[str, list[ModelFailure | list[str | ToolUse | ModelFailure]]] = field(default_factory=dict)
    answer: str = "An answer."
    spends: float = 0.0
    clock: Clock = field(default_factory=Clock)
    calls: list[tuple[str, float]] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.calls.append((model_id, timeout_seconds))
        self.prompts.append(prompt)
        self.clock.sleep(min(self.spends, timeout_seconds))
        steps = self.script.get(model_id)
        step = steps.pop(0) if steps else [self.answer]
        if isinstance(step, ModelFailure):
            raise step
        said: list[str] = []
        uses: list[ToolUse] = []
        for piece in step:
            if isinstance(piece, ModelFailure):
                raise piece
            if isinstance(piece, ToolUse):
                uses.append(piece)
                continue
            said.append(piece)
            if on_text:
                on_text(piece)
        return Completion(text="".join(said), input_tokens=100, output_tokens=10, tool_uses=tuple(uses))


@dataclass
class Store:
    """Conversations in memory."""

    turns_by_id: dict[tuple[str, str], list[Turn]] = field(default_factory=dict)
    answers: dict[tuple[str, str], StoredAnswer] = field(default_factory=dict)
    before_append: Callable[[], None] = lambda: None

    def history(self, subject: str, conversation_id: str, limit: int) -> History:
        turns = self.turns_by_id.get((subject, conversation_id))
        if turns is None:
            raise ConversationNotFound
        return History(turns=turns[-limit:], turn_count=len(turns))

    def append(self, subject: str, conversation_id: str, exchange: Exchange, *, turn_count: int) -> None:
        self.before_append()
        turns = self.turns_by_id.setdefault((subject, conversation_id), [])
        assert len(turns) == turn_count
        turns += [exchange.question, exchange.answer]
        if exchange.request:
            self.remember(subject, conversation_id, exchange.request, exchange.answer)

    def remember(self, subject: str, conversation_id: str, request: RequestKey, turn: Turn) -> None:
        stored = StoredAnswer(conversation_id=conversation_id, turn=turn, fingerprint=request.fingerprint)
        self.answers[subject, request.digest] = stored

    def answer_to(self, subject: str, request: RequestKey) -> StoredAnswer | None:
        return self.answers.get((subject, request.digest))

    def page(self, subject: str, limit: int, cursor: str | None) -> Page:
        return Page(conversations=(), cursor=None)

    def conversation(self, subject: str, conversation_id: str) -> Conversation:
        raise ConversationNotFound

    def turns(self, subject: str, conversation_id: str) -> Iterator[Turn]:
        return iter(self.turns_by_id.get((subject, conversation_id), []))

    def delete(self, subject: str, conversation_id: str) -> None:
        self.turns_by_id.pop((subject, conversation_id), None)


@dataclass
class Library:
    """A retriever over a list of passages, or none at all."""

    passages: list[Passage] | None
    asked: list[tuple[str, str, float | None]] = field(default_factory=list)

    def retrieve(
        self, subject: str, query: str, *, top_k: int = 5, timeout_seconds: float | None = None
    ) -> list[Passage]:
        self.asked.append((subject, query, timeout_seconds))
        if self.passages is None:
            raise KnowledgeUnavailable
        return self.passages[:top_k]


def passage(number: int = 1, **changes: Any) -> Passage:
    """A passage of a document."""
    values: dict[str, Any] = {
        "document_id": f"doc-{number}",
        "document": f"file-{number}.md",
        "text": f"Text {number}.",
        "score": 0.9,
        "owner": "shared",
        "heading": "Top > Part",
    }
    return Passage(**values | changes)


def turn(role: str = "user", text: str = "Hello", **changes: Any) -> Turn:
    """A stored message."""
    values: dict[str, Any] = {"turn_id": "t", "role": role, "text": text, "created_at": "2026-11-21T09:00:00.000Z"}
    return Turn(**values | changes)


def throttled(model_id: str) -> ModelFailure:
    """A model that throttles."""
    return ModelFailure(model_id, "throttled", "ThrottlingException")
