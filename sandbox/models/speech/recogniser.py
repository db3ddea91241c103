"""The best recogniser that is installed, in a process of its own: streams stay live while it works."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from sandbox.models.speech.heard import Heard


class Engine(Protocol):
    """What hears: one utterance at a time."""

    name: str

    def learn(self, texts: Sequence[str], questions: Sequence[str], grammar: Sequence[str]) -> int:
        """Expect to hear of `texts`, above all `questions`, or only `grammar`; returns how many words it knows."""

    def hear(self, pcm: bytes, language: str | None) -> Heard:
        """The words of an utterance of 16-bit samples at 16 kHz."""


def best_engine() -> Engine:
    """faster-whisper with a model on this machine, else pocketsphinx."""
    from sandbox.models.speech.sphinx import Sphinx
    from sandbox.models.speech.whisper import find_whisper

    return find_whisper() or Sphinx()


class Recogniser:
    """The engine, started by its first use and stopped by `close`. Utterances wait for one another."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._learned: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())
        self.waiting = 0

    async def name(self) -> str:
        """Which engine listens."""
        return await self._run(_name)

    async def learn(self, texts: Sequence[str], questions: Sequence[str], grammar: Sequence[str]) -> int:
        """See `Engine.learn`."""
        self._learned = (tuple(texts), tuple(questions), tuple(grammar))
        return await self._run(_learn, *self._learned)

    async def hear(self, pcm: bytes, language: str | None = None) -> Heard:
        """See `Engine.hear`."""
        return await self._run(_hear, pcm, language)

    def close(self) -> None:
        """Stop the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _run[*A, T](self, work: Callable[[*A], T], *arguments: *A) -> T:
        self.waiting += 1
        try:
            try:
                return await self._submit(work, *arguments)
            except BrokenProcessPool:
                # It was killed, perhaps for its memory: another one learns the same and goes on.
                self.close()
                await self._submit(_learn, *self._learned)
                return await self._submit(work, *arguments)
        finally:
            self.waiting -= 1

    async def _submit[*A, T](self, work: Callable[[*A], T], *arguments: *A) -> T:
        if self._pool is None:
            # Not forked: this process has threads, and espeak-ng's state.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_start)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


# Below: in the recogniser's own process.

_engine: list[Engine] = []


def _start() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _engine.append(best_engine())


def _end_with_parent() -> None:
    """A server that is killed cannot stop its recogniser."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _name() -> str:
    return _engine[0].name


def _learn(texts: tuple[str, ...], questions: tuple[str, ...], grammar: tuple[str, ...]) -> int:
    return _engine[0].learn(texts, questions, grammar)


def _hear(pcm: bytes, language: str | None) -> Heard:
    return _engine[0].hear(pcm, language)
