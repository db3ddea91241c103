# ruff: noqa: RUF001 (the punctuation of other scripts is what these tests are about)
"""Where chunks begin and end: what every text keeps, whatever its script, and what its writer would expect."""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parley.knowledge.chunking import CHUNK_TOKENS, OVERLAP_TOKENS, chunk_sections, count_tokens
from parley.knowledge.sections import Section


def chunks(text: str, *, markdown: bool = False) -> list[str]:
    return [chunk.text for chunk in chunk_sections([Section(text=text, markdown=markdown)])]


def numbered(sentence: str, count: int = 60, *, between: str = " ") -> str:
    """Sentences that differ, so that each has one place."""
    return between.join(sentence.format(number) for number in range(100, 100 + count))


# What a reader of the language would call a sentence (in Thai a clause), with marks that end none inside it.
SENTENCES = {
    "English": ('Room {0} holds 3.14 litres, e.g. of tea; "Is it full?" she asked.', " "),
    "Vietnamese": ("Phòng {0} chứa 3,14 lít nước chè, nhưng hôm nay nó trống rỗng…", " "),
    "Vietnamese, decomposed": ("Phòng {0} chứa nước chè, nhưng nó trô\u0302\u0301ng.", " "),
    "Japanese": ("「部屋{0}には三・一四リットルのお茶がある。」", ""),
    "Japanese with wide stops": ("部屋{0}には３．１４リットルのお茶がある．", ""),
    "Chinese": ("第{0}个房间里有茶，但是今天没有人喝！", ""),
    "Thai": ("ห้องที่{0}มีน้ำชาอยู่สามลิตรแต่วันนี้ไม่มีใครมาดื่มเลยสักคนเดียวในอาคารหลังนี้", " "),
    "Arabic": ("هل الغرفة {0} فارغة، أم فيها شاي؟", " "),
    "Urdu": ("کمرہ {0} خالی ہے، آج وہاں چائے نہیں۔", " "),
    "Hindi": ("कमरा {0} में चाय है, पर आज कोई नहीं आया।", " "),
    "Burmese": ("အခန်း {0} တွင် လက်ဖက်ရည် ရှိသည်။", ""),
    "Khmer": ("បន្ទប់{0}មានតែបីលីត្រប៉ុន្តែថ្ងៃនេះគ្មាននរណាមកផឹកវាទេនៅក្នុងអគារនេះ", " "),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_long_paragraph_is_cut_between_its_sentences(language: str) -> None:
    sentence, between = SENTENCES[language]
    text = numbered(sentence, between=between)
    found = chunks(text)
    starts = {match.start() for match in re.finditer(re.escape(sentence).replace(r"\{0\}", r"\d+"), text)}
    assert len(starts) == 60
    assert len(found) > 1
    for chunk in found:
        start = text.index(chunk)
        end = start + len(chunk) + len(between)
        assert start in starts
        assert end in starts or end >= len(text)
    # Each chunk begins with the last sentences of the one before.
    assert all(after[:20] in before for before, after in pairwise(found))


def test_the_sign_that_repeats_a_thai_word_stays_with_it() -> None:
    assert all(not chunk.startswith("ๆ") for chunk in chunks("มีสิ่งของต่างๆอยู่ในห้องนี้หลายอย่างที่แตกต่างกันมาก ๆ " * 100))


def test_paragraphs_that_fit_are_kept_whole() -> None:
    paragraphs = [numbered("Room {0} holds tea.", count) for count in (30, 60, 45, 5, 80)]
    whole = [part for chunk in chunks("\n\n".join(paragraphs)) for part in chunk.split("\n\n")]
    assert sorted(set(whole)) == sorted(paragraphs)


def test_paragraphs_a_line_each_are_kept_whole() -> None:
    paragraphs = [numbered("Room {0} holds tea.", count) for count in (30, 60, 45, 5, 80)]
    whole = [part for chunk in chunks("\n".join(paragraphs)) for part in chunk.split("\n")]
    assert sorted(set(whole)) == sorted(paragraphs)


def test_short_paragraphs_are_repeated_whole() -> None:
    paragraphs = numbered("Room {0} holds tea and nothing else.", 100).replace(". ", ".\n\n").split("\n\n")
    found = chunks("\n\n".join(paragraphs))
    for before, after in pairwise(found):
        shared = [paragraph for paragraph in after.split("\n\n") if paragraph in before.split("\n\n")]
        assert shared
        assert count_tokens("\n\n".join(shared)) <= OVERLAP_TOKENS


def test_wrapped_lines_are_cut_at_sentences_all_the_same() -> None:
    text = numbered("Room {0} holds tea and\nnothing else\nthat anybody drinks.")
    assert all(chunk.startswith("Room") and chunk.endswith("drinks.") for chunk in chunks(text))


def test_a_long_sentence_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(1000)]
    found = chunks(" ".join(words))
    assert len(found) > 1
    assert all(word in words for chunk in found for word in chunk.split())


