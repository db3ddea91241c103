"""Readers in a process of their own: whatever a document does to its reader, ingestion goes on.

A document may be made to fill the memory, to keep a parser busy for hours, or to crash it. The process has little
memory and time, is given no credentials, because it gets no environment variables, and gives back nothing but sections.
"""

import importlib
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress

import msgspec

from parley.knowledge.errors import UnreadableDocument
from parley.knowledge.limits import bounded
from parley.knowledge.sections import Section

READERS = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".html": "html",
    ".htm": "html",
    ".csv": "tables",
    ".json": "records",
}
"""File endings, and the module here that reads them."""

CPU_SECONDS = 30
"""Computing time of one reading: 400 dense pages of PDF, or 16 MB of HTML, take some 4."""

WALL_SECONDS = 60
"""Time of one reading where the machine is busy."""

MEMORY_BYTES = 1024**3
"""Address space of the process: the function has 1,769 MB or more, and needs some 300 itself."""

_TOO_LONG = "The document takes too long to read; split it, or save it in a simpler form."
_TOO_LARGE = "The document takes too much memory to read; split it, or save it in a simpler form."
_DAMAGED = "The document is damaged, or too complex to be read."

# SIGABRT is how a C++ library ends when it gets no memory, and SIGKILL how the system takes it back.
_REASONS: dict[int, str] = {signal.SIGXCPU: _TOO_LONG, signal.SIGKILL: _TOO_LARGE, signal.SIGABRT: _TOO_LARGE}


class _Result(msgspec.Struct):
    """What the process gives back: the sections, or why there are none."""

    sections: list[Section] = []
    reason: str | None = None


def read_isolated(ending: str, content: bytes) -> list[Section]:
    """The sections of a document in the format of `ending`, one of `READERS`. Raises UnreadableDocument."""
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"}
    # Where Python's own libraries are, for interpreters that are told so: Lambda's is.
    environment |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()", ending]
    try:
        # The command is made of this program's own words.
        done = subprocess.run(  # noqa: S603
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadableDocument(_TOO_LONG) from error
    if done.returncode != 0:
        raise UnreadableDocument(_REASONS.get(-done.returncode, _DAMAGED))
    result = msgspec.msgpack.decode(done.stdout, type=_Result)
    if result.reason is not None:
        raise UnreadableDocument(result.reason)
    return result.sections


def main() -> None:
    """The process: a document comes on standard input, its sections go to standard output."""
    _set_limits()
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a library prints must not stand between the sections.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    content = sys.stdin.buffer.read()
    with output:
        output.write(msgspec.msgpack.encode(_result(READERS[sys.argv[1]], content)))


def _result(module: str, content: bytes) -> _Result:
    try:
        reader = importlib.import_module(f"parley.knowledge.readers.{module}")
        return _Result(sections=list(bounded(reader.read(content))))
    except UnreadableDocument as error:
        return _Result(reason=error.reason)
    except MemoryError:
        return _Result(reason=_TOO_LARGE)
    except Exception:
        # A parser met what it did not expect, and nobody can list all that it may raise then.
        return _Result(reason=_DAMAGED)


def _set_limits() -> None:
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS refuses some of them; what is left there is the time.
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value + 1))
