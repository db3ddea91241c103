"""Calls that go both ways at once: AWS's asynchronous SDKs over HTTP/2, which boto3 does not have.

Those SDKs are experimental and pinned; what they leave open is closed here, once for all three of them. Their default
transport refuses such calls, so the CRT's is made explicitly; it ignores AWS_CA_BUNDLE, so its trust store is set here.
Some of their calls never return when a connection breaks, so every wait here has an end.
"""

import asyncio
import ctypes
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from aws_sdk_polly.client import AsyncPollyClient
    from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_BIDIRECTIONAL"
"""Names another endpoint for all of these calls. The SDKs' own variables are boto3's too, whose calls go elsewhere."""

CONNECT_SECONDS = 3.0
"""For TCP and TLS; every endpoint is in the function's own region."""

OPEN_SECONDS = 6.0
"""From nothing to the service's acceptance of a stream."""

SEND_SECONDS = 5.0
"""The longest that a message waits to be sent: HTTP/2's window stays shut when the peer is gone without a word."""

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
    """One stream: messages go out in order and within SEND_SECONDS, or the stream has failed."""

    def __init__(self, client: Any, stream: Any, receiver: Any) -> None:
        self._client = client
        self._stream = stream
        self._receiver = receiver
        # A message is signed with the signature of the one before it, so they must not overtake one another.
        self._sending = asyncio.Lock()
        self._ended = False
        self._closed = False

    async def send(self, *messages: Input) -> None:
        """Send messages, one right after the other. Raises StreamFailed."""
        if self._ended:
            raise StreamFailed("ConnectionLost")
        try:
            async with asyncio.timeout(SEND_SECONDS), self._sending:
                for message in messages:
                    await self._stream.input_stream.send(message)
        except TimeoutError:
            self._ended = True
            raise StreamFailed("Stalled") from None
        except Exception as error:
            self._ended = True
            raise _failed(error) from error

    async def received(self) -> AsyncIterator[Output]:
        """The service's messages until it ends its side. Raises StreamFailed."""
        try:
            while (message := await self._receiver.receive()) is not None:
                yield message
        except Exception as error:
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
    opening = asyncio.create_task(_open(client, start, first))
    try:
        # Not cancelled when its time is over: the CRT's futures cannot be, it would still set them.
        await asyncio.wait({opening}, timeout=OPEN_SECONDS)
        if not opening.done():
            raise StreamFailed("Unreachable")
        stream, receiver = opening.result()
    except BaseException as error:
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        if not shared:
            await close_client(client)
        if isinstance(error, Exception):
            raise _failed(error) from error
        raise
    return Duplex(None if shared else client, stream, receiver)


async def _open(client: Any, start: Callable[[Any], Awaitable[Any]], first: Sequence[Any]) -> tuple[Any, Any]:
    stream = await start(client)

    async def send() -> None:
        for message in first:
            await stream.input_stream.send(message)

    # A connection that is refused takes no messages either, and only the answer's side says so.
    sending, accepted = asyncio.create_task(send()), asyncio.create_task(stream.await_output())
    try:
        _, receiver = await accepted
        await sending
    finally:
        sending.cancel()
    return stream, receiver


async def bedrock_runtime() -> "AsyncBedrockRuntimeClient":
    """A Bedrock Runtime client with a connection of its own. Raises StreamFailed."""
    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig

    return AsyncBedrockRuntimeClient(config=await AsyncBedrockRuntimeConfig.resolve(**await _settings("bedrock")))


async def transcribe() -> "AsyncTranscribeStreamingClient":
    """A streaming Transcribe client with a connection of its own. Raises StreamFailed."""
    from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient
    from aws_sdk_transcribe_streaming.config import AsyncTranscribeStreamingConfig

    return AsyncTranscribeStreamingClient(
        config=await AsyncTranscribeStreamingConfig.resolve(**await _settings("transcribe"))
    )


async def polly() -> "AsyncPollyClient":
    """A Polly client with a connection of its own. Raises StreamFailed."""
    from aws_sdk_polly.client import AsyncPollyClient
    from aws_sdk_polly.config import AsyncPollyConfig

    return AsyncPollyClient(config=await AsyncPollyConfig.resolve(**await _settings("polly")))


async def close_client(client: Any) -> None:
    """Give a client and its connection up."""
    await _bounded(client.close())


async def pumped[T](source: AsyncIterator[T], tasks: set[asyncio.Task[None]]) -> AsyncIterator[T]:
    """What `source` gives, or the error that it raises as StreamFailed; each piece within SEND_SECONDS.

    Whoever takes the pieces may be cancelled at any moment. The source is not, because the CRT cannot be: it runs on to
    its end in a task, which `tasks` holds meanwhile.
    """
    pieces: asyncio.Queue[T | StreamFailed | None] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for piece in source:
                pieces.put_nowait(piece)
        except Exception as error:
            pieces.put_nowait(_failed(error))
        pieces.put_nowait(None)

    task = asyncio.create_task(pump())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    try:
        while (piece := await asyncio.wait_for(pieces.get(), SEND_SECONDS)) is not None:
            if isinstance(piece, StreamFailed):
                raise piece
            yield piece
    except TimeoutError:
        raise StreamFailed("Stalled") from None


