"""The public HTTP API as tools use it: signed in, and asked again while it is busy or out of reach."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx

from operations.environment import OperationError
from operations.sign_in import SignIn

ATTEMPTS = 8
"""How often a request is sent at most; with the pauses between, a loss of some 40 seconds is outlived."""

LONGEST_PAUSE = 20.0
"""Seconds between two attempts, at most, unless the API asks for more."""

LONGEST_WISH = 120.0
"""Seconds that an answer's `Retry-After` may ask for."""

_FIRST_PAUSE = 0.5
_BUSY = frozenset({429, 502, 503, 504})
_PASSING = _BUSY | {500}
_TIMEOUT = httpx.Timeout(30, connect=10, write=60)
_PAGE = 100


class Refused(Exception):
    """The API's, or the bucket's, last word about one request."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class Unreachable(OperationError):
    """Nothing answers, or nothing but that it is busy, however often it was asked."""


class NoKnowledgeBase(OperationError):
    """The API has no routes for documents. A stack that a flag has orphaned may still say that there were some."""


class Api:
    """A client of one environment's HTTP API. Every method raises OperationError, which ends the work as a whole."""

    def __init__(self, url: str, sign_in: SignIn, *, trust_env: bool = True) -> None:
        """A client of the API at `url`. `trust_env` lets the environment name proxies and certificates."""
        self._url = url.rstrip("/")
        self._sign_in = sign_in
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=trust_env)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """The decoded answer. Raises Refused.

        The request may arrive more than once: it must be one that can be repeated.
        """
        token = await self._sign_in.token()
        response = await self._send(method, self._url + path, headers=_bearer(token), **request)
        if _is_sign_in_refused(response):
            token = await self._sign_in.token(refused=token)
            response = await self._send(method, self._url + path, headers=_bearer(token), **request)
            if _is_sign_in_refused(response):
                raise OperationError("The API accepts no token of this user: check --env and who you are.")
        if response.is_success:
            return response.json() if response.content else None
        raise _refusal(response)

    async def documents(self) -> AsyncIterator[Any]:
        """Every document that the caller may read: its own, newest first, then the shared ones."""
        query: dict[str, str | int] = {"limit": _PAGE}
        while True:
            page = await self.call("GET", "/knowledge/documents", params=query)
            for document in page["documents"]:
                yield document
            if not page["cursor"]:
                return
            query["cursor"] = page["cursor"]

    async def upload(self, form: Mapping[str, Any], name: str, content: bytes) -> None:
        """Post a file with the form that the API gave for it. Raises Refused."""
        # Without the token: the form is all that the bucket needs, and the bucket is not the API.
        response = await self._send("POST", form["url"], data=form["fields"], files={"file": (name, content)})
        if not response.is_success:
            raise Refused("upload_refused", f"The bucket refused the file ({response.status_code}).")

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """The first answer that is more than passing trouble; a lasting error 500 is one, too."""
        trouble = ""
        response = None
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(_pause_before(attempt, response))
            try:
                response = await self._http.request(method, url, **request)
            except httpx.TransportError as error:
                response, trouble = None, str(error) or type(error).__name__
                continue
            if response.status_code not in _PASSING:
                return response
            trouble = f"it answers {response.status_code} {response.reason_phrase}"
        if response is not None and response.status_code not in _BUSY:
            return response
        raise Unreachable(f"{httpx.URL(url).netloc.decode()} did not answer {ATTEMPTS} requests: {trouble}.")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _pause_before(attempt: int, response: httpx.Response | None) -> float:
    """Seconds to wait before an attempt: longer each time, at random, and never less than the answer asked for."""
    longest = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), LONGEST_PAUSE)
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret
    wish = response.headers.get("Retry-After", "") if response is not None else ""
    return pause + min(float(wish), LONGEST_WISH) if wish.isdecimal() else pause


def _body(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _is_sign_in_refused(response: httpx.Response) -> bool:
    """API Gateway itself turns away bad tokens (401) and bad API keys (403, which as a function's has a code)."""
    return response.status_code == 401 or (response.status_code == 403 and "message" in _body(response))


def _refusal(response: httpx.Response) -> Refused | OperationError:
    body = _body(response)
    match body:
        case {"error": {"code": str(code), "message": str(message)}}:
            return Refused(code, message)
        case {"message": str()} if response.status_code == 404:
            return NoKnowledgeBase("This environment has no knowledge base: its enableRag is off.")
        case {"message": str(message)}:
            return Refused("gateway", f"API Gateway refused it ({response.status_code}): {message}.")
    return Refused("unknown", f"It was refused with {response.status_code} {response.reason_phrase}.")
