"""Hot reads through DynamoDB Accelerator (DAX), and around it while it does not answer.

amazondax's client connects when it is made, has no fallback of its own, and its timeouts are for single socket
operations: a peer that sends a byte now and then holds it for as long as it likes. So a read runs in a thread of its
own, and who asked waits for it no longer than `DEADLINE_SECONDS`.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from amazondax import AmazonDaxClient
from botocore.config import Config

DEADLINE_SECONDS = 0.8
"""The most that a cluster in trouble costs a read, connecting included. A healthy one takes milliseconds."""

COOL_DOWN_SECONDS = 30.0
"""How long a cluster in trouble is left alone."""

IDLE_SECONDS = 60.0
"""A connection that was unused for longer is not trusted: functions are frozen between their invocations."""

MAX_KEYS = 100
"""Items of one batch read: DynamoDB's limit."""

type _Answer = Mapping[str, Any]


class DaxClient(Protocol):
    """What is used of amazondax's client."""

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> _Answer:
        """As DynamoDB's."""

    def close(self) -> None:
        """Close every connection; may take seconds."""


def connect(endpoint: str) -> DaxClient:
    """A connected client of the cluster at `endpoint` (`daxs://host`). Raises what keeps it from connecting."""
    client: DaxClient = AmazonDaxClient(endpoint_url=endpoint, config=Config(connect_timeout=1, read_timeout=1))
    return client


class DaxReads:
    """The ItemCache protocol over a DAX cluster, with a circuit breaker.

    A read that fails or takes too long opens the circuit: for `COOL_DOWN_SECONDS` nobody asks the cluster, and then
    one read tries it again with a new connection.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        on_fallback: Callable[[Exception | None], None],
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[str], DaxClient] = connect,
    ) -> None:
        """`on_fallback` hears of every read that the cluster did not answer, with the reason if it was asked."""
        self._endpoint = endpoint
        self._on_fallback = on_fallback
        self._clock = clock
        self._connect = connect
        self._turn = threading.Lock()
        self._open_until = float("-inf")
        self._client: DaxClient | None = None
        self._used_at = 0.0

    def get(self, table: str, keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """See ItemCache. An item may be as old as the cluster's time to live allows."""
        # A function's process serves one request at a time; should two meet, one goes to the table.
        if not self._turn.acquire(blocking=False):
            self._on_fallback(None)
            return []
        try:
            return self._get(table, keys)
        finally:
            self._turn.release()

    def _get(self, table: str, keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        if self._clock() < self._open_until:
            self._on_fallback(None)
            return []
        if self._clock() - self._used_at > IDLE_SECONDS:
            self._drop_client()
        read = _Read(self._client, lambda: self._connect(self._endpoint), {table: {"Keys": list(keys[:MAX_KEYS])}})
        try:
            self._client, answer = read.wait(DEADLINE_SECONDS)
        except Exception as error:
            self._drop_client()
            self._open_until = self._clock() + COOL_DOWN_SECONDS
            self._on_fallback(error)
            return []
        self._used_at = self._clock()
        items: list[Mapping[str, Any]] = answer["Responses"].get(table, [])
        return items

    def _drop_client(self) -> None:
        if self._client is not None:
            threading.Thread(target=self._client.close, daemon=True, name="dax-close").start()
        self._client = None


class _Read:
    """One read in a thread of its own, which connects first where there is no client yet."""

    def __init__(self, client: DaxClient | None, connect: Callable[[], DaxClient], request: Mapping[str, Any]) -> None:
        self._given = client
        self._connect = connect
        self._request = request
        self._outcome: SimpleQueue[tuple[DaxClient, _Answer] | Exception] = SimpleQueue()
        self._lock = threading.Lock()
        self._abandoned = False
        # A daemon: one that hangs does not keep the process from ending, as a pool's thread would.
        threading.Thread(target=self._run, daemon=True, name="dax-read").start()

    def wait(self, seconds: float) -> tuple[DaxClient, _Answer]:
        """The client that was used, and its answer. Raises what went wrong, or TimeoutError."""
        try:
            outcome = self._outcome.get(timeout=seconds)
        except Empty:
            with self._lock:
                self._abandoned = self._outcome.empty()
            if self._abandoned:
                raise TimeoutError from None
            outcome = self._outcome.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self) -> None:
        client = self._given
        outcome: tuple[DaxClient, _Answer] | Exception
        try:
            client = client or self._connect()
            outcome = client, client.batch_get_item(RequestItems=self._request)
        except Exception as error:
            outcome = error
        with self._lock:
            self._outcome.put(outcome)
            unwanted = self._abandoned or isinstance(outcome, Exception)
        # Nobody else knows of a client that was made here and is not handed over.
        if unwanted and client is not None and client is not self._given:
            client.close()
