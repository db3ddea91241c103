"""The AI services' wire protocols: Bedrock Runtime's for text and embeddings; those for speech are in `speech/`.

Requests, answers and errors have the shapes of the Amazon Bedrock API reference, so that the runtime's own SDK clients
speak to it. `/_model` says which model answers and which embeds; `/_faults` is for tests.
"""

import contextlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.models import extractive
from sandbox.models.converse import (
    GUARDRAIL_SAYS,
    Asked,
    InvalidRequest,
    StreamedBlocks,
    read_converse,
    results_of,
    tool_use_start,
)
from sandbox.models.embedding import DIMENSIONS, Embedder, installed_embedder
from sandbox.models.event_stream import encode_event, encode_exception
from sandbox.models.faults import KINDS, Fault, Faults
from sandbox.models.ollama import Message, Ollama, ToolsUnsupported
from sandbox.models.speech.app import Speech
from sandbox.models.speech.jobs import Buckets
from sandbox.models.tools import Tool, ToolUse

EMBEDDING_MODEL = "amazon.titan-embed-text-v2:0"
# Titan Text Embeddings V2 takes at most 8,192 tokens or 50,000 characters.
EMBEDDING_CHARACTERS = 50_000
INTERVENED = "guardrail_intervened"
_WORDS = re.compile(r"\S+\s*|\s+")


class BedrockError(Exception):
    """An error as the service reports it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def response(self) -> Response:
        """The error's HTTP answer."""
        headers = {"x-amzn-errortype": self.kind, "x-amzn-requestid": str(uuid.uuid4())}
        return JSONResponse({"message": self.message}, KINDS[self.kind], headers)


