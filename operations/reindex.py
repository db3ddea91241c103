"""`scripts/reindex`: builds the vector index anew beside the one in use, or in another store, and switches to it."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from parley.aws import clients
from parley.aws.chunk_scan import ChunkScan
from parley.aws.opensearch_http import OpenSearchRefused
from parley.errors import KnowledgeUnavailable, StoreUnavailable
from parley.functions.knowledge_parts import KnowledgeSettings, embedder, index_opener, index_record
from parley.knowledge.index_slots import Phase
from parley.knowledge.reindexing import Progress, ReindexError, Reindexing, Result
from parley.settings import SettingsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from operations import command
from operations.environment import LOCAL, Environment, OperationError, resolve
from sandbox.state import State

EMBEDDING_ATTEMPTS = 8
"""Nobody waits; the SDK's backoff reaches 20 s between attempts."""

_LINE_EVERY = 0.1
"""Without a terminal a line is written each time this share of the chunks is done."""

_DOING = {
    Phase.PREPARING: "Emptying {index}",
    Phase.BUILDING: "Building {index}",
    Phase.RETIRING: "Keeping {index} until nobody reads it",
    Phase.EMPTYING: "Emptying {index}",
}
_EXAMPLES = """\
  scripts/reindex                             the sandbox's index
  scripts/reindex --env dev                   an environment on AWS, with the credentials in your shell
  scripts/reindex --env dev --to s3vectors    into another store that is deployed
  scripts/reindex --env dev --cancel          give an unfinished one up"""
_NOTES = "Run it again after any interruption: it carries on. docs/how-to/reindex.md says more."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return command.run(_work, options, interrupted="Interrupted: run it again, and it carries on.")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "reindex",
        description="Build the vector index anew beside the one in use, and switch to it at the end.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="STORE", help="the store to build it in (default: the environment's vectorStore)")
    what.add_argument("--cancel", action="store_true", help="give up an unfinished reindex and empty what it built")
    parser.add_argument("--keep-old", action="store_true", help="leave the old index as it is at the switch")
    return parser


def _work(options: argparse.Namespace) -> int:
    environment = resolve(options.env, options.region)
    try:
        with _progress(quiet=options.json) as on_progress:
            result = _run(environment, options, on_progress)
    except (ReindexError, SettingsError) as error:
        raise OperationError(str(error)) from error
    except (StoreUnavailable, KnowledgeUnavailable) as error:
        what = "The embedding model" if isinstance(error, KnowledgeUnavailable) else "A store"
        raise OperationError(
            f"{what} of {options.env} does not answer or is throttled: run it again later, and it carries on."
        ) from error
    except OpenSearchRefused as error:
        raise OperationError(
            f"{error}. A collection admits whom a data access policy names: see docs/how-to/reindex.md."
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise OperationError(f"AWS refused: {error}") from error
    print(_as_json(result) if options.json else _in_words(result, cancelled=options.cancel))
    return command.DONE


def _run(environment: Environment, options: argparse.Namespace, on_progress: Callable[[Progress], None]) -> Result:
    settings = _settings(environment)
    reindexing = Reindexing(
        record=index_record(settings),
        stored=ChunkScan(settings.knowledge_table, clients.dynamodb()),
        embedder=embedder(settings, attempts=EMBEDDING_ATTEMPTS),
        stores=settings.vector_stores(),
        open=index_opener(settings),
        on_progress=on_progress,
    )
    if options.cancel:
        return reindexing.cancel()
    return reindexing.run(options.to or settings.vector_store, keep_old=options.keep_old)


def _settings(environment: Environment) -> KnowledgeSettings:
    """The settings that the environment's functions have. This process's AWS clients are led to where theirs go."""
    variables = environment.function_settings("Ingestion")
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = environment.region
    if environment.name == LOCAL:
        there = environment.client_options
        os.environ["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL_S3"] = there["endpoint_url"]
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = State.locate().outputs()["models_url"]
        os.environ["AWS_ACCESS_KEY_ID"] = there["aws_access_key_id"]
        os.environ["AWS_SECRET_ACCESS_KEY"] = there["aws_secret_access_key"]
        os.environ.pop("AWS_SESSION_TOKEN", None)
    return KnowledgeSettings.load(variables)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("Starting", total=None)

            def show(progress: Progress) -> None:
                total = max(progress.total, progress.copied) if progress.phase is Phase.BUILDING else None
                bar.update(task, description=_doing(progress), completed=progress.copied, total=total)

            yield show
    else:
        yield _Lines(console)


class _Lines:
    """Progress in lines, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: tuple[str, int] | None = None

    def __call__(self, progress: Progress) -> None:
        doing = _doing(progress)
        share = progress.copied / progress.total if progress.total else 0
        news = doing, int(share / _LINE_EVERY)
        if news != self._said:
            self._said = news
            counted = f": {progress.copied} of {progress.total} chunks" if progress.total else ""
            self._console.print(f"{doing}{counted}", soft_wrap=True)


def _doing(progress: Progress) -> str:
    return _DOING[progress.phase].format(index=progress.index)


def _in_words(result: Result, *, cancelled: bool) -> str:
    if cancelled:
        return f"Given up: {result.active} stays the index in use."
    if not result.expected and not result.found:
        return f"An earlier run had switched to {result.active} already; now it is finished."
    return f"{result.active} is the index in use now: {result.found} chunks, {result.copied} of them added here."


def _as_json(result: Result) -> str:
    return json.dumps(
        {
            "active": str(result.active),
            "previous": str(result.previous) if result.previous else None,
            "copied": result.copied,
            "expected": result.expected,
            "found": result.found,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
