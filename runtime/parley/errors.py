"""What can go wrong for a caller, by the code that the API documents.

Domain packages raise these (or their own subclasses); `parley.functions` turns them into responses in one place.
A message is shown to the caller: it holds no content of a conversation, no key, no name of a resource.
"""

from typing import ClassVar


class ParleyError(Exception):
    """An error with a documented code.

    `retryable`: the same request may soon succeed, so a client may repeat it by itself. `retry_after`: in how many
    seconds it may succeed; None: never.
    """

    code: ClassVar[str] = "internal"
    default_message: ClassVar[str] = "Something went wrong on our side."
    retryable: ClassVar[bool] = False
    retry_seconds: ClassVar[int] = 1

    def __init__(self, message: str | None = None, *, retry_after: int | None = None) -> None:
        self.message = message or self.default_message
        self.retry_after = retry_after if retry_after or not self.retryable else self.retry_seconds
        super().__init__(self.message)


class BadRequest(ParleyError):
    """The request cannot be understood."""

    code = "bad_request"
    default_message = "The request cannot be understood."


class InvalidJson(ParleyError):
    """The body is not JSON."""

    code = "invalid_json"
    default_message = "The body is not valid JSON."


class ValidationFailed(ParleyError):
    """The body is JSON, but not what this operation takes; the message names the field."""

    code = "validation_failed"
    default_message = "The request has a field that this operation does not accept."


class Unauthorized(ParleyError):
    """The caller is not known."""

    code = "unauthorized"
    default_message = "Sign in first."


class Forbidden(ParleyError):
    """The caller is known and may not do this."""

    code = "forbidden"
    default_message = "You may not do this."


class NotFound(ParleyError):
    """There is no such thing, or it is another user's: callers cannot tell which."""

    code = "not_found"
    default_message = "There is no such thing here."


class Conflict(ParleyError):
    """Another request is changing the same thing."""

    code = "conflict"
    default_message = "Another request is changing the same thing; try again."
    retryable = True


class PayloadTooLarge(ParleyError):
    """The request is longer than this operation takes."""

    code = "payload_too_large"
    default_message = "The request is too large."


class Throttled(ParleyError):
    """Too many requests at once."""

    code = "throttled"
    default_message = "Too many requests; try again in a moment."
    retryable = True


class QuotaExceeded(ParleyError):
    """A quota of the day is used up: repeating helps after `retry_after` seconds, which are hours."""

    code = "quota_exceeded"
    default_message = "Your quota of today is used up."


class ModelUnavailable(ParleyError):
    """No model of the role answered."""

    code = "model_unavailable"
    default_message = "No language model is available at the moment; try again."
    retryable = True
    retry_seconds = 5


class StoreUnavailable(ParleyError):
    """The store throttles or fails, after bounded retries."""

    code = "store_unavailable"
    default_message = "The store is busy; try again in a moment."
    retryable = True
    retry_seconds = 2


class KnowledgeUnavailable(ParleyError):
    """The knowledge path does not answer."""

    code = "knowledge_unavailable"
    default_message = "The knowledge base is not available at the moment; try again."
    retryable = True
    retry_seconds = 5


class DeadlineExceeded(ParleyError):
    """The time for this request has run out."""

    code = "deadline_exceeded"
    default_message = "The answer took too long; try again."
    retryable = True


class SessionUnavailable(ParleyError):
    """No worker took the voice session up in time."""

    code = "session_unavailable"
    default_message = "The voice session could not be started; try again."
    retryable = True
    retry_seconds = 2


class SessionNotStarted(ParleyError):
    """The connection has no voice session, or another connection has taken it over."""

    code = "session_not_started"
    default_message = "This connection has no voice session; send session.start first."


class LanguageUnsupported(ParleyError):
    """The environment does not speak this language."""

    code = "language_unsupported"
    default_message = "This language is not spoken here."
