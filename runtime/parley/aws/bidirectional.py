"""Calls that go both ways at once: AWS's asynchronous SDKs over HTTP/2, which boto3 does not have.

Those SDKs are experimental and pinned; what they leave open is closed here, once for all three of them. Their transport
is `parley.aws.http2`, their messages are those of `parley.aws.event_streams`. Some of their calls never return when a
connection breaks, so every wait here has an end.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from aws_sdk_polly.client import AsyncPollyClient
    from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_BIDIRECTIONAL"
"""Names another endpoint for all of these calls. The SDKs' own variables are boto3's too, whose calls go elsewhere."""

OPEN_SECONDS = 6.0
"""From nothing to the service's acceptance of a stream."""

PIECE_SECONDS = 5.0
"""The longest wait for the next piece of what a service gives at once."""

CLOSE_SECONDS = 1.0
"""For each step of taking leave."""


class StreamFailed(Exception):
    """A stream is not opened, or ends before its time.

    `code` is the service's own name of the error, or `Unreachable`, `Stalled` or `ConnectionLost`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


_LASTING = frozenset(
    {
        "AccessDeniedException",
        "NoCredentials",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
    }
)


def is_passing(failure: StreamFailed) -> bool:
    """May the same call succeed a little later?"""
    return failure.code not in _LASTING


class Duplex[Input, Output]:
    """One stream: messages go out in order and soon, or the stream fails."""

    def __init__(self, client: Any, stream: Any, receiver: Any) -> None:
        self._client = client
        self._stream = stream
        self._receiver = receiver
        # A message is signed with the signature of the one before it, so they must not overtake one another.
        self._sending = asyncio.Lock()
        self._ended = False
        self._closed = False

    async def send(self, *messages: Input) -> None:
        """Send messages, one right after the other. Raises StreamFailed, for earlier ones too."""
        if self._ended:
            raise StreamFailed("ConnectionLost")
        try:
            async with self._sending:
                for message in messages:
                    await self._stream.input_stream.send(message)
        except Exception as error:
            self._ended = True
            raise _failed(error) from error

    async def received(self) -> AsyncIterator[Output]:
        """The service's messages until it ends its side. Raises StreamFailed."""
        try:
            while (message := await self._receiver.receive()) is not None:
                yield message
        except Exception as error:
            if not self._closed:
                raise _failed(error) from error
        finally:
            self._ended = True

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        self._ended = True
        await _bounded(self._stream.input_stream.close())

    async def close(self) -> None:
        """Give the stream and its connection up; who is waiting for a message then sees the stream end."""
        if self._closed:
            return
        self._closed = True
        await self.finish()
        if self._client is not None:
            await close_client(self._client)


async def open_duplex[Client, Input, Output](
    client: Client, start: "Callable[[Client], Awaitable[Any]]", *first: Input, shared: bool = False
) -> "Duplex[Input, Output]":
    """A stream that the service has accepted; `first` are sent at once. Raises StreamFailed.

    It has the client, and so the connection, for itself and closes it, unless that is `shared`: a lost connection must
    not take the stream along that replaces one.
    """
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            stream, receiver = await _open(client, start, first)
    except BaseException as error:
        if not shared:
            await close_client(client)
        if isinstance(error, TimeoutError):
            raise StreamFailed("Unreachable") from None
        if isinstance(error, Exception):
            raise _failed(error) from error
        raise
    return Duplex(None if shared else client, stream, receiver)


async def _open(client: Any, start: Callable[[Any], Awaitable[Any]], first: Sequence[Any]) -> tuple[Any, Any]:
    stream = await start(client)
    try:
        for message in first:
            await stream.input_stream.send(message)
    except Exception:
        # If the service has refused the stream, the answer says why.
        await stream.await_output()
        raise
    _, receiver = await stream.await_output()
    return stream, receiver


