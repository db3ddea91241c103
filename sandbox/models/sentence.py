"""A sentence model from a folder, in the form that sentence-transformers publishes its models in: ONNX.

It needs the packages `onnxruntime` and `tokenizers`, which the sandbox does not install: without a model they would do
nothing. Nothing is downloaded.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_MODELS = ("onnx/model.onnx", "model.onnx")
_TOKENIZER = "tokenizer.json"
_POOLING = "1_Pooling/config.json"
_LENGTH = "sentence_bert_config.json"
_DEFAULT_LENGTH = 256
"""Tokens that a model reads at once when its folder does not say: what the small ones were trained with."""


class ModelUnusable(ValueError):
    """The folder holds no model that can be run; the message says what is missing."""


class Encoding(Protocol):
    """A text as a tokenizer cuts it: the first window, and those that follow."""

    ids: Sequence[int]
    overflowing: Sequence["Encoding"]


class Tokenizer(Protocol):
    """What is used of a `tokenizers.Tokenizer`."""

    def encode(self, text: str) -> Encoding:
        """The windows of a text."""


class Session(Protocol):
    """What is used of an `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[Any]:
        """The inputs, each with its `name`."""

    def run(self, outputs: None, inputs: Mapping[str, NDArray[np.int64]]) -> Sequence[Any]:
        """The outputs."""


class SentenceModel:
    """Turns texts into unit vectors of the model's own width. A text longer than its window is read in several."""

    def __init__(self, name: str, tokenizer: Tokenizer, session: Session, *, first_token: bool = False) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._session = session
        self._inputs = {each.name for each in session.get_inputs()}
        self._first_token = first_token

    def embed(self, text: str) -> NDArray[np.float32]:
        """The vector of a text: the mean of its windows, weighted by their tokens."""
        first = self._tokenizer.encode(text)
        windows = [first, *first.overflowing]
        vectors = [len(window.ids) * self._read(window.ids) for window in windows if window.ids]
        return normalized(np.sum(vectors, axis=0, dtype=np.float32)) if vectors else np.zeros(1, dtype=np.float32)

    def _read(self, ids: Sequence[int]) -> NDArray[np.float32]:
        tokens = np.asarray([ids], dtype=np.int64)
        inputs = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.zeros_like(tokens),
        }
        taken = {name: value for name, value in inputs.items() if name in self._inputs}
        [answer, *_] = self._session.run(None, taken)
        found = np.asarray(answer, dtype=np.float32)[0]
        # Some models end in the sentence's vector; of the others their tokens' vectors are pooled as they were trained.
        if found.ndim == 2:
            found = found[0] if self._first_token else found.mean(axis=0)
        return normalized(found)


def normalized(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector of length one that points the same way; a zero vector stays one."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector


def load_sentence_model(folder: Path) -> SentenceModel:
    """The model in a folder. Raises ModelUnusable in one sentence."""
    path = next((folder / name for name in _MODELS if (folder / name).is_file()), None)
    if path is None:
        raise ModelUnusable(f"{folder} holds no {' or '.join(_MODELS)}.")
    if not (folder / _TOKENIZER).is_file():
        raise ModelUnusable(f"{folder} holds no {_TOKENIZER}.")
    try:
        onnxruntime, tokenizers = import_module("onnxruntime"), import_module("tokenizers")
    except ImportError as error:
        raise ModelUnusable(
            f"The sentence model needs the package {error.name}: run .venv/bin/uv pip install onnxruntime tokenizers."
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / _TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(int(_setting(folder / _LENGTH, "max_seq_length", _DEFAULT_LENGTH)))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        first_token = bool(_setting(folder / _POOLING, "pooling_mode_cls_token", False))
    # The tokenizers package raises bare Exceptions, onnxruntime its own.
    except Exception as error:
        raise ModelUnusable(f"The model in {folder} cannot be loaded: {error}") from error
    return SentenceModel(folder.name, tokenizer, session, first_token=first_token)


def _setting(path: Path, name: str, default: Any) -> Any:
    return json.loads(path.read_text()).get(name, default) if path.is_file() else default
