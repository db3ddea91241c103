"""What of the synthesizer needs no service: settings, speech marks, repeated phrases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.aws.polly import Phrases, PollySettings, PollySynthesizer, Prosody, words_at


@pytest.mark.parametrize(
    "fields", [{"rate": "110%"}, {"rate": "x-slow"}, {"volume": "+6dB"}, {"volume": "soft", "rate": "20%"}]
)
def test_prosody_is_ssml(fields: dict[str, str]) -> None:
    content, kind = PollySynthesizer(PollySettings(prosody=Prosody(**fields)))._content('Say "a < b" & c\x00')
    assert kind == "ssml"
    assert content.startswith("<speak><prosody ")
    for name, value in fields.items():
        assert f'{name}="{value}"' in content
    assert content.endswith('>Say "a &lt; b" &amp; c </prosody></speak>')


@pytest.mark.parametrize("settings", [PollySettings(), PollySettings(prosody=Prosody())])
def test_without_prosody_a_text_is_a_text(settings: PollySettings) -> None:
    assert PollySynthesizer(settings)._content("<b> & c") == ("<b> & c", "text")


@pytest.mark.parametrize("fields", [{"rate": "10%"}, {"rate": "201%"}, {"volume": "6"}, {"rate": '"/><break time="9s'}])
def test_prosody_that_polly_does_not_know_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Prosody(**fields)


def mark(word: str, milliseconds: int, kind: str = "word") -> bytes:
    return f'{{"time":{milliseconds},"type":"{kind}","start":0,"end":1,"value":"{word}"}}\n'.encode()


def test_words_are_cut_with_what_follows_them() -> None:
    marks = mark("Oh", 6) + mark("no", 250) + mark("x", 260, "viseme") + mark("so", 600) + mark("gone", 900)
    assert words_at('"Oh, no!" So — so.', marks) == [(0.0, '"Oh, '), (0.25, 'no!" So — '), (0.6, "so.")]
    assert words_at("Nothing said", b"") == [(0.0, "Nothing said")]


@given(st.lists(st.text(alphabet="abcé字", min_size=1, max_size=4), min_size=1, max_size=8))
def test_the_words_together_are_the_text(words: list[str]) -> None:
    text = " ".join(words)
    marks = b"".join(mark(word, 100 * number) for number, word in enumerate(words))
    found = words_at(text, marks)
    assert "".join(word for _, word in found) == text
    assert [time for time, _ in found] == sorted(time for time, _ in found)


def test_phrases_are_kept_up_to_a_limit_and_the_latest_longest() -> None:
    phrases = Phrases(limit=100)
    phrases.keep(("a",), ["a", bytes(39)])
    phrases.keep(("b",), ["b", bytes(39)])
    assert phrases.find(("a",)) == ("a", bytes(39))
    phrases.keep(("c",), ["c", bytes(39)])
    assert phrases.find(("b",)) is None
    assert phrases.find(("a",))
    assert phrases.find(("c",))
    phrases.keep(("d",), ["d", bytes(100)])
    assert phrases.find(("d",)) is None
    phrases.keep(("a",), ["other"])
    assert phrases.find(("a",)) == ("a", bytes(39))
