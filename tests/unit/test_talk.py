"""`scripts/talk` against a server on loopback, with recordings of many kinds."""

import asyncio
import json
import threading
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from parley_client import INPUT_RATE
from websockets.asyncio.server import ServerConnection

from operations import sound, talk
from operations.environment import OperationError
from tests.unit.client_peer import VOICE, Peer, answer, serving


@dataclass
class Assistant(Peer):
    """Says something when so many frames have come."""

    answers_at: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """What it sends at which frame; `{"voice": n}` is n pieces of its voice."""

    async def hear(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        await super().hear(connection, message)
        for each in self.answers_at.pop(message["seq"], []):
            if "voice" in each:
                await self.speak("t1", each["voice"])
            else:
                await self.say(each)


@pytest.fixture
def peer() -> Iterator[Assistant]:
    peer = Assistant()
    up, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(peer):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve(), loop_factory=lambda: loop))
    thread.start()
    assert up.wait(10)
    yield peer
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "SETTLED", 0.2)
    for name in ("PARLEY_TOKEN", "PARLEY_API_KEY", "PARLEY_USER", "PARLEY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def tone(
    path: Path, *, seconds: float = 0.3, rate: int = INPUT_RATE, channels: int = 1, subtype: str = "PCM_16"
) -> Path:
    """A recording of a 440 Hz tone."""
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.repeat(sine[:, None], channels, axis=1), rate, subtype=subtype)
    return path


def samples(path: Path) -> np.ndarray:
    return np.frombuffer(b"".join(sound.read(path)), "<i2")


