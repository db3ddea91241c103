"""Posts to one WebSocket connection through API Gateway's management API."""

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.failures import error_code, is_passing

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

MESSAGE_BYTES = 32 * 1024
"""What one post may hold: one WebSocket frame, so that every client can read it whole."""

POST_ATTEMPTS = 6
"""Attempts of one post: with the pauses between them about three seconds for a client that reads slowly."""


class ConnectionGone(Exception):
    """The client has left; nothing posted arrives any more."""


class ConnectionUnreachable(Exception):
    """The management API does not take the post, after bounded attempts."""


class Connection:
    """One client's connection. Posts are serial: each returns when API Gateway has taken it."""

    def __init__(
        self,
        connection_id: str,
        client: "ApiGatewayManagementApiClient",
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection_id = connection_id
        self._client = client
        self._pause = pause

    def post(self, data: bytes) -> None:
        """Post one message of at most MESSAGE_BYTES. Raises ConnectionGone or ConnectionUnreachable."""
        for attempt in range(POST_ATTEMPTS):
            if attempt:
                # 429 says that the client's buffer is full: it needs time, not another post at once.
                self._pause(random.uniform(0.5, 1) * 0.1 * 2**attempt)  # noqa: S311 - spreads posts out, guards nothing
            try:
                self._client.post_to_connection(ConnectionId=self.connection_id, Data=data)
            except ClientError as error:
                code = error_code(error)
                if code in _GONE:
                    raise ConnectionGone from error
                if not is_passing(error):
                    raise ConnectionUnreachable(code) from error
            except BotoCoreError:
                continue
            else:
                return
        raise ConnectionUnreachable("too many attempts")

    def close(self) -> None:
        """End the connection. Raises ConnectionGone when it has ended, or ConnectionUnreachable."""
        try:
            self._client.delete_connection(ConnectionId=self.connection_id)
        except ClientError as error:
            code = error_code(error)
            raise (ConnectionGone if code in _GONE else ConnectionUnreachable)(code) from error
        except BotoCoreError as error:
            raise ConnectionUnreachable("no answer") from error


_GONE = frozenset({"GoneException", "410"})
