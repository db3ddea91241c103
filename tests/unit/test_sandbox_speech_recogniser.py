"""What the local recogniser makes of synthesized speech, and what it is made of."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.models.speech.audio import resample
from sandbox.models.speech.espeak import EspeakError, espeak
from sandbox.models.speech.hearing import RATE, Began, Ear, Utterance
from sandbox.models.speech.language_model import arpa
from sandbox.models.speech.pronunciation import arpabet
from sandbox.models.speech.recogniser import Recogniser, best_engine
from sandbox.models.speech.sphinx import Sphinx
from sandbox.models.speech.vocabulary import build

DOCS = Path(__file__).parents[2] / "docs"
# As people ask about the documents, in their own words: none stands in them.
QUESTIONS = [
    "How large may a WebSocket frame be?",
    "How long are conversations kept?",
    "Which vector store is used in production?",
    "What happens when a model throttles?",
    "How do I add a document?",
    "What does a turn cost?",
    "What is the idle cost of OpenSearch?",
    "Why do tickets stand in the WebSocket URL?",
    "What is the deadline of a turn over HTTP?",
    "Can I upload a PDF file?",
    "How is the content encrypted?",
    "What is stored in the sessions table?",
    "Which model answers in the sandbox?",
    "What is the limit of a message?",
    "Does the sandbox need Docker?",
    "Why is retrieval a function of its own?",
]


def speech(text: str, voice: str = "en-us") -> bytes:
    spoken = espeak().speak(text, voice, words_a_minute=150)
    silence = bytes(RATE // 2)
    return silence + resample(spoken.pcm, spoken.rate, RATE) + silence


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).split()


def errors(said: list[str], heard: list[str]) -> int:
    """Words that were put in, left out or replaced: the edit distance."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        previous, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            previous, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, previous + (word != other))
    return row[-1]


def error_rate(engine: Sphinx, texts: list[str], voice: str = "en-us") -> float:
    missed = sum(errors(words(text), words(engine.hear(speech(text, voice)).text)) for text in texts)
    return missed / sum(len(words(text)) for text in texts)


@pytest.fixture(scope="module")
def engine() -> Sphinx:
    engine = Sphinx()
    engine.learn([path.read_text() for path in sorted(DOCS.rglob("*.md"))])
    return engine


def test_questions_about_the_documents_are_understood(engine: Sphinx) -> None:
    # Measured on 42 such questions: 18 % of the words are misheard.
    assert error_rate(engine, QUESTIONS) < 0.3


def test_questions_that_were_announced_are_heard_to_the_word() -> None:
    engine = Sphinx()
    engine.learn([], QUESTIONS)

    # Measured on 42 such questions: 1.5 %.
    assert error_rate(engine, QUESTIONS[:8]) < 0.05


def test_with_a_grammar_nothing_else_is_heard() -> None:
    engine = Sphinx()
    engine.learn([], grammar=["go forward ten meters", "stop"])

    assert engine.hear(speech("Go forward ten meters.")).text == "Go forward ten meters."
    assert engine.hear(speech("Stop!")).text == "Stop."


def test_words_are_written_as_the_documents_write_them() -> None:
    engine = Sphinx()
    known = engine.learn(["The gateway speaks WebSocket. DynamoDB holds 32 KB."], ["Does DynamoDB hold 32 KB?"])

    assert known == 10
    assert engine.hear(speech("Does DynamoDB hold 32 KB?")).text == "Does DynamoDB hold 32 KB?"


def test_without_any_documents_english_is_heard() -> None:
    heard = Sphinx().hear(speech("Thank you."))

    assert heard.text == "Thank you."
    assert all(0 <= word.start < word.end and 0 <= word.confidence <= 1 for word in heard.words)


def test_silence_says_nothing() -> None:
    assert Sphinx().hear(bytes(RATE)).text == ""


def test_vocabulary_leaves_code_and_marks_out() -> None:
    text = (
        "# Limits\n\nSee [the guide](https://example.com/guide). A `WebSocket` frame:\n\n"
        "```\nnot spoken\n```\n| A | row |\n"
    )

    vocabulary = build([text])

    assert vocabulary.written["websocket"] == "WebSocket"
    assert vocabulary.written["see"] == "see"
    assert not {"https", "example", "spoken"} & vocabulary.written.keys()
    assert ("what", "is", "a", "websocket") in vocabulary.questions
    assert build(["enableRag"]).spoken("enablerag") == "enable Rag"


@pytest.mark.parametrize(
    ("word", "phones"),
    [("websocket", "W EH B S AA K IH T"), ("KB", "K EY B IY"), ("32", "TH ER T IY T UW"), ("jar", "JH AA R")],
)
def test_words_that_no_dictionary_has_are_pronounced(word: str, phones: str) -> None:
    assert arpabet([word]) == [phones]