def run(peer: Peer, *arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    given = [str(argument) for argument in arguments]
    status = talk.main([*given, "--url", peer.url, "--token", "good"])
    out, err = capsys.readouterr()
    return status, out, err


def said(role: str, text: str, *, final: bool = True) -> dict[str, Any]:
    return {"type": "transcript", "turn_id": "t1", "role": role, "text": text, "final": final}


CONVERSATION = [
    said("user", "Do bees", final=False),
    said("user", "Do bees sleep?"),
    {"type": "tool", "turn_id": "t1", "name": "search_knowledge", "status": "started"},
    said("assistant", "They do."),
    {"voice": 3},
    answer(),
    {"type": "usage", "turn_id": "t1", "input_tokens": 1, "output_tokens": 2, "cost_usd": 0.0012},
]


def test_a_recording_is_answered(peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answers_at = {4: CONVERSATION}
    out = tmp_path / "answer.wav"
    status, printed, trouble = run(peer, tone(tmp_path / "question.wav"), "--out", out, capsys=capsys)
    assert (status, trouble) == (0, "")
    assert printed.splitlines() == [
        "you: Do bees sleep?",
        "  [search_knowledge]",
        "parley: They do.",
        "  [1] bees.md",
        f"0.3 s spoken, 0.3 s of answer, $0.0012 for the models, written to {out}",
    ]
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.readframes(10**6) == VOICE * 3
    assert peer.sent("session.end")
    # It is spoken in real time, with silence after it, so that whoever listens notices its end.
    assert len(peer.frames) > 6
    assert any(peer.frames[1])
    assert not any(peer.frames[6])


def test_the_result_as_json(peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answers_at = {
        2: [{"type": "error", "code": "audio_invalid", "message": "Odd.", "retryable": False}, *CONVERSATION]
    }
    peer.close_at = [3]
    status, printed, _ = run(
        peer, tone(tmp_path / "q.wav"), "--json", "--conversation", "c0", "--language", "en-GB", capsys=capsys
    )
    document = json.loads(printed)
    assert status == 0
    assert document["conversation_id"] == "c1"
    assert [(each["role"], each["text"]) for each in document["said"]] == [
        ("user", "Do bees sleep?"),
        ("assistant", "They do."),
    ]
    assert document["answers"][0]["citations"][0]["document"] == "bees.md"
    assert document["problems"][0]["code"] == "audio_invalid"
    assert document["reconnections"] == 1
    assert (document["spoken_seconds"], document["answer_seconds"], document["out"]) == (0.3, 0.3, None)
    assert peer.starts[0]["conversation_id"] == "c0"
    assert peer.starts[0]["language"] == "en-GB"


def test_nobody_answers(peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answers_at = {2: [said("user", "Do bees sleep?")]}
    status, printed, trouble = run(peer, tone(tmp_path / "q.wav"), "--patience", "0.3", capsys=capsys)
    assert status == talk.UNANSWERED
    assert "you: Do bees sleep?" in printed
    assert trouble == "Not answered within 0.3 s after the recording.\n"


def test_the_session_ends_too_early(peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.answers_at = {2: [{"type": "session.ended", "reason": "replaced"}]}
    status, _, trouble = run(peer, tone(tmp_path / "q.wav"), capsys=capsys)
    assert status == talk.UNANSWERED
    assert "replaced" in trouble


def test_interruptions_and_troubles_are_shown(
    peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.answers_at = {
        2: [
            {"type": "tool", "turn_id": "t0", "name": "clock", "status": "failed"},
            said("assistant", "Well"),
            {"type": "interrupted", "turn_id": "t1"},
            {"type": "error", "code": "model_unavailable", "message": "Nobody thinks.", "retryable": True},
            answer(citations=[]),
        ]
    }
    status, printed, _ = run(peer, tone(tmp_path / "q.wav"), capsys=capsys)
    assert status == 0
    assert "  [clock failed]\nparley: Well\n  [interrupted]\n  Nobody thinks. (model_unavailable)\n" in printed


def test_a_refusal_is_one_sentence(peer: Assistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.http_answers = [(401, {"message": "Unauthorized"}, {})] * 2
    status, _, trouble = run(peer, tone(tmp_path / "q.wav"), capsys=capsys)
    assert (status, trouble) == (talk.NOT_DONE, "The token is not valid (any more): give a new one.\n")
    peer.http_answers = [(404, {"error": {"code": "not_found", "message": "No such session."}}, {})]
    assert run(peer, tone(tmp_path / "q.wav"), capsys=capsys) == (talk.NOT_DONE, "", "No such session.\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.wav"], "missing.wav is no file."),
        (["text.wav"], "text.wav holds no sound that can be read"),
        (["empty.wav"], "empty.wav holds no sound: it is empty."),
        (["tone.wav", "--out", "nowhere/a.wav"], "nowhere is no folder."),
    ],
)
def test_wrong_files(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("I am no recording.")
    tone(Path("empty.wav"), seconds=0)
    tone(Path("tone.wav"))
    assert talk.main([*arguments, "--url", "http://127.0.0.1:9", "--token", "good"]) == talk.NOT_DONE
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("patience", ["0", "-1", "soon"])
def test_wrong_patience(patience: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        talk.main(["q.wav", "--patience", patience])
    assert left.value.code == 2
    assert "a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8_000, 1, "ULAW"),
        (16_000, 1, "PCM_16"),
        (22_050, 2, "PCM_U8"),
        (44_100, 2, "PCM_24"),
        (48_000, 1, "FLOAT"),
        (96_000, 6, "PCM_32"),
    ],
)
def test_any_recording_becomes_what_a_session_takes(rate: int, channels: int, subtype: str, tmp_path: Path) -> None:
    path = tone(tmp_path / "tone.wav", seconds=1, rate=rate, channels=channels, subtype=subtype)
    assert sound.duration(path) == pytest.approx(1)
    heard = samples(path)
    assert len(heard) == pytest.approx(INPUT_RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(heard[:INPUT_RATE]))
    assert abs(int(np.argmax(spectrum)) - 440) <= 1
    assert np.max(np.abs(heard)) == pytest.approx(16_384, rel=0.05)


def test_what_is_no_number_is_silence(tmp_path: Path) -> None:
    broken = np.full(INPUT_RATE, np.nan, np.float32)
    soundfile.write(tmp_path / "broken.wav", broken, INPUT_RATE, subtype="FLOAT")
    assert not samples(tmp_path / "broken.wav").any()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be written"):
        sound.write(tmp_path, b"")
