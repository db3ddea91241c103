"""Sentences are found as they are written, in any script, however the text is cut."""
# ruff: noqa: RUF001 - the marks of other scripts are what this is about

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.speech.sentences import LONGEST, Sentences, speakable


def split(text: str, language: str = "en-US") -> list[str]:
    sentences = Sentences(language)
    return sentences.feed(text) + sentences.finish()


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en-US", ["It is 3.14 so far.", "Then it grows!", "Does it?", "Yes."]),
        ("en-US", ["Mr. J. Smith met Dr. Brown at 5 p.m. on Jan. 3.", "They spoke, e.g. of tea."]),
        ("en-US", ["It costs 32.", "That is cheap."]),
        ("en-US", ['He said "Stop!"', "(She did not.)", "So what?!", "Well…", "Go on..."]),
        ("en-US", ["Open parley.example.com now.", "Version 1.2.3 is out."]),
        ("en-US", ["This is not for you and I.", "It is mine."]),
        ("de-DE", ["Am 3. Mai kommt Hr. Müller, d.h. bald.", "Er bringt z.B. Brot usw. mit.", "Gut so!"]),
        ("fr-FR", ["M. Dupont arrive.", "Où est-il ?", "« Ici ! »", "Voilà."]),
        ("es-ES", ["¿Qué es esto?", "¡Hola, Sra. López!", "Nada."]),
        ("zh-CN", ["你好。", "今天怎么样？", "很好！", "价格是3.5元"]),
        ("ja-JP", ["「はい。」", "そうです。"]),
        ("hi-IN", ["यह ठीक है।", "क्या हुआ?", "कुछ नहीं।"]),
        ("ar-AE", ["كيف حالك؟", "أنا بخير."]),
    ],
)
def test_sentences_are_whole(language: str, sentences: list[str]) -> None:
    spaced = "" if language in {"zh-CN", "ja-JP"} else " "
    assert split(spaced.join(sentences), language) == sentences


def test_lists_and_headings_end_with_their_line() -> None:
    assert split("The steps\n1. Open the door. Wait.\n2. Go in\n\nDone") == [
        "The steps",
        "1. Open the door.",
        "Wait.",
        "2. Go in",
        "Done",
    ]


def test_a_sentence_is_out_as_soon_as_the_next_begins() -> None:
    sentences = Sentences()
    assert sentences.feed("It is so") == []
    assert sentences.feed(". ") == []
    assert sentences.feed("And") == ["It is so."]
    assert Sentences("zh-CN").feed("好。很") == ["好。"]
    assert sentences.finish() == ["And"]
    assert sentences.finish() == []


@pytest.mark.parametrize("text", ["word " * 200, "x" * 1_000, "字" * 1_000, "one, two; " * 100])
def test_a_sentence_without_end_is_cut(text: str) -> None:
    parts = split(text)
    assert all(0 < len(part) <= LONGEST for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


PIECES = st.text(alphabet="ab Z.!?…\n\"')。？1।؟,é", max_size=80)


@given(PIECES, st.lists(st.integers(1, 10), max_size=40))
def test_where_the_text_is_cut_makes_no_difference_and_nothing_is_lost(text: str, cuts: list[int]) -> None:
    whole = split(text)
    sentences, found, start = Sentences(), [], 0
    for length in cuts:
        found += sentences.feed(text[start : start + length])
        start += length
    found += sentences.feed(text[start:]) + sentences.finish()
    assert found == whole
    assert "".join("".join(whole).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in whole)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        (
            "A **bold** and _soft_ `word` [1], and [a link](https://x.example/y) [2, 3].",
            "A bold and soft word, and a link.",
        ),
        ("## Heading", "Heading"),
        ("- an item\n* another", "an item another"),
        ("Code:\n```python\nx = 1\n```\nDone.", "Code: Done."),
        ("2 * 3 is 6 and snake_case stays", "2 * 3 is 6 and snake_case stays"),
        ("[1]", ""),
    ],
)
def test_marks_are_not_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
