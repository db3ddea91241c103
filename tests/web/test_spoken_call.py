"""A person speaks to the deployed assistant in Chromium: a recording of one is its microphone.

Nothing stands in for anything here but what the sandbox stands in for: the recogniser, told that it will hear one of
these sentences, the model and the voice. The recording is repeated for as long as the page listens, so that it is the
page's mute button that says when the person speaks, and no clock.
"""

import json
import os
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, WebSocket, expect, sync_playwright

from sandbox.demo_user import ensure_user, new_password, sign_in
from sandbox.state import State
from tests.sandbox.people import Person, Sandbox

CHROMIUM = "/usr/bin/chromium"
RECORDINGS = Path(__file__).parent / "recordings"
PATIENCE_MS = 90_000
QUESTION = "Go forward ten meters."
# What the recogniser may take a piece of the question for.
OTHERS = ["He was not an ill disposed young man.", "Stop.", "Ten of clubs."]
SILENCE_SECONDS = 8.0

# What the recogniser and the services listen for is the whole sandbox's.
pytestmark = [pytest.mark.alone, pytest.mark.xdist_group("browser")]

MANUAL = """# The robot

To go forward ten meters the robot turns all of its four wheels at the same speed for seventeen seconds, and while it
does so it looks at the floor before it with the two cameras under its head, so that it does not drive against a wall, a
chair, a cat or a person who happens to stand in its way, and it slows down in time before each of them.

Whoever tells it to go forward ten meters should first look whether the floor is dry, whether the door at the end of the
corridor is open, whether nobody sits on the stairs behind that door, and whether the robot has been charged, because
with an empty battery it stops in the middle of the corridor and has to be carried back to where it came from.

When the robot has to go forward ten meters and then come back again, it does not turn around, because it has the same
two cameras at its back, but drives backward along the line that it drew on its map of the floor on the way there, a
little slower than before, and it says when it has arrived at the place where it began.
"""


