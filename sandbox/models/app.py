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
from sandbox.models.embedding import DIMENSIONS, Embedder, installed_embedder
from sandbox.models.event_stream import encode_event, encode_exception
from sandbox.models.faults import KINDS, Fault, Faults
from sandbox.models.ollama import Message, Ollama
from sandbox.models.speech.app import Speech

EMBEDDING_MODEL = "amazon.titan-embed-text-v2:0"
# Titan Text Embeddings V2 takes at most 8,192 tokens or 50,000 characters.
EMBEDDING_CHARACTERS = 50_000
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
        model = await self._ollama.model()
        if model is None:
            text = extractive.answer(extractive.read_prompt([m.text for m in messages if m.role == "user"]))
            for piece in _WORDS.findall(text):
                yield piece
            return
        async for piece in self._ollama.stream(model, messages, options):
            yield piece


def create_models(ollama_host: str | None = None, embedder: Embedder | None = None) -> Starlette:
    """The AI endpoints as an ASGI application; without an embedder given, with this machine's."""
    embeddings = embedder or installed_embedder()
    language_model = LanguageModel(Ollama(ollama_host))
    faults = Faults()
    speech = Speech(language_model, faults, count_tokens)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        speech.close()

    async def meet_fault(model: str, operation: str, texts: Sequence[str]) -> Fault | None:
        fault = await faults.meet(model, operation, "\n".join(texts))
        if fault and fault.error:
            raise BedrockError(fault.error, "This fault was asked for by a test.")
        return fault

    async def converse(request: Request) -> Response:
        started = time.monotonic()
        messages, options = _read_converse(await _json(request))
        await meet_fault(request.path_params["model"], "Converse", [message.text for message in messages])
        text = "".join([piece async for piece in language_model.answer(messages, options)])
        body = {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": _usage(messages, text),
            "metrics": {"latencyMs": _milliseconds(started)},
        }
        return JSONResponse(body, headers=_headers(await language_model.name()))

    async def converse_stream(request: Request) -> Response:
        started = time.monotonic()
        messages, options = _read_converse(await _json(request))
        fault = await meet_fault(request.path_params["model"], "ConverseStream", [message.text for message in messages])

        async def events() -> AsyncIterator[bytes]:
            yield encode_event("messageStart", {"role": "assistant"})
            said: list[str] = []
            try:
                async for piece in language_model.answer(messages, options):
                    if fault and fault.break_after is not None and len(said) >= fault.break_after:
                        yield encode_exception("modelStreamErrorException", "The stream was broken by a test.")
                        return
                    said.append(piece)
                    yield encode_event("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0})
            except httpx.HTTPError as error:
                yield encode_exception("modelStreamErrorException", f"Ollama stopped answering: {error}")
                return
            yield encode_event("contentBlockStop", {"contentBlockIndex": 0})
            yield encode_event("messageStop", {"stopReason": "end_turn"})
            usage = _usage(messages, "".join(said))
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
        exception_handlers={BedrockError: bedrock_error, httpx.HTTPError: ollama_error},
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


def _read_converse(body: dict[str, Any]) -> tuple[list[Message], dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BedrockError("ValidationException", "A conversation must start with a user message.")
    system = " ".join(block.get("text", "") for block in body.get("system") or [])
    read = [Message("system", system)] if system else []
    expected = "user"
    for item in messages:
        role = item.get("role") if isinstance(item, dict) else None
        blocks = item.get("content") if isinstance(item, dict) else None
        if role != expected:
            message = "A conversation must alternate between user and assistant roles and start with a user message."
            raise BedrockError("ValidationException", message)
        if not isinstance(blocks, list) or not blocks:
            message = "The content field in the Message object is empty. Add a ContentBlock object and try again."
            raise BedrockError("ValidationException", message)
        text = "\n".join(block["text"] for block in blocks if isinstance(block, dict) and block.get("text"))
        if not text.strip():
            message = "The text field in the ContentBlock object is blank. Add text to the text field, and try again."
            raise BedrockError("ValidationException", message)
        read.append(Message(role, text))
        expected = "assistant" if role == "user" else "user"
    if read[-1].role != "user":
        raise BedrockError("ValidationException", "The model does not support assistant message prefill.")
    inference = body.get("inferenceConfig") or {}
    options = {"num_predict": inference.get("maxTokens"), "temperature": inference.get("temperature")}
    return read, {name: value for name, value in options.items() if value is not None}


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


def _usage(messages: Sequence[Message], answer: str) -> dict[str, int]:
    read, written = sum(count_tokens(message.text) for message in messages), count_tokens(answer)
    return {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}


def _milliseconds(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def _headers(model: str) -> dict[str, str]:
    return {"x-amzn-requestid": str(uuid.uuid4()), "x-parley-model": model}
