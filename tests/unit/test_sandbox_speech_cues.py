"""Marks in audio, by which measurements tell Nova Sonic's stand-in what a frame is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.models.speech.cues import MARK_BYTES, Arrivals, MarkedEar, mark
from sandbox.models.speech.hearing import Began, Utterance
from sandbox.models.speech.settings import Settings

FRAME = 2_880


def frame(call: int, number: int, cue: str = "") -> bytes:
    return mark(call, number, cue).ljust(FRAME, b"\0")  # type: ignore[arg-type] # the cues of this file are right


@given(st.lists(st.integers(min_value=1, max_value=4_000), min_size=1, max_size=40))
def test_every_mark_is_noted_once_however_the_audio_is_cut(cuts: list[int]) -> None:
    arrivals = Arrivals(now=lambda: 5.0)
    ear = MarkedEar(arrivals)
    audio = b"".join(frame(7, number, "ends" if number == 9 else "") for number in range(1, 13))
    found = []
    for size in cuts:
        found += ear.feed(audio[:size])
        audio = audio[size:]
    found += ear.feed(audio)
    assert arrivals.by_call == {7: [(number, 5.0) for number in range(1, 13)]}
    assert [type(each) for each in found] == [Utterance]


def test_turns_are_made_by_marks() -> None:
    ear = MarkedEar(Arrivals())
    assert ear.feed(frame(1, 1)) == []
    [began] = ear.feed(frame(1, 2, "begins"))
    assert isinstance(began, Began)
    assert began.at == pytest.approx(0.18)
    assert ear.feed(b"\xff" * FRAME) == []
    [utterance] = ear.feed(frame(1, 3, "ends"))
    assert isinstance(utterance, Utterance)
    assert [utterance.start, utterance.end] == pytest.approx([0.18, 0.36])
    assert len(utterance.pcm) == 2 * FRAME
    assert ear.finish() == []


def test_arrivals_can_be_forgotten() -> None:
    arrivals = Arrivals()
    MarkedEar(arrivals).feed(mark(65_535, 2**32 - 1))
    assert [number for number, _ in arrivals.by_call[65_535]] == [2**32 - 1]
    assert MARK_BYTES == 14
    arrivals.clear()
    assert arrivals.by_call == {}


def test_the_setting_is_a_switch() -> None:
    settings = Settings()
    settings.change({"cues": True})
    assert settings.cues
    settings.change({"cues": False, "pace": 2})
    assert not settings.cues
    for wrong in ({"cues": 1}, {"pace": True}, {"cues": None}):
        with pytest.raises(ValueError, match="cannot be"):
            settings.change(wrong)
