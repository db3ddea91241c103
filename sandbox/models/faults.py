"""Faults that a test asks for: `POST /_faults`, a list of them, each used up by the calls that it meets."""

import asyncio
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

KINDS = {
    "ThrottlingException": 429,
    "ServiceUnavailableException": 503,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "InternalServerException": 500,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ValidationException": 400,
    "ModelStreamErrorException": 424,
    "BadRequestException": 400,
    "ConflictException": 409,
    "InternalFailureException": 500,
    "LimitExceededException": 429,
    "ServiceFailureException": 500,
    "ServiceQuotaExceededException": 402,
}
OPERATIONS = (
    "Converse",
    "ConverseStream",
    "InvokeModel",
    "InvokeModelWithBidirectionalStream",
    "SpokenAnswer",
    "StartStreamTranscription",
    "StartTranscriptionJob",
    "GetTranscriptionJob",
    "DeleteTranscriptionJob",
    "SynthesizeSpeech",
    "StartSpeechSynthesisStream",
    "*",
)


@dataclass
class Fault:
    """What happens to the next `times` calls of `model` and `operation` ("*" for any) that hold the text `containing`.

    They wait `delay` seconds, and end in `error` or lose their stream after `break_after` pieces of text or audio: with
    an exception event, or (`kill`) with their connection. `SpokenAnswer` is one answer of Nova Sonic, to words that
    hold `containing`; the other operations on streams are met when these open.
    """

    model: str = "*"
    operation: str = "*"
    containing: str = ""
    times: int = 1
    error: str | None = None
    delay: float = 0.0
    break_after: int | None = None
    kill: bool = False

    @property
    def status(self) -> int:
        """The HTTP status of its error."""
        return KINDS[self.error] if self.error else 200


class Faults:
    """The faults that still wait for their call."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, document: Any) -> None:
        """Take faults from JSON; raises `ValueError` when a field or value is none of a fault's."""
        known = {field.name for field in fields(Fault)}
        for item in document if isinstance(document, list) else [document]:
            if not isinstance(item, dict) or not item.keys() <= known:
                raise ValueError(f"a fault has the fields {', '.join(sorted(known))}; got {json.dumps(item)}")
            fault = Fault(**item)
            if fault.error is not None and fault.error not in KINDS:
                raise ValueError(f"error is one of {', '.join(KINDS)}; got {fault.error!r}")
            if fault.operation not in OPERATIONS:
                raise ValueError(f"operation is one of {', '.join(OPERATIONS)}; got {fault.operation!r}")
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget every fault."""
        self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """What has not been used up."""
        return [asdict(fault) for fault in self._waiting]

    async def meet(self, model: str, operation: str, request: str) -> Fault | None:
        """The fault of this call, its delay already spent."""
        for fault in self._waiting:
            met = fault.model in ("*", model) and fault.operation in ("*", operation)
            if met and fault.containing in request:
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                if fault.delay:
                    await asyncio.sleep(fault.delay)
                return fault
        return None
