"""Chunking beside LangChain's recursive splitter with the same token counter: speed, recall and import."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from langchain_text_splitters import RecursiveCharacterTextSplitter
from parley.knowledge.chunking import CHUNK_TOKENS, OVERLAP_TOKENS, chunk_sections, count_tokens
from parley.knowledge.sections import Section

from benchmarks.knowledge_chunk_recall import ChunkRecall, articles
from benchmarks.knowledge_squad import DataSet, load_all
from benchmarks.report import Measurement, measurement
from benchmarks.samples import interleaved, run

CHARACTERS = 500_000
"""Characters of each text, about."""

FAST_ROUNDS = 10
"""How many times as often the texts are cut that take milliseconds."""

_SENTENCES = {
    "English": "The gateway closes connections that were idle for ten minutes. ",
    "Vietnamese": "Cổng đóng các kết nối không hoạt động sau mười phút. ",
    "Japanese": "ゲートウェイは十分間アイドル状態の接続を閉じます。",
    "Thai": "เกตเวย์จะปิดการเชื่อมต่อที่ไม่ได้ใช้งานเป็นเวลาสิบนาที ",
    "Arabic": "تغلق البوابة الاتصالات التي بقيت خاملة عشر دقائق. ",
    "Hindi": "गेटवे दस मिनट तक निष्क्रिय रहे कनेक्शन बंद कर देता है। ",
}
_UNBROKEN = "unbroken"
_JOINED = {"paragraphs": "\n\n", "one paragraph an article": " "}


def measure(*, data: Path, rounds: int) -> dict[str, Measurement]:
    """Seconds of CPU time to cut texts, recall@5 of the chunks, and milliseconds of the import.

    The texts are written here, one sentence over and over; where there are data sets at `data`, theirs come first.
    Raises SystemExit with one sentence when those cannot be read.
    """
    peer = RecursiveCharacterTextSplitter(
        chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS, length_function=count_tokens
    ).split_text
    try:
        data_sets = load_all(data) if data.exists() else []
    except ValueError as error:
        raise SystemExit(str(error)) from error
    measured: dict[str, Measurement] = {}
    for name, text in _texts(data_sets):
        is_unbroken = name.endswith(_UNBROKEN)
        seconds = interleaved(
            {"ours": _timed(_cut, text), "peer": _timed(peer, text)},
            rounds=rounds if is_unbroken else rounds * FAST_ROUNDS,
        )
        limit = f"at most {1 / 3 if is_unbroken else 1:.2g}"
        measured[f"chunking {name}"] = measurement(seconds["ours"], "s", baseline=seconds["peer"], note=limit)
    for data_set in data_sets:
        measured |= _recall(data_set, peer)
    return measured | {"chunking import": _import()}


def _texts(data_sets: Sequence[DataSet]) -> Iterator[tuple[str, str]]:
    for data in data_sets:
        whole = "\n\n".join(articles(data, "\n\n"))
        whole = "\n\n".join([whole] * (CHARACTERS // len(whole) + 1))
        yield f"{data.name}, paragraphs", whole
        yield f"{data.name}, a paragraph a line", whole.replace("\n\n", "\n")
        yield f"{data.name}, one paragraph an article", "\n\n".join(articles(data, " "))
        yield f"{data.name}, {_UNBROKEN}", "".join(whole.split())
    for language, sentence in _SENTENCES.items():
        short, long = (sentence * 8).strip(), (sentence * 60).strip()
        yield f"{language}, paragraphs", "\n\n".join([short] * (CHARACTERS // len(short)))
        yield f"{language}, a paragraph a line", "\n".join([short] * (CHARACTERS // len(short)))
        yield f"{language}, long paragraphs", "\n\n".join([long] * (CHARACTERS // len(long)))
        yield f"{language}, {_UNBROKEN}", sentence.replace(" ", "") * (CHARACTERS // len(sentence))


def _recall(data: DataSet, peer: Callable[[str], list[str]]) -> dict[str, Measurement]:
    """Recall@5 of both splitters' chunks, for articles in paragraphs and for articles without."""
    measured: dict[str, Measurement] = {}
    for kind, separator in _JOINED.items():
        recall = ChunkRecall(data, separator)
        baseline = recall.measure(peer)
        for retriever, value in recall.measure(_cut).items():
            measured[f"recall@5 of chunks {data.name}, {kind}, {retriever}"] = measurement(
                value, "", baseline=baseline[retriever], note="at least 1"
            )
    return measured


def _cut(text: str) -> list[str]:
    return [chunk.text for chunk in chunk_sections([Section(text=text)])]


def _timed(cut: Callable[[str], object], text: str) -> Callable[[], float]:
    def sample() -> float:
        # CPU time: what others do on the machine counts for neither.
        started = time.process_time()
        cut(text)
        return time.process_time() - started

    return sample


def _import() -> Measurement:
    """CPU time of the import in a process that has started."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def importing(module: str) -> Callable[[], float]:
        program = f"import time; start = time.process_time(); import {module}; print(time.process_time() - start)"
        return lambda: 1000 * float(run([sys.executable, "-c", program], environment=environment))

    milliseconds = interleaved(
        {"ours": importing("parley.knowledge.chunking"), "peer": importing("langchain_text_splitters")}, rounds=9
    )
    return measurement(
        milliseconds["ours"],
        "ms",
        baseline=milliseconds["peer"],
        note="baseline: LangChain's splitters; at most 50 ms",
    )
