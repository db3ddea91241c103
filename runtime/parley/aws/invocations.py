"""Other functions of this product: retrieval (answers), turns and session workers (started, not waited for)."""

import math
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from parley.aws import clients
from parley.aws.failures import is_passing, store_errors
from parley.correlation import current
from parley.errors import KnowledgeUnavailable, StoreUnavailable, Throttled
from parley.knowledge.passages import Passage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_lambda.client import LambdaClient

DEFAULT_SECONDS = 10.0


class _Retrieved(msgspec.Struct):
    passages: list[Passage] | None = None


class RetrievalFunction:
    """The Retriever protocol over the retrieval function. `client_for` gives the client for a read timeout."""

    def __init__(self, function_name: str, client_for: "Callable[[int], LambdaClient]" = clients.lambda_) -> None:
        self._function_name = function_name
        self._client_for = client_for

    def retrieve(
        self, subject: str, query: str, *, top_k: int = 5, timeout_seconds: float | None = None
    ) -> "Sequence[Passage]":
        """See Retriever."""
        seconds = DEFAULT_SECONDS if timeout_seconds is None else timeout_seconds
        payload = msgspec.json.encode({"subject": subject, "query": query, "top_k": top_k, **_correlation()})
        try:
            response = self._client_for(max(1, math.floor(seconds))).invoke(
                FunctionName=self._function_name, Payload=payload
            )
            if "FunctionError" in response:
                raise KnowledgeUnavailable
            retrieved = msgspec.json.decode(response["Payload"].read(), type=_Retrieved)
        except (BotoCoreError, ClientError, msgspec.DecodeError) as error:
            raise KnowledgeUnavailable from error
        if retrieved.passages is None:
            raise KnowledgeUnavailable
        return retrieved.passages

    def warm_up(self, *, timeout_seconds: int) -> bool:
        """Ask it to get ready for questions, and return at once. False when Lambda did not take the request."""
        try:
            self._client_for(timeout_seconds).invoke(
                FunctionName=self._function_name,
                InvocationType="Event",
                Payload=msgspec.json.encode({"warm_up": True, **_correlation()}),
            )
        except (BotoCoreError, ClientError):
            return False
        return True


class IndexForgetting:
    """The function that takes an owner's documents out of the vector indexes; it may take minutes."""

    SECONDS = 300

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    def forget(self, owner: str) -> None:
        """Wait until it is done. Raises StoreUnavailable when it is not: then it is to be asked again."""
        # Once: a second attempt would run beside the first.
        client = clients.lambda_(self.SECONDS, attempts=1)
        with store_errors():
            response = client.invoke(FunctionName=self._function_name, Payload=msgspec.json.encode({"owner": owner}))
            if "FunctionError" in response:
                raise StoreUnavailable


class BackgroundFunction:
    """A function that is started and not waited for: it answers over the client's connection."""

    def __init__(self, function_name: str, client: "LambdaClient") -> None:
        self._function_name = function_name
        self._client = client

    def start(self, payload: bytes) -> None:
        """Start it and return at once. Raises Throttled when Lambda takes no more for now."""
        try:
            self._client.invoke(FunctionName=self._function_name, InvocationType="Event", Payload=payload)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and not is_passing(error):
                raise
            raise Throttled from error


def _correlation() -> dict[str, str]:
    correlation_id = current()
    return {} if correlation_id is None else {"correlation_id": correlation_id}


def can_invoke(client: "LambdaClient", function_name: str) -> bool:
    """Does the function exist, and may this process invoke it? Nothing runs."""
    try:
        client.invoke(FunctionName=function_name, InvocationType="DryRun", Payload=b"{}")
    except (BotoCoreError, ClientError):
        return False
    return True
