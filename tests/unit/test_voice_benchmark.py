"""What `scripts/bench voice` makes of what it sees: word errors, lost frames, broken promises, the bill of a minute."""

from collections import Counter
from pathlib import Path

import pytest
from parley_client import Session

from benchmarks import voice_cost
from benchmarks.voice_calls import Call, Outcome, note, percentile
from benchmarks.voice_processes import Used
from benchmarks.voice_recordings import errors, samples, words
from benchmarks.voice_sizes import bundle_bytes
from operations.environment import OperationError


def a_call(sent: dict[int, float]) -> Call:
    return Call(1, Session("http://nowhere.invalid", token="none"), sent=sent)


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words("It\u2019s 5 o'clock \u2014 isn't it?\n") == "it's 5 o'clock isn't it"
    assert words("Qu'est-ce que c'est ?") == "qu'est ce que c'est"


def test_word_errors_are_counted_over_all_recordings() -> None:
    found = errors(["How long is a ticket valid?", "Yes."], ["how long is ticket valid today", "yes"])
    assert (found.substitutions, found.deletions, found.insertions, found.words) == (0, 1, 1, 7)
    assert found.rate == pytest.approx(2 / 7)


def test_only_recordings_with_a_transcript_are_taken(tmp_path: Path) -> None:
    for name in ("a.wav", "a.txt", "b.wav", "c.txt"):
        (tmp_path / name).write_text("said")
    assert [(sample.path.name, sample.said) for sample in samples(tmp_path)] == [("a.wav", "said")]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(OperationError, match="no recording with a transcript"):
        samples(tmp_path)


def test_lost_and_reordered_frames_are_noticed() -> None:
    outcome = Outcome(1)
    sent = {number: float(number) for number in range(1, 7)}
    outcome.take(a_call(sent), [(1, 1.01), (3, 3.01), (2, 3.02), (3, 3.03), (4, 4.01), (6, 6.01)])
    assert (outcome.said, outcome.lost, outcome.reordered) == (6, 1, 2)
    assert sorted(outcome.relay) == pytest.approx([0.01, 0.01, 0.01, 0.01, 1.02])
    assert outcome.broken == "1 frames lost, 2 reordered"


def test_what_breaks_is_named() -> None:
    assert Outcome(3).broken == "no frame reached the engine"
    kept = Outcome(1, relay=[0.02] * 100, said=100)
    assert kept.broken is None
    kept.troubles = Counter({"reconnection": 2})
    assert kept.broken == "2 x reconnection"
    assert Outcome(1, relay=[0.2] * 100).broken == "relay p99 above 250 ms"


def test_the_row_of_the_number_that_breaks_says_who_was_busiest() -> None:
    used = {"workers": Used(3.0, 100.0), "ministack": Used(9.0, 500.0)}
    late = Outcome(30, ready=[1.0], seconds=10.0, relay=[0.2] * 100, said=100, used=used)
    assert "BROKE: relay p99 above 250 ms; busiest then: ministack (an emulator), 0.90 cores" in note(late)
    kept = Outcome(1, seconds=10.0, relay=[0.02] * 100, said=100, used=used)
    assert "busiest" not in note(kept)


def test_only_parleys_own_processes_count() -> None:
    used = {"workers": Used(2.0, 100.0), "gateway": Used(1.0, 50.0), "ministack": Used(9.0, 500.0)}
    assert Outcome(2, spoken_seconds=120.0, used=used).cpu_a_minute == pytest.approx(1.5, rel=1e-3)


def test_percentiles() -> None:
    assert percentile([5.0], 99) == 5.0
    assert percentile([float(number) for number in range(101)], 99) == pytest.approx(99)


def test_a_minutes_bill_follows_from_sizes() -> None:
    bill = {line.name: line for line in voice_cost.lines(memory_mb=512)}
    # 90 ms of PCM and its keys: less than 3 KB, or each frame would cost a fourth unit.
    assert 2_880 < voice_cost.frame_item_bytes() <= 3 * 1024
    assert voice_cost.frame_message_bytes() < 32 * 1024
    assert bill["write units of audio"].count == pytest.approx(2_000)
    assert bill["GB-seconds of the worker"].count == 30
    silent = sum(line.usd for line in voice_cost.lines(memory_mb=512, share=0))
    assert silent < sum(line.usd for line in bill.values()) < voice_cost.model_usd()


def test_the_relay_is_read_about_once_a_frame() -> None:
    assert 1 <= voice_cost.reads_a_frame(frames=300, jitter=0) < 2
    assert voice_cost.reads_a_frame(frames=300, jitter=0.02) < 3


def test_quotas_begin_with_the_fewest_calls() -> None:
    allowed = voice_cost.quotas(memory_mb=512, voice_calls=50)
    assert [quota.calls for quota in allowed] == sorted(quota.calls for quota in allowed)
    assert all(quota.calls > 0 and quota.source for quota in allowed)


def test_a_bundle_is_weighed_as_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "app.js").write_text("x" * 100_000)
    (tmp_path / "assets" / "app.js.map").write_text("y" * 100_000)
    (tmp_path / "font.woff2").write_bytes(b"z" * 1_000)
    assert 1_000 < bundle_bytes(tmp_path) < 2_000
