"""What the engines speak is what their services speak."""

import re
from pathlib import Path

import pytest
from parley.errors import LanguageUnsupported
from parley.speech.voices import CASCADE, NOVA_SONIC, Voice

from sandbox.models.speech.voices import NOVA, POLLY

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "speech-engines.md"


def test_every_voice_of_nova_sonic_is_one_of_the_service() -> None:
    for language, voices in NOVA_SONIC.voices.items():
        for voice in voices:
            assert voice.id in NOVA
            assert language == "hi-IN" or language in NOVA[voice.id].languages


def test_every_voice_of_the_cascade_is_one_of_polly_with_its_engine() -> None:
    for voices in CASCADE.voices.values():
        assert voices
        for voice in voices:
            known = POLLY[voice.id]
            assert voice.language in known.languages
            assert voice.generative == ("generative" in known.engines)
            assert voice.neural == ("neural" in known.engines)


def test_the_documentation_lists_every_voice_in_its_order() -> None:
    rows = re.findall(r"^\| `(\w\w-\w\w)` \| (.*?) ?\| (.*?) ?\|$", DOCUMENTATION.read_text(), re.MULTILINE)

    assert {language: cell.split() for language, cell, _ in rows if cell} == {
        language: [voice.id for voice in voices] for language, voices in NOVA_SONIC.voices.items()
    }
    assert {language: cell.split() for language, _, cell in rows if cell} == {
        language: [voice.id + _mark(voice) for voice in voices] for language, voices in CASCADE.voices.items()
    }


def _mark(voice: Voice) -> str:
    return ("*" if voice.neural else "**") if voice.generative else ""


def test_a_preferred_voice_speaks_its_language_unless_another_is_chosen() -> None:
    preferring = CASCADE.preferring({"en-US": "ruth"})

    assert preferring.voice("en-US").id == "Ruth"
    assert preferring.voice("en-US", "Joanna").id == "Joanna"
    assert set(preferring.voices["en-US"]) == set(CASCADE.voices["en-US"])
    assert preferring.voices["de-DE"] == CASCADE.voices["de-DE"]
    with pytest.raises(LanguageUnsupported):
        CASCADE.preferring({"en-US": "Vicki"})


def test_a_language_has_a_voice_or_is_refused() -> None:
    assert NOVA_SONIC.voice("en-US").id == "matthew"
    assert NOVA_SONIC.voice("en-US", "TIFFANY").id == "tiffany"
    assert CASCADE.voice("zh-CN").language == "cmn-CN"
    with pytest.raises(LanguageUnsupported, match="does not speak"):
        NOVA_SONIC.voice("vi-VN")
    with pytest.raises(LanguageUnsupported, match="There is no voice"):
        CASCADE.voice("en-US", "Vicki")
