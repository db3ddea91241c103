"""What of an answer was heard, and what becomes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.speech.audio import output_bytes
from parley.speech.turns import SpokenTurn

from tests.unit.conversation_doubles import passage


def turn() -> SpokenTurn:
    return SpokenTurn(turn_id="t", question_id="q", asked_at="2026-11-21T09:00:00.000Z")


def voice(seconds: float) -> bytes:
    return bytes(output_bytes(seconds))


def announced(*pieces: tuple[str, float]) -> SpokenTurn:
    one = turn()
    for text, seconds in pieces:
        one.say(text, spoken=False)
        one.speak(voice(seconds))
    return one


def test_whole_pieces_and_the_words_of_the_last_are_heard() -> None:
    one = announced(("The first sentence.", 2.0), ("The second has six words here.", 3.0))
    assert one.text == "The first sentence. The second has six words here."
    assert one.text_heard(0) == ""
    assert one.text_heard(2000) == "The first sentence."
    assert one.text_heard(3600) == "The first sentence. The second has"
    assert one.text_heard(60_000) == one.text


def test_pieces_that_come_after_their_voice_lie_where_it_was() -> None:
    one = turn()
    one.speak(voice(2.0))
    one.say("The first sentence.", spoken=True)
    one.speak(voice(2.0))
    one.say("And a second one.", spoken=True)
    assert one.text_heard(2000) == "The first sentence."
    assert one.text_heard(4000) == "The first sentence. And a second one."


def test_what_was_spoken_replaces_what_was_announced() -> None:
    one = announced(("One two three.", 1.0), ("Four five six.", 1.0))
    one.say("One two three.", spoken=True)
    one.say("Four five, six.", spoken=True)
    assert one.text == "One two three. Four five, six."
    assert one.text_heard(1000) == "One two three."


def test_one_spoken_text_may_stand_for_several_pieces() -> None:
    one = announced(("One two three.", 1.0), ("Four five six.", 1.0), ("Seven.", 1.0))
    one.say("One two three. Four five six.", spoken=True)
    assert one.text == "One two three. Four five six. Seven."
    assert one.text_heard(2000) == "One two three. Four five six."


def test_an_announced_piece_without_a_voice_was_not_heard() -> None:
    one = announced(("Heard.", 1.0))
    one.say("Never spoken.", spoken=False)
    one.say("Nor this.", spoken=False)
    one.say("   ", spoken=False)
    assert one.text_heard(10_000) == "Heard."


def test_a_script_without_spaces_is_cut_between_characters() -> None:
    one = announced(("今日はとても良い天気です。", 1.2), ("散歩に行きましょう。", 1.0))
    assert one.text_heard(600) == "今日はとても"
    assert one.text == "今日はとても良い天気です。散歩に行きましょう。"


@given(
    pieces=st.lists(st.tuples(st.text("abc de\n\u4f60\u597d", min_size=1, max_size=20), st.floats(0, 3)), max_size=6),
    earlier=st.integers(0, 20_000),
    later=st.integers(0, 20_000),
)
def test_who_listens_longer_hears_no_less(pieces: list[tuple[str, float]], earlier: int, later: int) -> None:
    one = announced(*pieces)
    earlier, later = sorted((earlier, later))
    assert one.text_heard(later).startswith(one.text_heard(earlier))
    assert len(one.text_heard(later)) <= len(one.text)


@pytest.mark.parametrize(
    ("events", "question"),
    [
        ([("Hel", False), ("Hello", False), ("Hello.", True)], "Hello."),
        ([("Hello.", True), ("How", False), ("How are you?", True)], "Hello. How are you?"),
        ([("Hello.", True), ("How", False)], "Hello. How"),
        ([("", True)], ""),
    ],
)
def test_a_question_is_its_final_pieces_and_the_one_that_may_change(
    events: list[tuple[str, bool]], question: str
) -> None:
    one = turn()
    for text, final in events:
        one.hear(text, final=final)
    assert one.question == question


def test_passages_of_several_tools_are_numbered_on() -> None:
    one = turn()
    one.found([passage(1), passage(2)])
    one.found([passage(3)])
    assert [(citation.id, citation.document) for citation in one.citations] == [
        (1, "file-1.md"),
        (2, "file-2.md"),
        (3, "file-3.md"),
    ]
