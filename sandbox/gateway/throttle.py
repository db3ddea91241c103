"""Token buckets, one per throttled route."""

import time
from collections.abc import Callable, Hashable

from sandbox.gateway.deployment import Throttle


class Throttler:
    """API Gateway's throttling: `rate` requests a second, `burst` at once, for each key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def admit(self, key: Hashable, throttle: Throttle) -> bool:
        """Take a token for `key`; False when there is none. A rate of None admits everything, a rate of 0 nothing."""
        if throttle.rate is None:
            return True
        capacity = float(throttle.burst if throttle.burst is not None else max(1.0, throttle.rate))
        now = self._clock()
        tokens, updated = self._buckets.get(key, (capacity, now))
        tokens = min(capacity, tokens + (now - updated) * throttle.rate)
        admitted = tokens >= 1
        self._buckets[key] = (tokens - 1 if admitted else tokens, now)
        return admitted