async def bedrock_runtime() -> "AsyncBedrockRuntimeClient":
    """A Bedrock Runtime client with a connection of its own. Its streams are of bytes. Raises StreamFailed."""
    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig

    from parley.aws.event_streams import PartStreams

    settings = await _settings() | {"protocol": PartStreams}
    return AsyncBedrockRuntimeClient(config=await AsyncBedrockRuntimeConfig.resolve(**settings))


async def transcribe() -> "AsyncTranscribeStreamingClient":
    """A streaming Transcribe client with a connection of its own. Raises StreamFailed."""
    from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient
    from aws_sdk_transcribe_streaming.config import AsyncTranscribeStreamingConfig

    return AsyncTranscribeStreamingClient(config=await AsyncTranscribeStreamingConfig.resolve(**await _settings()))


async def polly() -> "AsyncPollyClient":
    """A Polly client with a connection of its own. Raises StreamFailed."""
    from aws_sdk_polly.client import AsyncPollyClient
    from aws_sdk_polly.config import AsyncPollyConfig

    return AsyncPollyClient(config=await AsyncPollyConfig.resolve(**await _settings()))


async def close_client(client: Any) -> None:
    """Give a client and its connection up."""
    await _bounded(client.close())


async def timely[T](source: AsyncGenerator[T]) -> AsyncIterator[T]:
    """What `source` gives, each piece within PIECE_SECONDS. Raises StreamFailed."""
    async with contextlib.aclosing(source):
        while True:
            try:
                async with asyncio.timeout(PIECE_SECONDS):
                    piece = await anext(source)
            except StopAsyncIteration:
                return
            except Exception as error:
                raise _failed(error) from error
            yield piece


async def _settings() -> dict[str, Any]:
    from parley.aws.event_streams import EventStreams
    from parley.aws.http2 import Http2Transport

    identity = _identity()
    # Without credentials the SDK would wait for ever for a request that it cannot sign.
    await identity.get_identity(properties={})
    settings: dict[str, Any] = {
        "transport": Http2Transport(),
        "aws_credentials_identity_resolver": identity,
        "protocol": EventStreams,
    }
    if endpoint := os.environ.get(ENDPOINT_VARIABLE):
        settings["endpoint_uri"] = endpoint
    return settings


@cache
def _identity() -> Any:
    """botocore's credentials, which renew themselves where they expire, as the SDKs want them."""
    from botocore.session import get_session
    from smithy_aws_core.identity import AWSCredentialsIdentity

    credentials = get_session().get_credentials()

    class Identity:
        async def get_identity(self, *, properties: Any) -> AWSCredentialsIdentity:
            if credentials is None:
                raise StreamFailed("NoCredentials")
            # Asked for every message. Renewing takes a request, which must not stop the others.
            renewing = getattr(credentials, "refresh_needed", None)
            if renewing is not None and renewing():
                await asyncio.to_thread(credentials.get_frozen_credentials)
            frozen = credentials.get_frozen_credentials()
            return AWSCredentialsIdentity(
                access_key_id=frozen.access_key or "",
                secret_access_key=frozen.secret_key or "",
                session_token=frozen.token,
            )

    return Identity()


def _failed(error: Exception) -> StreamFailed:
    if isinstance(error, StreamFailed):
        return error
    from smithy_core.exceptions import CallError, ModeledError

    from parley.aws.event_streams import ServiceError

    if isinstance(error, ServiceError):
        return StreamFailed(str(error))
    if isinstance(error, ModeledError):
        return StreamFailed(type(error).__name__)
    if TimeoutError in (type(error), type(error.__cause__)):
        return StreamFailed("Stalled")
    if isinstance(error, CallError):
        # A code that this operation's model does not name, throttling by a gateway before the service for example.
        return StreamFailed("ThrottlingException" if error.is_throttling_error else "ConnectionLost")
    return StreamFailed("ConnectionLost")


async def _bounded(step: Awaitable[Any]) -> None:
    """Wait for a step of taking leave, for a while; how it goes makes no difference any more."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await step
