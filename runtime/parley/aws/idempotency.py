"""A request runs once, however often it is sent, with Powertools Idempotency."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from parley.conversation.errors import RequestKeyReused, TurnInProgress
from parley.conversation.turns import RequestKey
from parley.errors import ParleyError, StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

REMEMBERED_SECONDS = 86_400
"""How long a completed request is remembered here; the store's own marker remembers it as long as the turn."""

RECORD_PREFIX = "turn"


class RequestsOnce:
    """Runs a request's work unless the same request is running or has run.

    The record holds hashes, and the id of the turn: no content. A function that is killed leaves a record that expires
    with its invocation, because the Lambda context is registered.
    """

    def __init__(self, table: str, client: "DynamoDBClient") -> None:
        self._table = table
        self._client = client

    def run(self, subject: str, request: RequestKey, context: Any, work: Callable[[], str]) -> str:
        """The result of `work` (a turn's id), from now or from before.

        Raises TurnInProgress, RequestKeyReused, StoreUnavailable, and whatever `work` raises.
        """
        from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, exceptions, idempotent_function

        config = IdempotencyConfig(
            event_key_jmespath="[subject, key]",
            payload_validation_jmespath="fingerprint",
            expires_after_seconds=REMEMBERED_SECONDS,
            raise_on_no_idempotency_key=True,
            hash_function="sha256",
            lambda_context=context,
        )

        def answer_once(*, request: dict[str, str]) -> dict[str, str]:
            return {"turn_id": work()}

        once: Any = idempotent_function(
            answer_once,
            data_keyword_argument="request",
            persistence_store=_records(self._table, self._client),
            config=config,
            key_prefix=RECORD_PREFIX,
        )
        payload = {"subject": subject, "key": request.digest, "fingerprint": request.fingerprint}
        try:
            result: dict[str, str] = once(request=payload)
        except (exceptions.IdempotencyAlreadyInProgressError, exceptions.IdempotencyInconsistentStateError) as error:
            raise TurnInProgress from error
        except exceptions.IdempotencyValidationError as error:
            raise RequestKeyReused from error
        except exceptions.IdempotencyPersistenceLayerError as error:
            # Raised while a failed piece of work is cleaned up, it hides the reason that the caller should see.
            raise (_reason_of(error) or StoreUnavailable()) from error
        return result["turn_id"]


def record_id(subject: str, digest: str) -> str:
    """The id under which Powertools keeps the record of a user's request: a hash of what its `event_key_jmespath`
    finds."""
    return f"{RECORD_PREFIX}#{hashlib.sha256(json.dumps([subject, digest]).encode()).hexdigest()}"


def _reason_of(error: BaseException | None) -> ParleyError | None:
    while error is not None and not isinstance(error, ParleyError):
        error = error.__context__
    return error


@cache
def _records(table: str, client: "DynamoDBClient") -> Any:
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer

    return DynamoDBPersistenceLayer(table_name=table, boto3_client=client)
