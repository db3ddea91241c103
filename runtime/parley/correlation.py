"""The id by which everything that one request caused is found, from the browser to the last function.

A process works for one request at a time, so the id is the process's: its threads have it, too.
"""

import re
from typing import Any

HEADER = "x-request-id"
"""By which a client may choose the id, and by which it learns of it."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_current: str | None = None


def begin(correlation_id: str | None) -> None:
    """From now on the work is this request's."""
    global _current
    _current = correlation_id


def current() -> str | None:
    """The id of the request that is worked on; it goes along with whatever is asked of another function."""
    return _current


def chosen_by_client(value: Any) -> str | None:
    """A client's own id. Only a UUID will do: anything else might say something, and ids stand in every log."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None
