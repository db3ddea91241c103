"""What signatures of version 4 are made of, kept for as long as it stays the same.

Reference: "Create a signed AWS API request" in the IAM user guide.
"""

import hmac
import time
from functools import lru_cache


def moment(seconds: float) -> str:
    """A time, in seconds since the epoch, as signatures name it; the first eight characters are its day."""
    return _moment(int(seconds))


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def signature(text: str, *, secret: str, day: str, region: str, service: str) -> bytes:
    """What signs a text on one day, in one region, for one service."""
    signing = _signing(secret, day, region, service).copy()
    signing.update(text.encode())
    return signing.digest()


@lru_cache(maxsize=8)
def _signing(secret: str, day: str, region: str, service: str) -> hmac.HMAC:
    """A signature that signs nothing yet: to begin from its copy takes less than from its key."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")
