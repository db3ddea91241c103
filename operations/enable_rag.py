"""`scripts/enable-rag`: turns an environment's documents on, brings some in, and asks about them."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from operations import command, deploy, ingest
from operations.assembly import ROOT
from operations.command import LOCAL, OperationError
from operations.environment import Environment, resolve
from operations.sign_in import add_arguments as add_sign_in_arguments
from operations.sign_in import sign_in

FLAG = "enableRag"
SECONDS = 60.0

_EXAMPLES = """\
  scripts/enable-rag docs --question "How large may a WebSocket frame be?"
  scripts/enable-rag handbook/ --env dev --user ada@example.com --shared
  scripts/enable-rag handbook/ --env dev --yes --json"""

_NOTES = """\
The flag is written into cdk.json, whose layout stays as it is: keep the change. What is on already is left alone, so
that it can be run again after any interruption."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "enable-rag",
        description="Turn an environment's documents on, bring some in, and ask about them.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument("--question", default="What are these documents about?", help="what to ask at the end")
    parser.add_argument("--shared", action="store_true", help="documents that everyone reads (for curators)")
    parser.add_argument("--yes", action="store_true", help="do not ask before the deployment")
    add_sign_in_arguments(parser)
    return command.run(_work, parser.parse_args(arguments), interrupted="Interrupted: run it again, and it goes on.")


def _work(options: argparse.Namespace) -> int:
    if missing := [path for path in options.paths if not path.exists()]:
        raise OperationError(f"There is nothing at {missing[0]}.")
    who = _who(options)
    if options.env != LOCAL and not who and not os.environ.keys() & {"PARLEY_USER", "PARLEY_TOKEN", "PARLEY_API_KEY"}:
        raise OperationError("Say who brings the documents in: --user NAME, or a token in PARLEY_TOKEN.")
    changed = turn_on(ROOT / "cdk.json", options.env)
    note = f"{FLAG} is on in {options.env} now: keep the change of cdk.json." if changed else f"{FLAG} is on already."
    print(note, file=sys.stderr)
    if changed or not _is_deployed(options):
        place = ["--env", options.env, *(["--region", options.region] if options.region else [])]
        if deployed := _quietly(deploy.main, [*place, *who, *(["--yes"] if options.yes else [])], options):
            return deployed
    place = ["--env", options.env, *(["--region", options.region] if options.region else [])]
    paths = [str(path) for path in options.paths]
    if taken := _quietly(ingest.main, [*paths, *place, *who, *(["--shared"] if options.shared else [])], options):
        raise OperationError(f"Not every document was taken (status {taken}): run it again, and it goes on.")
    environment = resolve(options.env, options.region)
    answer = asyncio.run(_ask(environment, options))
    if options.json:
        command.print_json({"environment": options.env, "changed": changed, "answer": answer})
    else:
        print(f"\n{options.question}\n\n{answer['message']}\n")
        for citation in answer.get("citations", []):
            print(f"  [{citation['id']}] {citation['document']}")
    if not answer.get("citations"):
        print("It answered, but cited no document.", file=sys.stderr)
        return command.FAILED
    return command.DONE


def turn_on(file: Path, env: str) -> bool:
    """Set the flag of an environment in a cdk.json, leaving every other character of it. Returns whether it was off.

    Raises OperationError when there is no such environment.
    """
    text = file.read_text()
    every = json.loads(text)["context"]["environments"]
    if env not in every:
        raise OperationError(f"cdk.json has no environment {env}; it has {', '.join(every)}.")
    flags = every[env]
    blueprint_is_without = flags.get("blueprint") == "personal-chatbot"
    if flags.get(FLAG, not blueprint_is_without) in (True, "true"):
        return False
    start, end = _object_of(text, env)
    body = text[start:end]
    if FLAG in flags:
        body = re.sub(rf'("{FLAG}"\s*:\s*)("?false"?)', r"\1true", body, count=1)
    else:
        first = re.match(r"\{(\s*)", body)
        space = first[1] if first else ""
        body = f'{{{space}"{FLAG}": true' + (f",{body[1:]}" if flags else "}")
    changed = text[:start] + body + text[end:]
    if json.loads(changed)["context"]["environments"][env].get(FLAG) is not True:
        raise OperationError(f"cdk.json could not be changed by itself: set {FLAG} to true in {env}.")
    file.write_text(changed)
    return True


def _object_of(text: str, env: str) -> tuple[int, int]:
    """Where the object of an environment stands in the text of a cdk.json."""
    outer = text.index("{", text.index('"environments"'))
    position, decoder = outer + 1, json.JSONDecoder()
    while match := re.compile(r'\s*,?\s*"((?:[^"\\]|\\.)*)"\s*:\s*').match(text, position):
        _, end = decoder.raw_decode(text, match.end())
        if json.loads(f'"{match[1]}"') == env:
            return match.end(), end
        position = end
    raise OperationError(f"cdk.json has no environment {env}.")


def _is_deployed(options: argparse.Namespace) -> bool:
    try:
        return "Retrieval" in resolve(options.env, options.region).functions
    except OperationError:
        return False


def _who(options: argparse.Namespace) -> list[str]:
    if options.user:
        return ["--user", options.user]
    return ["--token", options.token] if options.token else []


def _quietly(main_: Any, arguments: list[str], options: argparse.Namespace) -> int:
    """Run another command; its words go to standard error where this one's result is JSON."""
    if not options.json:
        return int(main_(arguments))
    with contextlib.redirect_stdout(sys.stderr):
        return int(main_(arguments))


async def _ask(environment: Environment, options: argparse.Namespace) -> dict[str, Any]:
    token = await sign_in(options, environment).token()
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    started = time.monotonic()
    async with httpx.AsyncClient(
        base_url=environment.api_url, timeout=SECONDS, trust_env=environment.name != LOCAL
    ) as http:
        try:
            response = await http.post("/chat", json={"message": options.question}, headers=headers)
            answer: dict[str, Any] = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise OperationError(f"The documents are in, but the question was not answered: {error}") from error
    return answer | {"seconds": round(time.monotonic() - started, 2)}


if __name__ == "__main__":
    sys.exit(main())