def code(lines: int) -> str:
    return "\n".join(
        ["```python", *(f"value_{n} = compute({n}). then(x)\n\n" if n % 3 else f"if {n}:" for n in range(lines)), "```"]
    )


TABLE = "\n".join(["| room | tea |", "|---|---|", *(f"| room {number}. Large | {number} l |" for number in range(50))])


@pytest.mark.parametrize("block", [code(40), TABLE, code(40).replace("```", "~~~~"), "> - " + code(30)])
def test_code_and_tables_that_fit_are_kept_whole(block: str) -> None:
    before, after = numbered("Room {0} holds tea.", 80), numbered("Hall {0} holds tea.", 80)
    found = chunks(f"{before}\n\n{block}\n\n{after}", markdown=True)
    assert any(block in chunk for chunk in found)


@pytest.mark.parametrize("block", [code(300), TABLE.replace("| 5 l |", "| 5 l |\n" + TABLE[28:])])
def test_larger_ones_are_cut_between_lines(block: str) -> None:
    lines = [line.strip() for line in block.split("\n")]
    found = chunks(f"Before.\n\n{block}\n\nAfter.", markdown=True)
    assert len(found) > 1
    for chunk in found:
        assert {line.strip() for line in chunk.split("\n")} <= {*lines, "", "Before.", "After."}


def test_rows_without_outer_bars_are_lines_too() -> None:
    rows = [f"room {number}. large | tea" for number in range(300)]
    assert all(set(chunk.split("\n")) <= set(rows) for chunk in chunks("\n".join(rows)))


def test_a_fence_that_never_closes_is_code_to_its_end() -> None:
    found = chunks("Text.\n" + code(300).removesuffix("```"), markdown=True)
    assert {line for chunk in found for line in chunk.split("\n")} <= {"Text.", *code(300).split("\n")}


def test_a_short_chunk_that_the_next_would_hold_whole_is_left_out() -> None:
    first, short, long = numbered("Room {0} holds tea.", 50), "A short one. " * 10, numbered("Hall {0} holds it.", 90)
    found = chunks(f"{first}\n\nAn end.\n\n{short}\n\n{long}")
    assert not any(one in other for one in found for other in found if one is not other)


