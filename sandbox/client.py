"""The public HTTP API as the sandbox's own commands use it."""

import time
import uuid
from typing import Any

import httpx

from sandbox.demo_user import sign_in
from sandbox.state import SandboxError


class Client:
    """Speaks to the assistant as the demo user."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs
        self._http = httpx.Client(base_url=outputs["http_url"], timeout=30, trust_env=False)
        self._token: tuple[str, float] | None = None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def token(self) -> str:
        """The demo user's bearer token, an hour old at most."""
        if self._token is None or time.monotonic() - self._token[1] > 1800:
            self._token = (
                sign_in(self._outputs, self._outputs["username"], self._outputs["password"]),
                time.monotonic(),
            )
        return self._token[0]

    def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> Any:
        """The decoded answer; raises `SandboxError` with the assistant's own words when it refuses."""
        every = {"authorization": f"Bearer {self.token()}", **(headers or {})}
        try:
            response = self._http.request(method, path, headers=every, **request)
        except httpx.HTTPError as error:
            raise SandboxError(f"{self._outputs['http_url']} does not answer ({error}): run ./scripts/up.") from error
        if response.is_success:
            return response.json() if response.content else None
        try:
            body = response.json()
            reason = body["error"]["message"] if "error" in body else body["message"]
        except (ValueError, KeyError, TypeError):
            reason = response.text[:300]
        raise SandboxError(f"{method} {path} was answered with {response.status_code}: {reason}")

    def ask(self, question: str, conversation_id: str | None = None) -> dict[str, Any]:
        """One turn of a conversation."""
        body = {"message": question, **({"conversation_id": conversation_id} if conversation_id else {})}
        answer: dict[str, Any] = self.call("POST", "/chat", json=body, headers={"idempotency-key": str(uuid.uuid4())})
        return answer