def test_the_language_model_is_one() -> None:
    known = dict.fromkeys(("how", "are", "you", "is", "it", "we"), 1.0)
    model = arpa([(["how", "are", "you"], 1.0), (["how", "is", "it"], 2.0)], known)
    sections = [part.splitlines() for part in model.split("\n\n")]
    single = {line.split()[1]: 10 ** float(line.split()[0]) for line in sections[1][2:]}
    after_how = {line.split()[2]: 10 ** float(line.split()[0]) for line in sections[2] if " how " in line}

    assert sections[1][0] == "\\1-grams:"
    assert sum(single.values()) == pytest.approx(1, abs=0.01)
    assert after_how["is"] > after_how["are"] > single["we"]


def test_an_utterance_begins_with_speech_and_ends_with_a_pause() -> None:
    ear = Ear(pause=0.5)
    said = speech("Stop please.")
    found = [event for start in range(0, len(said), 1_000) for event in ear.feed(said[start : start + 1_000])]
    found += ear.feed(bytes(2 * RATE))

    began, utterance = found
    assert isinstance(began, Began)
    assert isinstance(utterance, Utterance)
    assert 0.1 < began.at < 0.9
    assert utterance.start < began.at < utterance.end
    assert len(utterance.pcm) / 2 / RATE == pytest.approx(utterance.end - utterance.start, abs=0.001)
    assert ear.finish() == []


def test_noise_and_clicks_are_no_speech() -> None:
    click = b"\xff\x7f\x00\x80" * 200
    assert Ear(pause=0.5).feed((click + bytes(RATE)) * 4) == []


def test_somebody_who_never_pauses_is_cut() -> None:
    ear = Ear(pause=0.5)
    sentence = speech("Go forward and do not stop.")[RATE // 2 : -RATE // 2]
    found = ear.feed(sentence * (40 * 2 * RATE // len(sentence)))

    assert any(isinstance(event, Utterance) and event.end - event.start <= 30.1 for event in found)


def test_unknown_voices_are_named() -> None:
    with pytest.raises(EspeakError, match="klingon-opera"):
        espeak().speak("Hello", "klingon-opera")


async def recover() -> tuple[str, str]:
    before = {child.pid for child in psutil.Process().children()}
    recogniser = Recogniser()
    try:
        await recogniser.learn([], ["Where is Zanzibar?"], [])
        first = await recogniser.hear(speech("Where is Zanzibar?"))
        started = [child for child in psutil.Process().children() if child.pid not in before]
        (child,) = [child for child in started if "spawn_main" in " ".join(child.cmdline())]
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        return first.text, (await recogniser.hear(speech("Where is Zanzibar?"))).text
    finally:
        recogniser.close()


def test_a_recogniser_that_is_killed_comes_back_with_what_it_knew() -> None:
    assert asyncio.run(recover()) == ("Where is Zanzibar?", "Where is Zanzibar?")


PARENT = """
import asyncio, os, psutil, signal
from sandbox.models.speech.recogniser import Recogniser

if __name__ == "__main__":
    recogniser = Recogniser()
    asyncio.run(recogniser.name())
    children = psutil.Process().children()
    print(*(child.pid for child in children if "spawn_main" in " ".join(child.cmdline())), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_recogniser_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=60)
    child = int(done.stdout)

    deadline = time.monotonic() + 20
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


class FakeWhisper:
    """In the place of faster-whisper, whose models are no package."""

    def __init__(self, size: str, **options: Any) -> None:
        assert options["local_files_only"]
        if size != "base":
            raise OSError("no such model on this machine")

    def transcribe(self, samples: Any, **options: Any) -> Any:
        said = [
            types.SimpleNamespace(word=f" {text}", start=n, end=n + 0.5, probability=0.9)
            for n, text in enumerate(("Bonjour,", "Zoé."))
        ]
        assert options["initial_prompt"] == "Bonjour ?"
        return [types.SimpleNamespace(words=said)], types.SimpleNamespace(language="fr")


def test_faster_whisper_listens_when_its_model_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=FakeWhisper))
    monkeypatch.delenv("PARLEY_WHISPER_MODEL", raising=False)

    engine = best_engine()
    engine.learn(["Bonjour tout le monde."], ["Bonjour ?"], [])
    heard = engine.hear(bytes(RATE), None)

    assert engine.name == "faster-whisper (base)"
    assert (heard.text, heard.language) == ("Bonjour Zoé.", "fr-FR")


def test_a_named_whisper_model_that_is_not_here_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=FakeWhisper))
    monkeypatch.setenv("PARLEY_WHISPER_MODEL", "enormous")

    assert best_engine().name == "pocketsphinx"
