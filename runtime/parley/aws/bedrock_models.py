"""Language models on Amazon Bedrock, through Converse and ConverseStream."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EventStreamError, ReadTimeoutError

from parley.aws import clients
from parley.aws.failures import error_code
from parley.aws.inline_thoughts import WithoutThoughts
from parley.conversation.models import Completion, Message, ModelFailure, Prompt, Reason
from parley.conversation.tools.tool import ToolSpec, ToolUse

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime.client import BedrockRuntimeClient

REASONS: dict[str, Reason] = {
    "ThrottlingException": "throttled",
    "ServiceQuotaExceededException": "throttled",
    "TooManyRequestsException": "throttled",
    "ModelTimeoutException": "timeout",
    "ModelNotReadyException": "unavailable",
    "ModelErrorException": "unavailable",
    "ModelStreamErrorException": "unavailable",
    "ServiceUnavailableException": "unavailable",
    "InternalServerException": "unavailable",
    # Not enabled for the account, retired, or unknown in this region: another model may well answer.
    "AccessDeniedException": "rejected",
    "ResourceNotFoundException": "rejected",
    "ValidationException": "rejected",
}


TOOLS_REFUSED = "support tool use"
"""What Bedrock says of a model that knows no tools, or none while it streams, holds these words."""


INTERVENED = "guardrail_intervened"
"""The stop reason of an answer that the guardrail blocked or changed; its text is what the guardrail puts there."""

BLOCKED = "I cannot answer that."
"""What is said when a guardrail says nothing in the place of what it blocked."""


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail of Amazon Bedrock: its id or ARN, and its version (a number, or `DRAFT`)."""

    id: str
    version: str


class BedrockModels:
    """The LanguageModel protocol over Bedrock Runtime. `client_for` gives the client for a read timeout in seconds.

    A `guardrail` judges the user's question and the answer.
    """

    def __init__(
        self,
        client_for: "Callable[[int], BedrockRuntimeClient]" = clients.bedrock_runtime,
        *,
        guardrail: Guardrail | None = None,
    ) -> None:
        self._client_for = client_for
        self._guardrail = guardrail
        self._without_tools: set[tuple[str, bool]] = set()

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """See LanguageModel."""
        # Whole seconds, so that a handful of clients serves every deadline; down, so that the share is kept.
        client = self._client_for(max(1, math.floor(timeout_seconds)))
        request: dict[str, Any] = {
            "modelId": model_id,
            "system": [{"text": prompt.system}],
            "messages": [{"role": message.role, "content": _blocks(message)} for message in prompt.messages],
            "inferenceConfig": {"maxTokens": prompt.max_tokens},
        }
        if self._guardrail is not None:
            request["guardrailConfig"] = {
                "guardrailIdentifier": self._guardrail.id,
                "guardrailVersion": self._guardrail.version,
                # Nothing is said before it is judged.
                **({"streamProcessingMode": "sync"} if on_text is not None else {}),
            }
            _guard_question(prompt, request["messages"])
        ends_at = time.monotonic() + timeout_seconds
        way = (model_id, on_text is not None)
        if prompt.tools and (way not in self._without_tools or _is_about_tools(prompt)):
            request["toolConfig"] = {"tools": [_tool(spec) for spec in prompt.tools]}
        try:
            completion = self._call(client, request, on_text, ends_at)
        except ModelFailure as failure:
            if not _refuses_tools(failure) or _is_about_tools(prompt):
                raise
            # It answers all the same, from the passages that it was given; and is not offered tools again.
            self._without_tools.add(way)
            del request["toolConfig"]
            completion = self._call(client, request, on_text, ends_at)
        if completion.guarded and not completion.text.strip():
            completion = msgspec.structs.replace(completion, text=BLOCKED)
            if on_text is not None:
                on_text(BLOCKED)
        if not completion.text.strip() and not completion.tool_uses:
            raise ModelFailure(model_id, "unavailable", "empty answer")
        return completion

    @staticmethod
    def _call(
        client: "BedrockRuntimeClient",
        request: dict[str, Any],
        on_text: Callable[[str], None] | None,
        ends_at: float,
    ) -> Completion:
        model_id = request["modelId"]
        thoughts = WithoutThoughts() if "amazon.nova" in model_id and "toolConfig" in request else None
        try:
            if on_text is None:
                return _completed(client.converse(**request), thoughts)
            events: Iterable[Any] = client.converse_stream(**request)["stream"]
            return _streamed(model_id, events, on_text, ends_at, thoughts)
        except (ReadTimeoutError, ConnectTimeoutError) as error:
            raise ModelFailure(model_id, "timeout") from error
        except EventStreamError as error:
            raise ModelFailure(model_id, _reason(error), error_code(error)) from error
        except ClientError as error:
            raise ModelFailure(model_id, _reason(error), error_code(error)) from error
        except BotoCoreError as error:
            raise ModelFailure(model_id, "unavailable", type(error).__name__) from error


