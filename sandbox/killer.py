"""Kills processes that run functions, as a machine that fails would: tests and the soak see what survives it."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from sandbox.people import Sandbox

# What is killed before it has taken its messages leaves them to the queue's own visibility timeout, half an hour: the
# clock of tests runs faster. All else has the function's own times.
VISIBILITY_SECONDS = 15


@contextmanager
def impatient_queue(sandbox: Sandbox) -> Iterator[None]:
    """While it lasts, the documents queue brings back sooner what nobody has taken."""
    sqs, url = sandbox.aws("sqs"), sandbox.function("ingestion")["Environment"]["Variables"]["DOCUMENTS_QUEUE_URL"]
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


class Killer(threading.Thread):
    """Kills one process after another, each chosen at random; as a context manager, as long as that lasts.

    `module` is the module of `parley.functions` whose processes are meant; None means any function's, each function
    with the same chance. `pause` says how many seconds pass before the next one, and `at_most` how many are killed.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        pause: Callable[[random.Random], float],
        module: str | None = None,
        at_most: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._sandbox = sandbox
        self._name = None if module is None else sandbox.function(module)["FunctionName"]
        self._pause = pause
        self._at_most = at_most
        self._random = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self._enough = threading.Event()
        self.killed: Counter[str] = Counter()
        """How many, by function name."""

    def run(self) -> None:
        """Until it is stopped, or has killed enough."""
        while self.killed.total() != self._at_most and not self._enough.wait(self._pause(self._random)):
            self._kill_one()

    def stop(self) -> None:
        """Kill no more."""
        self._enough.set()
        self.join()

    def __enter__(self) -> "Killer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _kill_one(self) -> None:
        running: dict[str, list[psutil.Process]] = {}
        for process, name in self._sandbox.all_running().items():
            if self._name in {None, name}:
                running.setdefault(name, []).append(process)
        if not running:
            return
        name = self._random.choice(sorted(running))
        with suppress(psutil.NoSuchProcess):
            self._random.choice(sorted(running[name], key=lambda process: process.pid)).kill()
            self.killed[name] += 1