class LanguageModel:
    """Ollama when it is there, else the extractive model."""

    def __init__(self, ollama: Ollama) -> None:
        self._ollama = ollama

    async def name(self) -> str:
        """Which model would answer now."""
        model = await self._ollama.model()
        return f"ollama: {model}" if model else extractive.NAME

    async def answer(self, messages: Sequence[Message], options: dict[str, Any]) -> AsyncIterator[str]:
        """The answer in pieces."""
        async for piece in self.converse(messages, options):
            if isinstance(piece, str):
                yield piece

    async def converse(
        self, messages: Sequence[Message], options: dict[str, Any], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[str | ToolUse]:
        """The answer in pieces, or what is asked of tools. Raises ToolsUnsupported."""
        model = await self._ollama.model()
        if model is not None:
            async for piece in self._ollama.stream(model, messages, options, tools):
                yield piece
            return
        asked = [message.text for message in messages if message.role == "user"]
        reply = extractive.reply(extractive.read_prompt(asked, results_of(messages)), tools)
        if isinstance(reply, ToolUse):
            yield reply
            return
        for piece in _WORDS.findall(reply):
            yield piece


def create_models(
    ollama_host: str | None = None, embedder: Embedder | None = None, buckets: Buckets | None = None
) -> Starlette:
    """The AI endpoints as an ASGI application; without an embedder given, with this machine's.

    `buckets` (an S3 client) is where Transcribe's batch jobs read recordings; without it none can be started.
    """
    embeddings = embedder or installed_embedder()
    language_model = LanguageModel(Ollama(ollama_host))
    faults = Faults()
    speech = Speech(language_model, faults, count_tokens, buckets)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        speech.close()

    async def meet_fault(model: str, operation: str, texts: Sequence[str]) -> Fault | None:
        fault = await faults.meet(model, operation, "\n".join(texts))
        if fault and fault.error:
            raise BedrockError(fault.error, "This fault was asked for by a test.")
        return fault

    async def answered(asked: Asked) -> AsyncIterator[str | ToolUse]:
        if asked.blocked:
            yield GUARDRAIL_SAYS
            return
        async for piece in language_model.converse(asked.messages, asked.options, asked.tools):
            yield piece

    async def converse(request: Request) -> Response:
        started = time.monotonic()
        asked = await _converse_request(request)
        await meet_fault(request.path_params["model"], "Converse", [message.text for message in asked.messages])
        pieces = [piece async for piece in answered(asked)]
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        uses = [piece for piece in pieces if isinstance(piece, ToolUse)]
        content: list[dict[str, Any]] = [{"text": text}] if text else []
        content += [{"toolUse": tool_use_start(use) | {"input": use.arguments}} for use in uses]
        body = {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": INTERVENED if asked.blocked else "tool_use" if uses else "end_turn",
            "usage": _usage(() if asked.blocked else asked.messages, text),
            "metrics": {"latencyMs": _milliseconds(started)},
        }
        return JSONResponse(body, headers=_headers(await language_model.name()))

    async def converse_stream(request: Request) -> Response:
        started = time.monotonic()
        asked = await _converse_request(request)
        texts = [message.text for message in asked.messages]
        fault = await meet_fault(request.path_params["model"], "ConverseStream", texts)
        pieces = answered(asked)
        # A refusal comes before the stream.
        first = await anext(pieces, None)

        async def events() -> AsyncIterator[bytes]:
            yield encode_event("messageStart", {"role": "assistant"})
            said: list[str] = []
            block = StreamedBlocks()
            try:
                async for piece in _beginning_with(first, pieces):
                    if fault and fault.break_after is not None and len(said) >= fault.break_after:
                        yield encode_exception(
                            "modelStreamErrorException", {"message": "The stream was broken by a test."}
                        )
                        return
                    said.append(piece if isinstance(piece, str) else "")
                    for event, payload in block.events(piece):
                        yield encode_event(event, payload)
            except httpx.HTTPError as error:
                stopped = {"message": f"Ollama stopped answering: {error}"}
                yield encode_exception("modelStreamErrorException", stopped)
                return
            for event, payload in block.end(INTERVENED if asked.blocked else None):
                yield encode_event(event, payload)
            usage = _usage(() if asked.blocked else asked.messages, "".join(said))
            yield encode_event("metadata", {"usage": usage, "metrics": {"latencyMs": _milliseconds(started)}})

        headers = _headers(await language_model.name())
        return StreamingResponse(events(), media_type="application/vnd.amazon.eventstream", headers=headers)

    async def invoke(request: Request) -> Response:
        model = request.path_params["model"]
        body = await _json(request)
        await meet_fault(model, "InvokeModel", [str(body.get("inputText", ""))])
        if model != EMBEDDING_MODEL:
            raise BedrockError("ResourceNotFoundException", f"The sandbox serves no InvokeModel for {model}.")
        text, dimensions, normalize = _read_embedding(body)
        vector = await run_in_threadpool(embeddings.embed, text, dimensions=dimensions, normalize=normalize)
        tokens = count_tokens(text)
        numbers = [round(float(value), 8) for value in vector]
        answer = {"embedding": numbers, "embeddingsByType": {"float": numbers}, "inputTextTokenCount": tokens}
        headers = {**_headers(embeddings.name), "x-amzn-bedrock-input-token-count": str(tokens)}
        return JSONResponse(answer, headers=headers)

    async def model(request: Request) -> Response:
        return JSONResponse({"model": await language_model.name(), "embedder": embeddings.name})

    async def change_faults(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            try:
                faults.add(await request.json())
            except (ValueError, TypeError) as error:
                return JSONResponse({"message": str(error)}, 400)
        return JSONResponse({"waiting": faults.waiting()})

    async def bedrock_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, BedrockError):
            raise error
        return error.response()

    async def tools_unsupported(request: Request, error: Exception) -> Response:
        return BedrockError("ValidationException", "This model doesn't support tool use.").response()

    async def ollama_error(request: Request, error: Exception) -> Response:
        return BedrockError("ModelErrorException", f"Ollama did not answer: {error}").response()

    return Starlette(
        routes=[
            Route("/model/{model:path}/converse", converse, methods=["POST"]),
            Route("/model/{model:path}/converse-stream", converse_stream, methods=["POST"]),
            Route("/model/{model:path}/invoke", invoke, methods=["POST"]),
            *speech.routes(),
            Route("/_model", model),
            Route("/_faults", change_faults, methods=["GET", "POST", "DELETE"]),
        ],
        lifespan=lifespan,
        exception_handlers={
            BedrockError: bedrock_error,
            ToolsUnsupported: tools_unsupported,
            httpx.HTTPError: ollama_error,
        },
    )


def count_tokens(text: str) -> int:
    """About as many tokens as a model's own tokenizer would count: four ASCII characters or one other to a token."""
    plain = sum(character.isascii() for character in text)
    return max(1, -(-plain // 4) + len(text) - plain) if text else 0


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise BedrockError("ValidationException", "Malformed input request, please reformat your input.") from None
    if not isinstance(body, dict):
        raise BedrockError("ValidationException", "Malformed input request: expected a JSON object.")
    return body


async def _converse_request(request: Request) -> Asked:
    try:
        return read_converse(await _json(request))
    except InvalidRequest as error:
        raise BedrockError("ValidationException", str(error)) from None


def _read_embedding(body: dict[str, Any]) -> tuple[str, int, bool]:
    unknown = body.keys() - {"inputText", "dimensions", "normalize", "embeddingTypes"}
    if unknown:
        message = f"Malformed input request: extraneous key [{min(unknown)}] is not permitted."
        raise BedrockError("ValidationException", message)
    text = body.get("inputText")
    if not isinstance(text, str) or not text:
        message = "Malformed input request: expected minLength: 1, actual: 0, please reformat your input and try again."
        raise BedrockError("ValidationException", message)
    if len(text) > EMBEDDING_CHARACTERS:
        message = f"Malformed input request: expected maxLength: {EMBEDDING_CHARACTERS}, actual: {len(text)}."
        raise BedrockError("ValidationException", message)
    dimensions = body.get("dimensions", 1024)
    if dimensions not in DIMENSIONS:
        message = f"Malformed input request: {dimensions} is not a valid enum value; expected one of {DIMENSIONS}."
        raise BedrockError("ValidationException", message)
    if body.get("embeddingTypes", ["float"]) != ["float"]:
        raise BedrockError("ValidationException", "The sandbox serves embeddings of type float only.")
    return text, int(dimensions), bool(body.get("normalize", True))


async def _beginning_with[T](first: T | None, others: AsyncIterator[T]) -> AsyncIterator[T]:
    if first is not None:
        yield first
    async for other in others:
        yield other


def _usage(messages: Sequence[Message], answer: str) -> dict[str, int]:
    read, written = sum(count_tokens(message.text) for message in messages), count_tokens(answer)
    return {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}


def _milliseconds(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def _headers(model: str) -> dict[str, str]:
    return {"x-amzn-requestid": str(uuid.uuid4()), "x-parley-model": model}
