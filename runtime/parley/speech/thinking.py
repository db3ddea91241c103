"""What the cascade says: a language model's answer, sentence by sentence while the model still writes it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence

from parley.conversation.deadline import Deadline
from parley.conversation.models import Completion, Message, ModelChoice, Prompt
from parley.conversation.prompts import LAST_CALL, alternating
from parley.conversation.rounds import MODEL_CALLS
from parley.conversation.tools.tool import ToolResult, ToolSpec, ToolUse
from parley.speech.sentences import Sentences

ANSWER_SECONDS = 25.0
"""For each time that a model is asked, its fallbacks included."""

MAX_TOKENS = 700
"""Of a spoken answer: more than anybody listens to."""


class Cancelled(Exception):
    """Nobody wants the model's answer any more."""


class Thinking:
    """One answer in the making. `say` takes each sentence, `use` runs tools; both in the event loop."""

    def __init__(
        self,
        models: ModelChoice,
        *,
        language: str,
        say: Callable[[str], None],
        use: Callable[[Sequence[ToolUse]], Awaitable[Mapping[str, ToolResult]]],
    ) -> None:
        self._models = models
        self._language = language
        self._say = say
        self._use = use
        self._cancelled = threading.Event()
        self._model_id: str | None = None
        self._said = False
        self.input_tokens = self.output_tokens = 0
        """What the models have read and written so far."""

    def cancel(self) -> None:
        """Stop listening to the model; its call ends with the next thing that it writes."""
        self._cancelled.set()

    async def answer(self, system: str, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        """Ask until the model has no more use for tools. Raises NoModelAnswered or TurnTimedOut."""
        messages = alternating([message for message in messages if message.text.strip()])
        while messages[0].role != "user":
            messages.pop(0)
        for number in range(MODEL_CALLS):
            last = number == MODEL_CALLS - 1
            prompt = Prompt(
                system=f"{system}\n\n{LAST_CALL}" if last else system,
                messages=messages,
                max_tokens=MAX_TOKENS,
                tools=tools,
            )
            completion = await self._generate(prompt)
            if last or not completion.tool_uses:
                return
            results = await self._use(completion.tool_uses)
            messages = [
                *messages,
                Message(role="assistant", text=completion.text, tool_uses=completion.tool_uses),
                Message(role="user", tool_results=results),
            ]

    async def _generate(self, prompt: Prompt) -> Completion:
        """Ask in a thread, and pass sentences on as they come."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def tell(piece: str | None) -> None:
            # The thread may outlive the call, and the call the loop.
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def on_text(text: str) -> None:
            if self._cancelled.is_set():
                raise Cancelled
            tell(text)

        def ask() -> tuple[str, Completion]:
            try:
                choice = self._models.generate(
                    "quick",
                    prompt,
                    Deadline.after(ANSWER_SECONDS),
                    on_text=on_text,
                    first=self._model_id,
                    # Another model would not know how its sentence began.
                    alone=self._said and self._model_id is not None,
                )
                return choice.model_id, choice.completion
            finally:
                tell(None)

        asking = asyncio.create_task(asyncio.to_thread(ask))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        sentences = Sentences(self._language)
        while (piece := await pieces.get()) is not None:
            for sentence in sentences.feed(piece):
                self._tell(sentence)
        for sentence in sentences.finish():
            self._tell(sentence)
        self._model_id, completion = await asking
        self.input_tokens += completion.input_tokens
        self.output_tokens += completion.output_tokens
        return completion

    def _tell(self, sentence: str) -> None:
        self._said = True
        self._say(sentence)
