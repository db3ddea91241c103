"""What can go wrong in a conversation, beside the shared errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parley.errors import Conflict, DeadlineExceeded, ModelUnavailable, NotFound, ValidationFailed

if TYPE_CHECKING:
    from parley.conversation.models import ModelFailure


class ConversationNotFound(NotFound):
    """The caller has no conversation of this id."""

    default_message = "You have no conversation of this id."


class ConversationBusy(Conflict):
    """Other turns of the same conversation were stored meanwhile, again and again."""

    default_message = "Other turns of this conversation are being stored; try again."


class TurnInProgress(Conflict):
    """The same request is being answered at this moment."""

    default_message = "This request is being answered; try again in a moment to read the answer."
    retry_seconds = 2


class RequestKeyReused(ValidationFailed):
    """The idempotency key belongs to an earlier, different request."""

    default_message = "This idempotency key was used for a different request; use a new key."


class AlreadyAnswered(Exception):
    """The store holds an answer to this request: a retry that overlapped with the first attempt."""


class NoModelAnswered(ModelUnavailable):
    """Every model of the role failed; `failures` says how."""

    def __init__(self, failures: Sequence["ModelFailure"] = ()) -> None:
        super().__init__()
        self.failures = tuple(failures)


class TurnTimedOut(DeadlineExceeded):
    """The turn's time ran out before any model had answered; `failures` says what was tried."""

    def __init__(self, failures: Sequence["ModelFailure"] = ()) -> None:
        super().__init__()
        self.failures = tuple(failures)
