"""What `up` is doing, shown as it happens: a spinner in a terminal, lines elsewhere, never silent for long."""

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape

_LONGEST_SILENCE = 4.0
_SHORTEST_PAUSE = 1.0


class Progress:
    """Steps that run side by side; each has a name and says what it is at."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._started = time.monotonic()
        self._steps: dict[str, str] = {}
        self._lock = threading.Lock()
        self._spoke = time.monotonic()
        self._stopped = threading.Event()
        self._status = self.console.status("starting") if self.console.is_terminal else None
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Progress":
        if self._status:
            self._status.start()
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._heart.join()
        if self._status:
            self._status.stop()

    def update(self, step: str, detail: str) -> None:
        """Say what a step is at now."""
        with self._lock:
            news = self._steps.get(step) != detail and time.monotonic() - self._spoke > _SHORTEST_PAUSE
            self._steps[step] = detail
        if self._status:
            self._show()
        elif news:
            self._print(f"{step}: {detail}")

    def done(self, step: str, result: str) -> None:
        """Say that a step has ended, and with what."""
        with self._lock:
            self._steps.pop(step, None)
        self._print(f"{step}: {result}", done=True)

    def _beat(self) -> None:
        while not self._stopped.wait(0.5):
            if self._status:
                self._show()
            elif time.monotonic() - self._spoke > _LONGEST_SILENCE:
                with self._lock:
                    running = "; ".join(f"{step}: {detail}" for step, detail in self._steps.items())
                self._print(f"still at {running or 'work'}")

    def _show(self) -> None:
        with self._lock:
            running = " · ".join(f"{step}: {detail}" for step, detail in self._steps.items())
        if self._status:
            width = max(20, self.console.width - 14)
            self._status.update(f"{self._elapsed()} {escape(running[:width])}")

    def _print(self, line: str, *, done: bool = False) -> None:
        self._spoke = time.monotonic()
        mark = "[green]✓[/green]" if done else " "
        self.console.print(f"{self._elapsed()} {mark} {escape(line)}", soft_wrap=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:5.1f} s"
