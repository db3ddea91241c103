"""The project's own documentation as the assistant's first knowledge."""

import asyncio
from collections.abc import Callable

from operations.api import Api, NoKnowledgeBase
from operations.documents import Ingest, Outcome, Result, find
from operations.environment import LOCAL, OperationError, resolve
from operations.memory import FILE, Memory
from operations.sign_in import as_demo_user
from sandbox.state import PROJECT, SandboxError

_PATIENCE = 90.0


def load_docs(report: Callable[[str], None]) -> int:
    """Make `docs/` the shared documents: new ones added, changed ones replaced, removed ones deleted.

    Returns how many were indexed: none without a knowledge base. Raises `SandboxError` when one of them is not.
    """
    try:
        return asyncio.run(_load(report))
    except NoKnowledgeBase:
        return 0
    except OperationError as error:
        raise SandboxError(str(error)) from error


async def _load(report: Callable[[str], None]) -> int:
    environment = resolve(LOCAL)
    docs = PROJECT / "docs"
    files = find(sorted(docs.rglob("*.md"))).files

    def say(result: Result | None) -> None:
        report(f"{len(ingest.results)} of {len(files)} documents ready")

    with Memory.open(environment.folder / FILE) as memory:
        async with Api(environment.api_url, as_demo_user(environment), trust_env=False) as api:
            ingest = Ingest(api, memory, shared=True, patience=_PATIENCE, report=say)
            await ingest.run(files)
            for path in memory.paths():
                if path.is_relative_to(docs) and not path.exists():
                    await ingest.delete(path)
    for result in ingest.results.values():
        if result.outcome is Outcome.FAILED:
            raise SandboxError(f"{result.path.relative_to(PROJECT)} could not be indexed: {result.reason}")
    return sum(result.outcome in (Outcome.INDEXED, Outcome.REPLACED) for result in ingest.results.values())
