"""`scripts/smoke`: tries a deployed environment through its public interfaces, once each."""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from parley_client import INPUT_RATE, Answer, Audio, Ended, ParleyError, Problem, Session

from operations import command
from operations.command import LOCAL, Check, Mark, OperationError
from operations.environment import Environment, resolve
from operations.sign_in import SignIn, sign_in
from operations.sign_in import add_arguments as add_sign_in_arguments

PATIENCE = 60.0
"""Seconds for one check: cold functions, a model, and as long again as API Gateway waits for either."""

_ATTEMPTS = 3
_QUESTION = "In one short sentence: what is this assistant for?"
_PIECE_SECONDS = 0.1

_EXAMPLES = """\
  scripts/smoke                                  the sandbox, as its demo user
  scripts/smoke --env dev --user ada@example.com
  PARLEY_TOKEN=... scripts/smoke --env prod --json"""

_NOTES = """\
It asks for the health, signs in, asks one question by HTTP and one over the WebSocket, searches the documents, and has
one session with a voice, where the environment has these. The conversations that it made are deleted at the end."""


class _Wrong(Exception):
    """A check's failure, in words."""


class _Absent(Exception):
    """What a check would try is not there, and need not be; in words."""


@dataclass(slots=True)
class _Tried:
    """What one check found, and the conversation that it made."""

    said: str
    conversation_id: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = command.parser(
        "smoke",
        description="Try a deployed environment through its public interfaces.",
        examples=_EXAMPLES,
        notes=_NOTES,
    )
    add_sign_in_arguments(parser)
    return command.run(_work, parser.parse_args(arguments))


def _work(options: argparse.Namespace) -> int:
    environment = resolve(options.env, options.region)
    checks = smoke(environment, sign_in(options, environment))
    if options.json:
        command.print_json(
            {
                "environment": environment.name,
                "passed": not command.is_failed(checks),
                "checks": [check.document() for check in checks],
            }
        )
    else:
        command.print_checks(checks)
    if command.is_failed(checks):
        print(f"{environment.name} does not work as it should: see the list.", file=sys.stderr)
        return command.FAILED
    return command.DONE


def smoke(environment: Environment, who: SignIn | None) -> list[Check]:
    """Try the environment as somebody; without anybody to be, only what needs no sign-in."""
    return asyncio.run(_Smoke(environment, who).run())


