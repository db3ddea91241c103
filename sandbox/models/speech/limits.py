"""What ends a stream: its age, its silence, its client, or an error in any of its parts."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from sandbox.models.speech.settings import Settings


class Limits:
    """The time limits of one stream, as many times shorter than they say as the settings want."""

    def __init__(self, settings: Settings) -> None:
        self._age_scale = settings.time_scale
        self._silence_scale = settings.silence_scale or settings.time_scale
        self._started = self._heard = time.monotonic()
        self._age: tuple[float, Exception] | None = None
        self._silence: tuple[float, Exception] | None = None

    def after_start(self, seconds: float, error: Exception) -> None:
        """End the stream at this age."""
        self._age = (seconds / self._age_scale, error)

    def after_silence(self, seconds: float, error: Exception) -> None:
        """End the stream when nothing was heard for so long."""
        self._silence = (seconds / self._silence_scale, error)

    def heard(self) -> None:
        """Something came in."""
        self._heard = time.monotonic()

    async def watch(self) -> None:
        """Raise the error of the limit that is met first."""
        while True:
            ends = [(since + limit[0], limit[1]) for since, limit in self._clocks() if limit]
            end, error = min(ends, key=lambda item: item[0])
            if (left := end - time.monotonic()) <= 0:
                raise error
            await asyncio.sleep(left)

    def _clocks(self) -> list[tuple[float, tuple[float, Exception] | None]]:
        return [(self._started, self._age), (self._heard, self._silence)]


async def run_together(
    reading: Coroutine[Any, Any, None], answering: Coroutine[Any, Any, None], watching: Coroutine[Any, Any, None]
) -> None:
    """Read, answer and watch the limits at the same time, until all is answered or one of them fails."""
    tasks = [asyncio.create_task(work) for work in (reading, answering, watching)]
    answers = tasks[1]
    pending = set(tasks)
    try:
        while answers in pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
