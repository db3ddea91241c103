"""An answer in rounds: the model speaks or asks for tools, gets what they give, and goes on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from parley.conversation.deadline import Deadline
from parley.conversation.errors import NoModelAnswered, TurnTimedOut
from parley.conversation.models import Choice, Message, ModelChoice, ModelFailure, ModelRole, Prompt
from parley.conversation.prices import cost_usd
from parley.conversation.prompts import LAST_CALL
from parley.conversation.tools.running import TOOL_SECONDS, run_tool
from parley.conversation.tools.tool import Tool, ToolCall, ToolResult, ToolUse
from parley.conversation.turns import Usage
from parley.knowledge.passages import Passage, Retriever

MODEL_CALLS = 4
"""How often a model is asked for one answer; before the last it is told that no tool can be used any more."""

TOOLS_AT_ONCE = 4
"""Tools that run for one call of the model; of more than that it is told that they did not."""

BETWEEN_ROUNDS = "\n\n"
"""Between what a model said before it used a tool and what it says after."""

type ToolStatus = Literal["started", "done", "failed"]
type OnTool = Callable[[str, ToolStatus], None]


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """For whom tools run, and with what."""

    subject: str
    conversation_id: str | None
    retriever: Retriever | None


class ToolRun(msgspec.Struct, frozen=True, kw_only=True):
    """That a tool ran; `error_kind` says how it failed, if it did."""

    name: str
    error_kind: str | None = None


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: its text, and what it took. `passages` stand under the numbers that the text cites, from 1."""

    text: str
    model_id: str
    usage: Usage
    passages: Sequence[Passage]
    failures: tuple[ModelFailure, ...] = ()
    tool_runs: tuple[ToolRun, ...] = ()
    guarded: bool = False
    """Did a guardrail block or change what the user or the model said?"""


class Rounds:
    """One answer in the making."""

    def __init__(
        self,
        models: ModelChoice,
        role: ModelRole,
        deadline: Deadline,
        *,
        tools: Mapping[str, Tool],
        asker: Asker,
        reserve: float,
        on_text: Callable[[str], None] | None = None,
        on_tool: OnTool | None = None,
    ) -> None:
        self._models = models
        self._role = role
        self._deadline = deadline
        self._tools = tools
        self._asker = asker
        self._reserve = reserve
        self._on_text = on_text
        self._on_tool = on_tool or (lambda _name, _status: None)
        self._passages: list[Passage] = []
        self._choices: list[Choice] = []
        self._runs: list[ToolRun] = []

    def answer(self, prompt: Prompt, passages: Sequence[Passage]) -> Conclusion:
        """The answer to a prompt that holds `passages`. Raises NoModelAnswered or TurnTimedOut, with all failures."""
        self._passages = list(passages)
        messages = list(prompt.messages)
        for number in range(MODEL_CALLS):
            last = number == MODEL_CALLS - 1
            system = f"{prompt.system}\n\n{LAST_CALL}" if last else prompt.system
            completion = self._ask(msgspec.structs.replace(prompt, system=system, messages=messages)).completion
            if last or not completion.tool_uses:
                break
            results = self._run(completion.tool_uses)
            messages += [
                Message(role="assistant", text=completion.text, tool_uses=completion.tool_uses),
                Message(role="user", tool_results=results),
            ]
        if not self._said.strip():
            model_id = self._choices[-1].model_id
            raise NoModelAnswered([*self._failures, ModelFailure(model_id, "unavailable", "asks for tools only")])
        return self._conclusion()

    @property
    def _said(self) -> str:
        return BETWEEN_ROUNDS.join(choice.completion.text for choice in self._choices if choice.completion.text)

    @property
    def _failures(self) -> tuple[ModelFailure, ...]:
        return tuple(failure for choice in self._choices for failure in choice.failures)

    def _ask(self, prompt: Prompt) -> Choice:
        said = bool(self._said)
        fresh = said

        def speak(text: str) -> None:
            nonlocal fresh
            if self._on_text is not None:
                self._on_text(BETWEEN_ROUNDS + text if fresh else text)
            fresh = False

        try:
            choice = self._models.generate(
                self._role,
                prompt,
                self._deadline,
                reserve=self._reserve,
                on_text=speak if self._on_text else None,
                first=self._choices[-1].model_id if self._choices else None,
                # While nobody has read anything of it, another model may take over.
                alone=said and self._on_text is not None,
            )
        except (NoModelAnswered, TurnTimedOut) as error:
            raise type(error)([*self._failures, *error.failures]) from error
        self._choices.append(choice)
        return choice

    def _run(self, uses: Sequence[ToolUse]) -> dict[str, ToolResult]:
        results: dict[str, ToolResult] = {}
        for position, use in enumerate(uses):
            if position >= TOOLS_AT_ONCE:
                error = f"At most {TOOLS_AT_ONCE} tools run at once; this one did not."
                results[use.id] = ToolResult(content={"error": error}, is_error=True, error_kind="too_many")
                continue
            result = self._run_one(use)
            self._passages += result.passages
            results[use.id] = result
        return results

    def _run_one(self, use: ToolUse) -> ToolResult:
        # A name that the model made up goes nowhere.
        name = use.name if use.name in self._tools else "unknown"
        self._on_tool(name, "started")
        result = run_tool(
            ToolCall(
                name=use.name,
                arguments=use.arguments,
                subject=self._asker.subject,
                conversation_id=self._asker.conversation_id,
                deadline=self._deadline,
                retriever=self._asker.retriever,
                passages=tuple(self._passages),
            ),
            self._tools,
            # At most half of what is left: the model has yet to answer.
            timeout_seconds=min(TOOL_SECONDS, self._deadline.share(2, reserve=self._reserve)),
        )
        self._on_tool(name, "failed" if result.is_error else "done")
        self._runs.append(ToolRun(name=name, error_kind=(result.error_kind or "error") if result.is_error else None))
        return result

    def _conclusion(self) -> Conclusion:
        costs = [
            cost_usd(choice.model_id, choice.completion.input_tokens, choice.completion.output_tokens)
            for choice in self._choices
        ]
        known = [cost for cost in costs if cost is not None]
        return Conclusion(
            text=self._said,
            model_id=self._choices[-1].model_id,
            usage=Usage(
                input_tokens=sum(choice.completion.input_tokens for choice in self._choices),
                output_tokens=sum(choice.completion.output_tokens for choice in self._choices),
                # A sum that leaves a call out would be too low.
                cost_usd=round(sum(known), 9) if len(known) == len(costs) else None,
            ),
            passages=tuple(self._passages),
            failures=self._failures,
            tool_runs=tuple(self._runs),
            guarded=any(choice.completion.guarded for choice in self._choices),
        )
