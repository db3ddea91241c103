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
