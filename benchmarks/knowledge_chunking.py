"""Chunking beside LangChain's recursive splitter with the same token counter."""

import os
import sys
import time
from collections.abc import Callable

from langchain_text_splitters import RecursiveCharacterTextSplitter
from parley.knowledge.chunking import CHUNK_TOKENS, OVERLAP_TOKENS, chunk_sections, count_tokens
from parley.knowledge.sections import Section

from benchmarks.report import Measurement, measurement
from benchmarks.samples import interleaved, seconds_of

CHARACTERS = 1_000_000
"""Characters of each text."""

_SENTENCES = {
    "English": "The gateway closes connections that were idle for ten minutes. ",
    "Vietnamese": "Cổng đóng các kết nối không hoạt động sau mười phút. ",
    "Japanese": "ゲートウェイは十分間アイドル状態の接続を閉じます。",
    "Thai": "เกตเวย์จะปิดการเชื่อมต่อที่ไม่ได้ใช้งานเป็นเวลาสิบนาที ",
}


def measure(*, rounds: int) -> dict[str, Measurement]:
    """Seconds to cut a text of a million characters, in paragraphs and unbroken; and seconds of the import."""
    peer = RecursiveCharacterTextSplitter(
        chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS, length_function=count_tokens
    )
    measured: dict[str, Measurement] = {}
    for language, sentence in _SENTENCES.items():
        paragraph = sentence * 8
        texts = {
            "paragraphs": "\n\n".join([paragraph.strip()] * (CHARACTERS // len(paragraph))),
            "unbroken": sentence.replace(" ", "") * (CHARACTERS // len(sentence)),
        }
        for kind, text in texts.items():
            seconds = interleaved({"ours": _timed(_cut, text), "peer": _timed(peer.split_text, text)}, rounds=rounds)
            measured[f"chunking {language}, {kind}"] = measurement(seconds["ours"], "s", baseline=seconds["peer"])
    return measured | {"chunking import": _import()}


def _cut(text: str) -> list[str]:
    return [chunk.text for chunk in chunk_sections([Section(text=text)])]


def _timed(cut: Callable[[str], object], text: str) -> Callable[[], float]:
    def sample() -> float:
        started = time.perf_counter()
        cut(text)
        return time.perf_counter() - started

    return sample


def _import() -> Measurement:
    """What the import costs a process that has started."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def importing(statement: str) -> Callable[[], float]:
        return lambda: seconds_of([sys.executable, "-c", statement], environment=environment)

    seconds = interleaved(
        {
            "bare": importing("pass"),
            "ours": importing("import parley.knowledge.chunking"),
            "peer": importing("import langchain_text_splitters"),
        },
        rounds=5,
    )
    return measurement(
        1000 * (seconds["ours"] - seconds["bare"]),
        "ms",
        baseline=1000 * (seconds["peer"] - seconds["bare"]),
        note="baseline: LangChain's splitters; limit 50 ms",
    )
