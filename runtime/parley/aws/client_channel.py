"""Posts to WebSocket connections for the session worker, which decides itself what is tried again, and when."""

import asyncio
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.connection_posts import Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.failures import error_code
from parley.speech.playback import ClientBusy, ClientGone

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

_GONE = frozenset({"GoneException", "410", "ForbiddenException"})
"""Forbidden is what API Gateway answers about a connection of another API: an address that is no more."""


class ClientChannel:
    """The Channel protocol over API Gateway's management API."""

    def __init__(self, client: "ApiGatewayManagementApiClient") -> None:
        self._client = client

    async def post(self, connection_id: str, data: bytes) -> None:
        """See Channel."""
        await asyncio.to_thread(self._post, connection_id, data)

    def _post(self, connection_id: str, data: bytes) -> None:
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=data)
        except ClientError as error:
            raise (ClientGone if error_code(error) in _GONE else ClientBusy) from error
        except BotoCoreError as error:
            raise ClientBusy from error

    async def disconnect(self, connection_id: str) -> None:
        """See Channel."""
        await asyncio.to_thread(self._disconnect, connection_id)

    def _disconnect(self, connection_id: str) -> None:
        try:
            Connection(connection_id, self._client).close()
        except (ConnectionGone, ConnectionUnreachable):
            # It ends by itself, at the latest when the client has said nothing for ten minutes.
            return
