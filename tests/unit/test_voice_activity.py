"""Voice activity: where speech begins and ends, however its samples arrive."""

import random

import pytest
from parley.speech.activity import PAUSE_SECONDS, Began, Ended, VoiceActivity
from parley.speech.audio import input_bytes, input_seconds

from tests.unit.speech_doubles import speech

QUESTION = speech("How large may a frame be?")


def silence(seconds: float) -> bytes:
    return bytes(input_bytes(seconds))


def changes(pcm: bytes, size: int = 2_880) -> list[Began | Ended]:
    activity = VoiceActivity()
    return [change for start in range(0, len(pcm), size) for change in activity.feed(pcm[start : start + size])]


def test_an_utterance_begins_and_ends_where_it_is_spoken() -> None:
    found = changes(silence(1) + QUESTION + silence(1) + QUESTION + silence(1))
    assert [type(change) for change in found] == [Began, Ended, Began, Ended]
    first, ended, second, _ = (change.at for change in found)
    length = input_seconds(len(QUESTION))
    assert first == pytest.approx(1.0, abs=0.25)
    assert ended == pytest.approx(1.0 + length, abs=0.35)
    assert second == pytest.approx(2.0 + length, abs=0.25)


def test_an_end_is_known_after_a_pause_and_not_before() -> None:
    activity = VoiceActivity()
    activity.feed(QUESTION)
    assert activity.speaking
    assert not activity.feed(silence(PAUSE_SECONDS / 3))
    assert activity.feed(silence(PAUSE_SECONDS))
    assert not activity.speaking
    assert activity.position == pytest.approx(input_seconds(len(QUESTION)) + PAUSE_SECONDS * 4 / 3, abs=0.05)


@pytest.mark.parametrize("size", [320, 962, 6_400])
def test_the_size_of_frames_makes_no_difference(size: int) -> None:
    pcm = silence(0.5) + QUESTION + silence(1)
    assert changes(pcm, size) == changes(pcm)


def test_silence_and_a_click_are_no_speech() -> None:
    generator = random.Random(7)
    hiss = b"".join(generator.randint(-30, 30).to_bytes(2, "little", signed=True) for _ in range(16_000))
    click = b"\x00\x60" * 800
    assert not changes(silence(1) + hiss + click + silence(1))