class _Smoke:
    def __init__(self, environment: Environment, who: SignIn | None) -> None:
        self._environment = environment
        self._who = who
        # Loopback is never reached through a proxy.
        self._trust_env = environment.name != LOCAL
        self._http = httpx.AsyncClient(
            base_url=environment.api_url, timeout=httpx.Timeout(PATIENCE, connect=10), trust_env=self._trust_env
        )
        self._token = ""
        self._conversations: list[str] = []

    async def run(self) -> list[Check]:
        async with self._http:
            checks = [await self._check("health", self._health)]
            if self._who is None:
                reason = "nobody signed in: give --user, PARLEY_TOKEN or PARLEY_API_KEY"
                return [*checks, *(Check(what, Mark.SKIPPED, reason) for what in self._wanted())]
            checks.append(await self._check("sign-in", self._sign_in))
            if checks[-1].mark is Mark.FAILED:
                return checks
            try:
                for what, check in self._wanted().items():
                    checks.append(await self._check(what, check))
            finally:
                checks.append(await self._check("clean-up", self._clean_up))
        return checks

    def _wanted(self) -> dict[str, Callable[[], Awaitable[_Tried]]]:
        wanted: dict[str, Callable[[], Awaitable[_Tried]]] = {"chat": self._chat}
        if "Retrieval" in self._environment.functions:
            wanted["rag query"] = self._rag_query
        wanted["WebSocket turn"] = self._websocket_turn
        if "VoiceWorker" in self._environment.functions:
            wanted["voice session"] = self._voice_session
        return wanted

    async def _check(self, what: str, check: Callable[[], Awaitable[_Tried]]) -> Check:
        started = time.monotonic()
        mark, said = Mark.OK, ""
        try:
            async with asyncio.timeout(PATIENCE):
                tried = await check()
            said = tried.said
            if tried.conversation_id:
                self._conversations.append(tried.conversation_id)
        except _Absent as reason:
            mark, said = Mark.SKIPPED, str(reason)
        except TimeoutError:
            mark, said = Mark.FAILED, f"no answer within {PATIENCE:.0f} s"
        except (_Wrong, ParleyError, OperationError) as error:
            mark, said = Mark.FAILED, str(error)
        except httpx.HTTPError as error:
            mark, said = Mark.FAILED, f"{self._environment.api_url} does not answer: {error or type(error).__name__}"
        remedy = f"scripts/logs --env {self._environment.name} --since 5m" if mark is Mark.FAILED else ""
        return Check(what, mark, said, remedy, seconds=time.monotonic() - started)

    async def _health(self) -> _Tried:
        answer = await self._send("GET", "/health", signed_in=False, accept=503)
        failing = [name for name, result in answer["checks"].items() if result != "ok"]
        if failing:
            raise _Wrong(f"{answer['status']}: {', '.join(failing)}")
        return _Tried(", ".join(answer["checks"]) or answer["status"])

    async def _sign_in(self) -> _Tried:
        if self._who is None:
            raise _Wrong("nobody signed in")
        self._token = await self._who.token()
        # A token that Cognito gave is not yet one that the API takes.
        await self._send("GET", "/conversations")
        return _Tried("the API takes the token")

    async def _chat(self) -> _Tried:
        answer = await self._send(
            "POST", "/chat", json={"message": _QUESTION}, headers={"Idempotency-Key": str(uuid.uuid4())}
        )
        if not answer["message"].strip():
            raise _Wrong(f"{answer['model']} answered with nothing")
        return _Tried(f"answered by {answer['model']}", answer["conversation_id"])

    async def _rag_query(self) -> _Tried:
        answer = await self._send("POST", "/rag/query", json={"query": "What is this about?", "top_k": 3})
        return _Tried(f"{len(answer['passages'])} passages")

    async def _websocket_turn(self) -> _Tried:
        async with self._session("text") as session:
            started = time.monotonic()
            await session.send_text(_QUESTION)
            answer = await self._answer(session)
            said = f"answered by {answer.model or 'a model'} after {time.monotonic() - started:.2f} s"
            return _Tried(said, answer.conversation_id or session.conversation_id)

    async def _voice_session(self) -> _Tried:
        async with self._session("voice") as session:
            session.listen(_silence())
            await session.send_text(_QUESTION)
            spoken = 0
            started = time.monotonic()
            first: float | None = None
            async for event in session:
                match event:
                    case Audio():
                        first = first or time.monotonic() - started
                        spoken += len(event.pcm)
                    case Answer() if spoken and first is not None:
                        return _Tried(f"a voice after {first:.2f} s", session.conversation_id)
                    case Answer():
                        raise _Wrong("answered without a voice")
                    case Problem() if not event.retryable:
                        raise _Wrong(f"{event.message} ({event.code})")
                    case Ended():
                        break
            raise _Wrong("the session ended without an answer")

    async def _clean_up(self) -> _Tried:
        for conversation in self._conversations:
            await self._send("DELETE", f"/conversations/{conversation}")
        return _Tried(f"{len(self._conversations)} conversations deleted")

    def _session(self, medium: Any) -> Session:
        return Session(
            self._environment.api_url,
            token=self._token,
            websocket_url=self._environment.websocket_url,
            medium=medium,
            # A typed session holds nothing that its connection's end would not let go of.
            keep=medium == "text",
            trust_env=self._trust_env,
        )

    async def _answer(self, session: Session) -> Answer:
        async for event in session:
            match event:
                case Answer():
                    return event
                case Problem() if not event.retryable:
                    raise _Wrong(f"{event.message} ({event.code})")
                case Ended():
                    break
        raise _Wrong("the session ended without an answer")

    async def _send(self, method: str, path: str, *, signed_in: bool = True, accept: int = 200, **request: Any) -> Any:
        """The decoded answer. What passes by itself is asked again: a stage that was just deployed, a lost packet."""
        headers = {**request.pop("headers", {}), **({"Authorization": f"Bearer {self._token}"} if signed_in else {})}
        for attempt in range(_ATTEMPTS):
            response = await self._http.request(method, path, headers=headers, **request)
            if response.is_success or response.status_code == accept:
                return response.json() if response.content else None
            if response.status_code == 404 and "error" not in response.text:
                # API Gateway's own answer: a route that a flag took away, while its orphaned stack is still there.
                raise _Absent(f"the API has no {path}: its flag is off")
            if response.status_code < 500 and response.status_code != 429:
                break
            await asyncio.sleep(2**attempt)
        raise _Wrong(f"{method} {path} was answered with {response.status_code}: {_reason(response)}")


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.reason_phrase
    match body:
        case {"error": {"message": str(message)}} | {"message": str(message)}:
            return message
    return response.reason_phrase


async def _silence() -> AsyncIterator[bytes]:
    """What a microphone gives while nobody speaks."""
    while True:
        yield bytes(2 * round(_PIECE_SECONDS * INPUT_RATE))
        await asyncio.sleep(_PIECE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
