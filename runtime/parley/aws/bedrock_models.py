"""Language models on Amazon Bedrock, through Converse and ConverseStream."""

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EventStreamError, ReadTimeoutError

from parley.aws import clients
from parley.aws.failures import error_code
from parley.conversation.models import Completion, ModelFailure, Prompt, Reason

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


class BedrockModels:
    """The LanguageModel protocol over Bedrock Runtime. `client_for` gives the client for a read timeout in seconds."""

    def __init__(self, client_for: "Callable[[int], BedrockRuntimeClient]" = clients.bedrock_runtime) -> None:
        self._client_for = client_for

    def generate(
        self, model_id: str, prompt: Prompt, *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """See LanguageModel."""
        # Whole seconds, so that a handful of clients serves every deadline; down, so that the share is kept.
        client = self._client_for(max(1, math.floor(timeout_seconds)))
        request: dict[str, Any] = {
            "modelId": model_id,
            "system": [{"text": prompt.system}],
            "messages": [{"role": message.role, "content": [{"text": message.text}]} for message in prompt.messages],
            "inferenceConfig": {"maxTokens": prompt.max_tokens},
        }
        ends_at = time.monotonic() + timeout_seconds
        try:
            if on_text is None:
                completion = _completed(client.converse(**request))
            else:
                events: Iterable[Any] = client.converse_stream(**request)["stream"]
                completion = _streamed(model_id, events, on_text, ends_at)
        except (ReadTimeoutError, ConnectTimeoutError) as error:
            raise ModelFailure(model_id, "timeout") from error
        except EventStreamError as error:
            raise ModelFailure(model_id, _reason(error), error_code(error)) from error
        except ClientError as error:
            raise ModelFailure(model_id, _reason(error), error_code(error)) from error
        except BotoCoreError as error:
            raise ModelFailure(model_id, "unavailable", type(error).__name__) from error
        if not completion.text.strip():
            raise ModelFailure(model_id, "unavailable", "empty answer")
        return completion


def _completed(response: Any) -> Completion:
    blocks = response["output"]["message"]["content"]
    usage = response["usage"]
    return Completion(
        text="".join(block.get("text", "") for block in blocks),
        input_tokens=usage["inputTokens"],
        output_tokens=usage["outputTokens"],
    )


def _streamed(model_id: str, events: Iterable[Any], on_text: Callable[[str], None], ends_at: float) -> Completion:
    pieces: list[str] = []
    usage = {"inputTokens": 0, "outputTokens": 0}
    for event in events:
        # The read timeout starts again with every event: only this check ends a stream that trickles.
        if time.monotonic() > ends_at:
            raise ModelFailure(model_id, "timeout", "stream")
        if "contentBlockDelta" in event:
            text = event["contentBlockDelta"]["delta"].get("text", "")
            if text:
                pieces.append(text)
                on_text(text)
        elif "metadata" in event:
            usage = event["metadata"].get("usage", usage)
    return Completion(text="".join(pieces), input_tokens=usage["inputTokens"], output_tokens=usage["outputTokens"])


def _reason(error: ClientError) -> Reason:
    code = error_code(error)
    # In a stream the codes come as the event's name, which begins in lower case.
    return REASONS.get(code[:1].upper() + code[1:], "unavailable")
