"""Speech at 16 kHz is the same speech at 24 kHz."""

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.speech.resampling import Upsampler


def upsampled(pcm: bytes, sizes: list[int] | None = None) -> bytes:
    upsampler, found, start = Upsampler(), b"", 0
    for size in sizes or []:
        found += upsampler.feed(pcm[start : start + size])
        start += size
    return found + upsampler.feed(pcm[start:]) + upsampler.finish()


def tone(frequency: float, rate: int, seconds: float = 0.5, level: float = 10_000) -> array[int]:
    count = round(rate * seconds)
    return array("h", [round(level * math.sin(2 * math.pi * frequency * n / rate)) for n in range(count)])


@pytest.mark.parametrize(
    ("frequency", "error"), [(100, 0.01), (440, 0.01), (1_000, 0.01), (3_000, 0.02), (5_000, 0.05)]
)
def test_a_tone_stays_the_same_tone(frequency: float, error: float) -> None:
    made = array("h", upsampled(tone(frequency, 16_000).tobytes()))
    wanted = tone(frequency, 24_000)
    assert len(made) == len(wanted)
    middle = range(100, len(wanted) - 100)
    noise = math.sqrt(sum((made[n] - wanted[n]) ** 2 for n in middle) / len(middle))
    assert noise < error * 10_000


def test_full_level_is_kept_within_its_range() -> None:
    square = array("h", [32_767, 32_767, -32_768, -32_768] * 200)
    made = array("h", upsampled(square.tobytes()))
    assert max(made) == 32_767
    assert min(made) == -32_768


@given(st.binary(max_size=400), st.lists(st.integers(0, 40), max_size=12))
def test_where_the_sound_is_cut_makes_no_difference(pcm: bytes, sizes: list[int]) -> None:
    whole = upsampled(pcm)
    assert upsampled(pcm, sizes) == whole
    assert len(whole) == 2 * math.ceil(len(pcm) // 2 * 1.5)


def test_silence_stays_silence() -> None:
    assert upsampled(bytes(3_200)) == bytes(4_800)