class Messages:
    """What goes through the page's WebSockets, as it goes."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        page.on("websocket", self._listen)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The messages of one type that came."""
        return [message for message in self.received if message["type"] == kind]

    def done(self, turn_id: str) -> list[dict[str, Any]]:
        """The stored message of a turn, if it came."""
        return [message for message in self.of("message.done") if message["turn_id"] == turn_id]

    def heard_ms(self, turn_id: str) -> int:
        """How much of a turn's voice the loudspeaker gave out, as the page reports it."""
        reports = [message for message in self.sent if message["action"] == "played"]
        return max((report["ms"] for report in reports if report["turn_id"] == turn_id), default=0)

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Let the page go on until `condition()`."""
        end = time.monotonic() + PATIENCE_MS / 1_000
        while not condition():
            kinds = [message for message in self.received if message["type"] not in {"audio", "ack", "pong"}]
            assert time.monotonic() < end, f"{what}: it never came; {kinds}"
            self._page.wait_for_timeout(50)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda data: self.sent.append(json.loads(data)))
        socket.on("framereceived", lambda data: self.received.append(json.loads(data)))


def microphone(path: Path, recording: Path) -> None:
    """A recording with silence after it."""
    with wave.open(str(recording), "rb") as spoken, wave.open(str(path), "wb") as whole:
        whole.setparams(spoken.getparams())
        whole.writeframes(spoken.readframes(spoken.getnframes()))
        whole.writeframes(bytes(2 * round(SILENCE_SECONDS * spoken.getframerate())))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(State.locate().outputs())
    yield sandbox
    sandbox.close()


@pytest.fixture
def listening(sandbox: Sandbox) -> Iterator[None]:
    """The recogniser hears these sentences and nothing else, and an utterance ends after half a second."""
    control = f"{sandbox.outputs['models_url']}/_speech"

    def behave(grammar: Sequence[str], pause: float | None) -> None:
        body = {"listen": {"grammar": grammar}, "pause": pause}
        httpx.post(control, json=body, timeout=60, trust_env=False).raise_for_status()

    behave([QUESTION, *OTHERS], 0.5)
    yield
    behave([], None)


@pytest.fixture
def signed_in(sandbox: Sandbox) -> tuple[str, str, Person]:
    name, password = f"speaker-{time.time_ns()}@example.com", new_password()
    ensure_user(sandbox.aws("cognito-idp"), sandbox.outputs["user_pool_id"], username=name, password=password)
    return name, password, sandbox.person(sign_in(sandbox.outputs, name, password))


def add_manual(person: Person) -> None:
    body = {"name": "robot.md", "text": MANUAL}
    document = person.http.post("/knowledge/documents", json=body).raise_for_status().json()["document_id"]
    end = time.monotonic() + PATIENCE_MS / 1_000
    while (state := person.http.get(f"/knowledge/documents/{document}").json()["state"]) != "ready":
        assert time.monotonic() < end, state
        time.sleep(0.2)


def test_a_person_asks_by_voice_hears_the_answer_and_interrupts_it(
    sandbox: Sandbox, listening: None, signed_in: tuple[str, str, Person], tmp_path: Path
) -> None:
    name, password, person = signed_in
    add_manual(person)
    recording = tmp_path / "microphone.wav"
    microphone(recording, RECORDINGS / "go-forward.wav")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
    ]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=arguments) as browser,
    ):
        context = browser.new_context(viewport={"width": 1200, "height": 800}, permissions=["microphone"])
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page = context.new_page()
        messages = Messages(page)
        page.goto(sandbox.outputs["web_url"])
        page.get_by_label("E-mail").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#connection")).to_have_text("Connected")

        page.get_by_role("button", name="Talk").click()
        # The question is understood, and what it is answered with stands in the document.
        questions, answers = page.locator("article.question .text"), page.locator("article.answer .text")
        expect(questions.last).to_have_text(QUESTION)
        mute = page.get_by_role("button", name="Mute")
        mute.click()
        expect(answers.last).to_contain_text("four wheels at the same speed for seventeen seconds")
        # The answer is heard: the loudspeaker gave some of it out.
        expect(page.locator(".call-speaker")).to_contain_text("Parley is speaking")
        turn = messages.of("audio")[-1]["turn_id"]
        messages.wait(lambda: messages.heard_ms(turn) >= 1_000, "a second of voice")
        _keep_picture(page, "speaking")

        # The person speaks into it.
        mute.click()
        messages.wait(lambda: turn in [each["turn_id"] for each in messages.of("interrupted")], "the interruption")
        cut = page.get_by_text("You interrupted here.").last
        expect(cut).to_be_visible()
        cut.scroll_into_view_if_needed()
        _keep_picture(page, "interrupted")
        page.wait_for_function('performance.getEntriesByName("parley.playback-stopped").length > 0')
        stopped_ms = page.evaluate(
            """() => performance.getEntriesByName("parley.playback-stopped").at(-1).startTime
                   - performance.getEntriesByName("parley.playback-stop-asked").at(-1).startTime"""
        )
        messages.wait(lambda: messages.of("audio")[-1]["turn_id"] != turn, "an answer to the interruption")
        messages.wait(lambda: messages.done(turn), "the end of the first turn")
        page.get_by_role("button", name="Hang up").click()
        expect(page.locator("section.call")).to_have_count(0)
        context.close()

    done, heard_ms = messages.done(turn), messages.heard_ms(turn)
    sent_ms = sum(len(audio["data"]) * 3 / 4 / 48 for audio in messages.of("audio") if audio["turn_id"] == turn)
    print(f"heard {heard_ms} ms of {sent_ms:.0f} ms that came; stopped {stopped_ms:.0f} ms after the word")  # noqa: T201 - the figures of this test
    assert "robot.md" in [citation["document"] for citation in done[0]["citations"]]
    # What is remembered is what was heard.
    assert not all(end in done[0]["message"] for end in ("each of them.", "it came from.", "where it began."))
    stored = person.http.get(f"/conversations/{done[0]['conversation_id']}").json()["turns"]
    assert QUESTION in [turn["message"] for turn in stored if turn["role"] == "user"]


def _keep_picture(page: Page, name: str) -> None:
    """A screenshot, in the folder that PARLEY_PICTURES names."""
    if folder := os.environ.get("PARLEY_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")
