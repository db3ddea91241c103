"""Posts to WebSocket connections for the session worker, which decides itself what is tried again, and when."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import BotoCoreError

from parley.aws.connection_posts import Connection, ConnectionGone, ConnectionUnreachable
from parley.aws.signed_http import SignedHttp
from parley.speech.playback import ClientBusy, ClientGone

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

_GONE = frozenset({410, 403})
"""Forbidden is what API Gateway answers about a connection of another API: an address that is no more."""


class ClientChannel:
    """The Channel protocol over API Gateway's management API."""

    def __init__(self, http: SignedHttp, client: "ApiGatewayManagementApiClient") -> None:
        self._http = http
        self._client = client

    async def post(self, connection_id: str, data: bytes) -> None:
        """See Channel."""
        path = f"/@connections/{quote(connection_id, safe='')}"
        try:
            response = await self._http.post(path, data, {"content-type": "application/octet-stream"})
        except BotoCoreError as error:
            raise ClientBusy from error
        if response.status in _GONE:
            raise ClientGone
        if response.status != 200:
            raise ClientBusy

    async def disconnect(self, connection_id: str) -> None:
        """See Channel."""
        await asyncio.to_thread(self._disconnect, connection_id)

    def _disconnect(self, connection_id: str) -> None:
        try:
            Connection(connection_id, self._client).close()
        except (ConnectionGone, ConnectionUnreachable):
            # It ends by itself, at the latest when the client has said nothing for ten minutes.
            return
