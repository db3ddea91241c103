"""Amazon Titan Text Embeddings V2 through Bedrock Runtime."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from parley.aws.failures import is_passing
from parley.errors import KnowledgeUnavailable

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime.client import BedrockRuntimeClient

DIMENSIONS = 1024
"""The model's largest and default size."""

CONCURRENCY = 8
"""Requests at once: the model takes one text a request, and the SDK keeps ten connections."""


class _Answer(msgspec.Struct):
    embedding: list[float]


class TitanEmbeddings:
    """The Embedder protocol. The client brings timeouts, and retries with backoff when throttled."""

    def __init__(self, model_id: str, client: "BedrockRuntimeClient", *, concurrency: int = CONCURRENCY) -> None:
        self._model_id = model_id
        self._client = client
        self._concurrency = concurrency

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See Embedder: normalized vectors of 1024 dimensions."""
        if len(texts) < 2:
            return [self._embed(text) for text in texts]
        with ThreadPoolExecutor(max_workers=min(self._concurrency, len(texts))) as pool:
            waiting = [pool.submit(self._embed, text) for text in texts]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _embed(self, text: str) -> list[float]:
        body = json.dumps({"inputText": text, "dimensions": DIMENSIONS, "normalize": True})
        try:
            response = self._client.invoke_model(
                modelId=self._model_id, body=body, contentType="application/json", accept="application/json"
            )
            answer = msgspec.json.decode(response["body"].read(), type=_Answer)
        except (BotoCoreError, ClientError) as error:
            if not is_passing(error):
                raise
            raise KnowledgeUnavailable from error
        except msgspec.DecodeError as error:
            raise KnowledgeUnavailable from error
        if len(answer.embedding) != DIMENSIONS:
            raise KnowledgeUnavailable
        return answer.embedding