# One character each, to a reader; none begins like the end of another.
CHARACTERS = [
    "a", "字", "。", "e\u0302\u0323", "กำ", "เก็", "ນຳ", "क्षि", "ज्\u200dञ", "한", "\u1112\u1161\u11ab", "ｶﾞ", "نَّ",
    "❤\ufe0f", "🇻🇳", "🇯🇵", "👍🏽", "👨\u200d👩\u200d👧\u200d👦", "🏴\U000e0067\U000e0062\U000e007f",
    "o" + "\u0301" * 300,
]  # fmt: skip
WHOLE = re.compile("(?:" + "|".join(sorted(map(re.escape, CHARACTERS), key=len, reverse=True)) + r"|\s)*")
RUN = st.tuples(
    st.lists(st.sampled_from([*CHARACTERS, " ", "\n"]), min_size=1, max_size=8).map("".join), st.integers(1, 600)
).map(lambda run: run[0] * min(run[1], 6000 // len(run[0])))


@settings(max_examples=150, deadline=None)
@given(st.lists(RUN, min_size=1, max_size=4).map("".join))
@example("🇻🇳" * 2000)
@example("a" + "🇯🇵" * 2000)
@example("กำ" * 2000)
@example(" \n".join(["👨\u200d👩\u200d👧\u200d👦" * 100] * 5))
@example(("o" + "\u0301" * 300) * 20)
def test_no_character_is_cut(text: str) -> None:
    if text[:1] != "\u0301":
        assert all(WHOLE.fullmatch(chunk) for chunk in chunks(text))


def test_a_character_larger_than_a_chunk_is_cut_and_nothing_of_it_lost() -> None:
    found = chunks("a " + "o" + "\u0301" * 5000 + " b")
    assert all(count_tokens(chunk) <= CHUNK_TOKENS for chunk in found)
    assert sum(chunk.count("\u0301") for chunk in found) >= 5000


TEXT = st.lists(
    st.one_of(
        RUN,
        st.text(max_size=60),
        st.tuples(st.sampled_from([sentence for sentence, _ in SENTENCES.values()]), st.integers(1, 40)).map(
            lambda pair: numbered(*pair)
        ),
        st.sampled_from(["\n", "\n\n", "\n \n", "\n\n\n\n", "```\n", "~~~", "- ", "| a | b |\n", "\u3000", "\u200b"]),
        st.integers(1, 3000).map(lambda length: "x" * length),
        st.integers(1, 3000).map(lambda length: " " * length),
    ),
    max_size=12,
).map("".join)


def reproduces(source: str, found: list[str]) -> bool:
    """Are the chunks `source` in order, each perhaps with the end of the one before repeated? Blanks count nowhere."""
    ends = {0}
    for chunk in found:
        following = set()
        for end in ends:
            first = end
            while first >= 0 and count_tokens(source[first:end]) <= OVERLAP_TOKENS:
                if source.startswith(chunk, first) and first + len(chunk) > end:
                    following.add(first + len(chunk))
                first -= 1
        ends = following
    return len(source) in ends


@settings(max_examples=200, deadline=None)
@given(TEXT, st.booleans())
def test_chunks_are_the_text_with_bounded_overlap(text: str, markdown: bool) -> None:
    found = chunks(text, markdown=markdown)
    assert all(chunk and chunk == chunk.strip() and count_tokens(chunk) <= CHUNK_TOKENS for chunk in found)
    assert reproduces("".join(text.split()), ["".join(chunk.split()) for chunk in found])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([f"{word}{mark}" for word in ("Tea", "chè", "شاي") for mark in ("", ".", "?", ",")])))
@example(["Tea"] * 3000)
@example(["Tea."] * 3000)
def test_chunks_and_overlaps_begin_and_end_with_whole_words(words: list[str]) -> None:
    assert all(set(chunk.split()) <= set(words) for chunk in chunks(" ".join(words)))


class Watched(str):
    """A text that counts how many of its characters are read."""

    read = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        Watched.read += len(part)
        return part


def work(text: str) -> int:
    """The characters that are read to cut `text`, and the calls that are made."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    Watched.read = 0
    sections: Iterator[Section] = iter([Section(text=Watched(text), markdown=True)])
    sys.setprofile(count)
    try:
        list(chunk_sections(sections))
    finally:
        sys.setprofile(None)
    return Watched.read + calls


@pytest.mark.parametrize(
    "part",
    ["x", " ", "\n", "a\n", "a\n\n", ".", ". ", "a. ", "字", "字。", "ก", "กก ", "🇻🇳", "\u0301", "क्", "`", "```\n",
     "~~~x\n", "| a |\n", "- a\n", "Word word. ", "\n \n", "字、", "\u200d"],
)  # fmt: skip
def test_work_grows_with_the_length_alone(part: str) -> None:
    short = part * (20_000 // len(part))
    assert work(short * 8) < 8.5 * work(short)
