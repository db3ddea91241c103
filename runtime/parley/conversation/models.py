"""Language models: what a turn asks of one, and how the next one takes over."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from parley.conversation.deadline import Deadline
from parley.conversation.errors import NoModelAnswered, TurnTimedOut
from parley.conversation.tools.tool import ToolResult, ToolSpec, ToolUse

type ModelRole = Literal["quick", "reasoning", "summary"]
type Reason = Literal["throttled", "timeout", "unavailable", "rejected"]

ROUNDS = 2
"""How often the list of models is tried: throttling often passes within a second."""

BACKOFF_SECONDS = 0.5
"""The longest pause between two rounds; the pause is random, so that callers spread out."""

SHORTEST_CALL_SECONDS = 0.5
"""With less time than this there is no use in asking a model."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a prompt: text, what the assistant asks of tools, or what they gave."""

    role: Literal["user", "assistant"]
    text: str = ""
    tool_uses: tuple[ToolUse, ...] = ()
    """The assistant's; the next message holds a result for each."""
    tool_results: Mapping[str, ToolResult] = {}
    """In a user's message: the results of the message before it, by the ids of their ToolUses."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is given: instructions, and messages that begin and end with the user's and alternate."""

    system: str
    messages: Sequence[Message]
    max_tokens: int = 2048
    tools: Sequence[ToolSpec] = ()
    """What the model may ask for. Messages about tools need them here."""
    question: str = ""
    """What the user said last, as it stands in the last message that is no tool's: a guardrail judges that, and neither
    passages nor what was judged in its own turn. Empty: all of that message."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered: text, uses of tools, or both."""

    text: str
    input_tokens: int
    output_tokens: int
    tool_uses: tuple[ToolUse, ...] = ()
    guarded: bool = False
    """Did a guardrail block or change it? Then `text` is what it leaves, and the model asks for no tools."""


class ModelFailure(Exception):
    """One model did not answer. `rejected` (it will not take this request) is not worth a second try."""

    def __init__(self, model_id: str, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{model_id}: {reason} {detail}".rstrip())
        self.model_id = model_id
        self.reason = reason


class LanguageModel(Protocol):
    """Calls one model once."""

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """The model's answer, within `timeout_seconds`; with `on_text`, also piece by piece as it comes.

        A model that cannot use tools answers without them, as long as no message is about one. Raises ModelFailure,
        and whatever `on_text` raises.
        """


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, which model gave it, and which failed before."""

    model_id: str
    completion: Completion
    failures: tuple[ModelFailure, ...]


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The models of each role, best first, behind one call."""

    model: LanguageModel
    ids_by_role: Mapping[str, Sequence[str]]
    pause: Callable[[float], None] = time.sleep

    def generate(
        self,
        role: ModelRole,
        prompt: Prompt,
        deadline: Deadline,
        *,
        reserve: float = 0.0,
        on_text: Callable[[str], None] | None = None,
        first: str | None = None,
        alone: bool = False,
    ) -> Choice:
        """The answer of the role's first model that gives one, leaving `reserve` seconds of the deadline.

        The time left is shared among the models still to be asked. Once a piece has gone to `on_text` no other model
        takes over, because its answer would continue another's sentence. `first` is the model that an answer was begun
        with: it is asked before the others, or `alone`, when some of its text has been given out. Raises
        NoModelAnswered or TurnTimedOut, both with the failures.
        """
        failures: list[ModelFailure] = []
        spoken = False

        def speak(text: str) -> None:
            nonlocal spoken
            spoken = True
            if on_text is not None:
                on_text(text)

        candidates = [model_id for model_id in self.ids_by_role.get(role, ()) if model_id != first]
        if first is not None:
            candidates = [first] if alone else [first, *candidates]
        for round_number in range(ROUNDS):
            if round_number and candidates:
                self.pause(random.uniform(0.1, BACKOFF_SECONDS))  # noqa: S311 - spreads callers out, guards nothing
            for position, model_id in enumerate(candidates):
                seconds = deadline.share(len(candidates) - position, reserve=reserve)
                if seconds < SHORTEST_CALL_SECONDS:
                    raise TurnTimedOut(failures)
                try:
                    completion = self.model.generate(
                        model_id, prompt, timeout_seconds=seconds, on_text=speak if on_text else None
                    )
                except ModelFailure as failure:
                    failures.append(failure)
                    if spoken:
                        raise NoModelAnswered(failures) from failure
                else:
                    return Choice(model_id=model_id, completion=completion, failures=tuple(failures))
            rejected = {failure.model_id for failure in failures if failure.reason == "rejected"}
            candidates = [model_id for model_id in candidates if model_id not in rejected]
        raise NoModelAnswered(failures)
