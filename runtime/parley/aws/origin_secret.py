"""The secret by which CloudFront proves to the functions that a request came through it."""

import hmac
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

CACHED_SECONDS = 300.0
"""How long values are used before they are read again. A rotation needs no haste: it switches to a value that has been
accepted since the rotation before."""

COOL_DOWN_SECONDS = 5.0
"""After a failure the service is left alone for so long."""


def values_of(secret: str) -> Sequence[str]:
    """The values that are valid: the `current` one, which CloudFront sends, and its neighbours, once there are some."""
    held = msgspec.json.decode(secret, type=dict[str, str])
    return [held[name] for name in ("current", "next", "previous") if held.get(name)]


class OriginSecret:
    """Compares what a request carries with the secret's values. Nothing is accepted until they could be read."""

    def __init__(
        self, secret_id: str, client: "SecretsManagerClient", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secret_id = secret_id
        self._client = client
        self._clock = clock
        self._values: Sequence[str] = ()
        self._read_again_at = float("-inf")

    def accepts(self, value: str) -> bool:
        """Is this one of the values? Takes the same time for every wrong one."""
        self._refresh()
        # Each is compared, whatever the others say.
        matches = [hmac.compare_digest(value.encode(), valid.encode()) for valid in self._values]
        return any(matches)

    def _refresh(self) -> None:
        if self._clock() < self._read_again_at:
            return
        try:
            self._values = values_of(self._client.get_secret_value(SecretId=self._secret_id)["SecretString"])
        except (BotoCoreError, ClientError, KeyError, msgspec.DecodeError):
            # What was read before holds on; without any, everybody is refused.
            self._read_again_at = self._clock() + COOL_DOWN_SECONDS
        else:
            self._read_again_at = self._clock() + CACHED_SECONDS