def _blocks(message: Message) -> list[dict[str, Any]]:
    # No `status` in a result: not every model takes one, and an error says so in its content.
    blocks: list[dict[str, Any]] = [
        {"toolResult": {"toolUseId": use_id, "content": [{"json": result.content}]}}
        for use_id, result in message.tool_results.items()
    ]
    if message.text.strip() or not (message.tool_uses or message.tool_results):
        blocks.append({"text": message.text})
    for use in message.tool_uses:
        arguments = use.arguments if isinstance(use.arguments, Mapping) else {}
        blocks.append({"toolUse": {"toolUseId": use.id, "name": use.name, "input": arguments}})
    return blocks


def _guard_question(prompt: Prompt, messages: list[dict[str, Any]]) -> None:
    """Mark what the guardrail is to judge. Without a mark it would judge the whole history again in each turn, so that
    a conversation in which it has blocked something once would be blocked for good."""
    for position in range(len(prompt.messages) - 1, -1, -1):
        message = prompt.messages[position]
        if message.role == "user" and message.text.strip():
            before, question, after = message.text.rpartition(prompt.question or message.text)
            judged = {"guardContent": {"text": {"text": question or message.text}}}
            first, last = ([{"text": text}] if text.strip() else [] for text in (before, after))
            messages[position]["content"] = [*first, judged, *last]
            return


def _tool(spec: ToolSpec) -> dict[str, Any]:
    schema = {"json": dict(spec.input_schema)}
    return {"toolSpec": {"name": spec.name, "description": spec.description, "inputSchema": schema}}


def _is_about_tools(prompt: Prompt) -> bool:
    return any(message.tool_uses or message.tool_results for message in prompt.messages)


def _refuses_tools(failure: ModelFailure) -> bool:
    cause = failure.__cause__
    return (
        failure.reason == "rejected"
        and isinstance(cause, ClientError)
        and TOOLS_REFUSED in str(cause.response.get("Error", {}).get("Message", ""))
    )


def _completed(response: Any, thoughts: WithoutThoughts | None) -> Completion:
    blocks = response["output"]["message"]["content"]
    usage = response["usage"]
    text = "".join(block.get("text", "") for block in blocks)
    guarded = response.get("stopReason") == INTERVENED
    uses = [] if guarded else [block["toolUse"] for block in blocks if "toolUse" in block]
    return Completion(
        text=thoughts.feed(text) + thoughts.rest() if thoughts else text,
        input_tokens=usage["inputTokens"],
        output_tokens=usage["outputTokens"],
        tool_uses=tuple(ToolUse(use["toolUseId"], use["name"], use["input"]) for use in uses),
        guarded=guarded,
    )


def _streamed(
    model_id: str,
    events: Iterable[Any],
    on_text: Callable[[str], None],
    ends_at: float,
    thoughts: WithoutThoughts | None,
) -> Completion:
    pieces: list[str] = []
    uses: dict[int, dict[str, str]] = {}
    usage = {"inputTokens": 0, "outputTokens": 0}
    guarded = False

    def say(text: str) -> None:
        if text:
            pieces.append(text)
            on_text(text)

    for event in events:
        # The read timeout starts again with every event: only this check ends a stream that trickles.
        if time.monotonic() > ends_at:
            raise ModelFailure(model_id, "timeout", "stream")
        if "contentBlockStart" in event:
            block = event["contentBlockStart"]
            if use := block["start"].get("toolUse"):
                uses[block["contentBlockIndex"]] = {"id": use["toolUseId"], "name": use["name"], "input": ""}
        elif "contentBlockDelta" in event:
            block = event["contentBlockDelta"]
            if use := block["delta"].get("toolUse"):
                uses[block["contentBlockIndex"]]["input"] += use["input"]
            text = block["delta"].get("text", "")
            say(thoughts.feed(text) if thoughts else text)
        elif "messageStop" in event:
            guarded = event["messageStop"].get("stopReason") == INTERVENED
        elif "metadata" in event:
            usage = event["metadata"].get("usage", usage)
    say(thoughts.rest() if thoughts else "")
    return Completion(
        text="".join(pieces),
        input_tokens=usage["inputTokens"],
        output_tokens=usage["outputTokens"],
        tool_uses=()
        if guarded
        else tuple(ToolUse(use["id"], use["name"], _arguments(use["input"])) for use in uses.values()),
        guarded=guarded,
    )


def _arguments(text: str) -> Any:
    try:
        # A tool without arguments is asked for with none at all.
        return json.loads(text or "{}")
    except ValueError:
        return text


def _reason(error: ClientError) -> Reason:
    code = error_code(error)
    # In a stream the codes come as the event's name, which begins in lower case.
    return REASONS.get(code[:1].upper() + code[1:], "unavailable")
