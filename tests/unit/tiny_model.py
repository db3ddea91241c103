"""A sentence model of a few words, as sentence-transformers lays its models out: made of bytes, without a package.

ONNX files are protocol buffers (onnx/onnx.proto): here one `Gather` that looks tokens up in a table of vectors.
"""

import json
import struct
from pathlib import Path
from typing import Any

VOCABULARY = {"[UNK]": 0, "car": 1, "automobile": 2, "truck": 3, "boat": 4, "train": 5}
_WIDTH = len(VOCABULARY)
_FLOAT, _INT64 = 1, 7
_INPUTS = ("input_ids", "attention_mask")


def write_tiny_model(folder: Path) -> Path:
    """Write the model's files; `car` and `automobile` have one vector."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(_model())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": False}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4}))
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": {
            "strategy": {"Fixed": 16},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[UNK]",
        },
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def _model() -> bytes:
    rows = [[1.0 if column == (1 if row == 2 else row) else 0.0 for column in range(_WIDTH)] for row in range(_WIDTH)]
    values = struct.pack(f"<{_WIDTH * _WIDTH}f", *(value for row in rows for value in row))
    table = _number(1, _WIDTH) + _number(1, _WIDTH) + _number(2, _FLOAT) + _text(8, "table") + _bytes(9, values)
    node = _text(1, "table") + _text(1, "input_ids") + _text(2, "last_hidden_state") + _text(4, "Gather")
    graph = _bytes(1, node) + _text(2, "tiny") + _bytes(5, table)
    graph += b"".join(_bytes(11, _tensor(name, _INT64, "batch", "tokens")) for name in _INPUTS)
    graph += _bytes(12, _tensor("last_hidden_state", _FLOAT, "batch", "tokens", "width"))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, 13))


def _tensor(name: str, kind: int, *dimensions: str) -> bytes:
    shape = b"".join(_bytes(1, _text(2, dimension)) for dimension in dimensions)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