async def _settings(service: str) -> dict[str, Any]:
    from parley.aws.event_signing import EventStreamAuth

    identity = _identity()
    # Without credentials the SDK would wait for ever for a request that it cannot sign.
    await identity.get_identity(properties={})
    settings: dict[str, Any] = {
        "transport": _transport(),
        "aws_credentials_identity_resolver": identity,
        "auth_schemes": {EventStreamAuth.scheme_id: EventStreamAuth(service=service)},
    }
    if endpoint := os.environ.get(ENDPOINT_VARIABLE):
        settings["endpoint_uri"] = endpoint
    return settings


def _transport() -> Any:
    from awscrt.aio.http import AIOHttpClientConnectionUnified
    from awscrt.io import SocketOptions
    from smithy_http.aio.crt import AWSCRTHTTPClient, AWSCRTHTTPResponse

    class Response(AWSCRTHTTPResponse):
        @property
        def body(self) -> Any:
            return _Body(super().chunks())

    class Transport(AWSCRTHTTPClient):
        """The SDKs' CRT transport with a trust store and timeouts, that can be given up at any moment."""

        async def _build_new_connection(self, url: Any) -> Any:
            tls = _trust(os.environ.get("AWS_CA_BUNDLE")).new_connection_options()
            tls.set_server_name(url.host)
            tls.set_alpn_list(["h2"])
            sockets = SocketOptions()
            sockets.connect_timeout_ms = round(CONNECT_SECONDS * 1000)
            sockets.keep_alive = True
            sockets.keep_alive_timeout_secs = sockets.keep_alive_interval_secs = 5
            sockets.keep_alive_max_probes = 2
            connecting = AIOHttpClientConnectionUnified._generic_new(
                url.host, url.port or 443, self._client_bootstrap, sockets, tls, None, asyncio_connection=True
            )
            connecting.add_done_callback(lambda _: _stay_known(threading.get_ident()))
            # Never cancelled: the CRT's thread sets it in any case, at once or after half a minute.
            return await asyncio.shield(asyncio.wrap_future(connecting))

        async def _await_response(self, stream: Any) -> Any:
            # The task that writes the body fails with the connection; nothing else would ever look at its error.
            if writer := getattr(stream, "_writer", None):
                writer.add_done_callback(lambda task: task.cancelled() or task.exception())
            response = await super()._await_response(stream)
            return Response(status=response.status, fields=response.fields, stream=stream)

    return Transport(eventloop=_event_loop())


class _Body:
    """What a stream brings, to be read in pieces.

    The SDKs ask before each read whether their body has a method to read with. That theirs has none they find out anew
    every time, which takes longer than the read.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._waiting = bytearray()

    async def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; fewer at the end."""
        while size < 0 or len(self._waiting) < size:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                size = len(self._waiting)
                break
            self._waiting += chunk
        piece = bytes(self._waiting[:size])
        del self._waiting[:size]
        return piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


@cache
def _event_loop() -> Any:
    """The CRT's thread: one for all connections of the process."""
    from smithy_http.aio.crt import _AWSCRTEventLoop

    return _AWSCRTEventLoop()


@cache
def _stay_known(thread: int) -> None:
    """Let Python know this thread, which is the CRT's, until the process ends.

    Else Python makes a state for it, and maps memory for that, whenever the CRT calls: forty times a second in a call.
    """
    if thread != threading.main_thread().ident:
        ctypes.pythonapi.PyGILState_Ensure()


@cache
def _trust(authorities: str | None) -> Any:
    from awscrt.io import ClientTlsContext, TlsContextOptions

    options = TlsContextOptions()
    if authorities:
        options.override_default_trust_store_from_path(ca_filepath=authorities)
    return ClientTlsContext(options)


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

    if isinstance(error, ModeledError):
        return StreamFailed(type(error).__name__)
    if isinstance(error, CallError):
        # A code that this operation's model does not name, throttling by a gateway before the service for example.
        return StreamFailed("ThrottlingException" if error.is_throttling_error else "ConnectionLost")
    return StreamFailed("ConnectionLost")


async def _bounded(step: Coroutine[Any, Any, Any]) -> None:
    """Wait for a step of taking leave, for a while; how it goes makes no difference any more."""
    leaving = asyncio.create_task(step)
    leaving.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait({leaving}, timeout=CLOSE_SECONDS)
    # The SDK answers being cancelled by waiting once more for the connection that takes nothing.
    for _ in range(3):
        leaving.cancel()
        await asyncio.wait({leaving}, timeout=0.01)
