"""AWS errors as the errors that callers know."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from parley.errors import StoreUnavailable

THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "LimitExceededException",
        "429",
        "KMSInternalException",
    }
)

_STORE_THROTTLED = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""DynamoDB's codes for a request that a table or the account had no capacity for."""

_store_throttles: list[None] = []
"""One entry for each, so far: `append` and `clear` are safe in any thread."""


def note_store_answer(code: str) -> None:
    """Take notice of the error code that DynamoDB gave one attempt: a retry hides that there was one."""
    if code in _STORE_THROTTLED:
        _store_throttles.append(None)


def take_store_throttles() -> int:
    """How many attempts DynamoDB has refused for want of capacity since the last call."""
    count = len(_store_throttles)
    del _store_throttles[:count]
    return count


def error_code(error: ClientError) -> str:
    """The service's own code of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_passing(error: BotoCoreError | ClientError) -> bool:
    """Is this the service's trouble (throttled, unreachable, failing) rather than a mistake in the call?"""
    if isinstance(error, BotoCoreError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status == 408 or error_code(error) in THROTTLED


@contextmanager
def store_errors() -> Iterator[None]:
    """Throttling, timeouts and outages become StoreUnavailable; a mistake in the call stays what it is."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if not is_passing(error):
            raise
        raise StoreUnavailable from error
