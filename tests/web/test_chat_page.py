"""The chat page in Chromium, against the deployed assistant."""

import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
QUESTION = "How long is a ticket valid?"

pytestmark = pytest.mark.xdist_group("browser")


class Cable:
    """A TCP connection to the sandbox that can be cut and mended."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and every later one until `mend`."""
        self._whole.clear()
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        self._whole.set()

    def close(self) -> None:
        """Stop listening."""
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                for source, sink in ((near, far), (far, near)):
                    self._ends.add(source)
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        self._ends.discard(source)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, web: Any) -> Page:
    page = context.new_page()
    page.goto(web.url)
    return page


def sign_in(page: Page, web: Any) -> None:
    page.get_by_label("E-mail").fill(web.username)
    page.get_by_label("Password").fill(web.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#connection")).to_have_text("Connected")


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your message").fill(question)
    page.get_by_role("button", name="Send").click()


def finished_answer(page: Page, number: int = 0) -> Any:
    """The answer number `number`, once it is complete."""
    answer = page.locator("article.answer").nth(number)
    expect(answer).to_be_visible()
    expect(answer).not_to_have_attribute("aria-busy", "true")
    return answer


def test_an_answer_streams_in_and_shows_its_sources(page: Page, web: Any) -> None:
    frames: list[str] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: frames.append(str(frame))))
    sign_in(page, web)

    ask(page, QUESTION)

    answer = finished_answer(page)
    expect(answer.locator(".text")).to_contain_text("60 seconds")
    source = answer.locator(".citations a.source").first
    expect(source.locator(".document")).to_have_text(re.compile(r"\.md$"))
    expect(source.locator(".heading")).not_to_be_empty()
    answer.locator(".citations summary").first.click()
    expect(answer.locator("blockquote").first).to_be_visible()
    expect(answer.locator(".model")).not_to_be_empty()
    expect(answer.locator(".cost")).to_contain_text("tokens in")
    deltas = [index for index, frame in enumerate(frames) if '"message.delta"' in frame]
    done = next(index for index, frame in enumerate(frames) if '"message.done"' in frame)
    assert deltas
    assert deltas[0] < done


def test_a_source_opens_its_document_from_a_fresh_answer_and_from_a_stored_one(page: Page, web: Any) -> None:
    sign_in(page, web)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ask(page, QUESTION)
    link = finished_answer(page).locator(".citations a.source").first
    name = link.locator(".document").inner_text()

    with page.expect_popup() as opened:
        link.click()
    expect(opened.value.locator("body")).to_contain_text("#")
    assert name in opened.value.url
    assert not [url for url in asked if "/knowledge/documents/" in url]

    page.locator("#conversation-list button").first.click()
    expect(page.locator("article.question").first).to_contain_text(QUESTION)
    with page.expect_popup() as opened:
        page.locator(".citations a.source").first.click()
    expect(opened.value.locator("body")).to_contain_text("#")
    assert name in opened.value.url
    assert [url for url in asked if "/knowledge/documents/" in url]


def test_a_source_that_was_deleted_is_said_to_be_gone(page: Page, web: Any) -> None:
    sign_in(page, web)
    ask(page, QUESTION)
    finished_answer(page)
    page.locator("#conversation-list button").first.click()
    expect(page.locator("article.question").first).to_contain_text(QUESTION)
    page.route(
        "**/knowledge/documents/*", lambda route: route.fulfill(status=404, json={"error": {"code": "not_found"}})
    )
    page.locator(".citations a.source").first.click()
    expect(page.get_by_role("alert")).to_have_text("That document is not there any more.")


def test_a_wrong_password_is_a_sentence(page: Page, web: Any) -> None:
    page.get_by_label("E-mail").fill(web.username)
    page.get_by_label("Password").fill("not-the-Password-1")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    expect(page.get_by_label("Your message")).to_be_hidden()


def test_a_conversation_goes_on_and_can_be_opened_again(page: Page, web: Any) -> None:
    sign_in(page, web)
    ask(page, f"{QUESTION} (kept)")
    finished_answer(page)
    ask(page, "And what is it bound to?")
    finished_answer(page, 1)

    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("article")).to_have_count(0)
    page.get_by_role("navigation").get_by_role("button", name="(kept)").first.click()

    expect(page.locator("article")).to_have_count(4)
    expect(page.locator("article").first).to_contain_text("(kept)")


def test_a_message_too_long_for_a_frame_is_answered_too(page: Page, web: Any) -> None:
    sign_in(page, web)

    # 31,000 characters, above the 30 KB that go over the WebSocket.
    ask(page, QUESTION + " filler" * 4_425)

    expect(finished_answer(page).locator(".model")).not_to_be_empty()


def test_a_message_too_long_for_the_assistant_is_a_sentence(page: Page, web: Any) -> None:
    sign_in(page, web)

    ask(page, "x" * 33_000)

    expect(page.locator("article.answer").get_by_role("alert")).to_contain_text("32000 characters")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_a_lost_connection_comes_back(context: BrowserContext, web: Any) -> None:
    parts = urlsplit(web.url)
    cable = Cable((parts.hostname or "", parts.port or 80))
    try:
        page = context.new_page()
        page.goto(cable.url)
        sign_in(page, web)
        cable.cut()
        expect(page.locator("#connection")).to_contain_text("Connection lost")

        # Asked while there is no connection: delivered by the next one.
        ask(page, QUESTION)
        cable.mend()

        expect(page.locator("#connection")).to_have_text("Connected")
        expect(finished_answer(page).locator(".text")).to_contain_text("60 seconds")
    finally:
        cable.close()


def test_a_reload_stays_signed_in_and_signing_out_ends_it(page: Page, web: Any) -> None:
    sign_in(page, web)
    page.reload()
    expect(page.locator("#connection")).to_have_text("Connected")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Password")).to_be_visible()


def test_the_keyboard_is_enough(page: Page, web: Any) -> None:
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(web.username)
    page.keyboard.press("Tab")
    page.keyboard.type(web.password)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your message")).to_be_focused()
    expect(page.locator("#connection")).to_have_text("Connected")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Tell me the seconds.")
    page.keyboard.press("Enter")
    answer = finished_answer(page)

    expect(page.locator("article.question .text")).to_have_text(
        f"{QUESTION}\nTell me the seconds.", use_inner_text=True
    )
    expect(answer.locator("summary").last).to_be_visible()
    # Backwards from the message: the transcript's last source comes first.
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(answer.locator("summary").last).to_be_focused()
    page.keyboard.press("Enter")
    expect(answer.locator("blockquote").last).to_be_visible()


def test_what_is_written_is_text_and_never_html(page: Page, web: Any) -> None:
    sign_in(page, web)
    markup = "<img src=x onerror=\"document.title='hacked'\"> <b>bold</b>"

    ask(page, markup)
    finished_answer(page)

    expect(page.locator("article.question .text")).to_have_text(markup)
    assert page.locator("article img, article b").count() == 0
    assert page.title() == "Parley"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_sideways_scroll_and_the_console_stays_clean(browser: Browser, web: Any, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    foreign: list[str] = []
    origin = "{0.scheme}://{0.netloc}/".format(urlsplit(web.url))
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(origin) else foreign.append(request.url))
    try:
        page.goto(web.url)
        sign_in(page, web)
        ask(page, QUESTION + " " + "unbreakable" * 30)
        finished_answer(page)

        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_role("button", name="Conversations").click()
        expect(page.get_by_role("button", name="New conversation")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="New conversation")).to_be_hidden()
        assert errors == []
        assert foreign == []
    finally:
        context.close()


def test_past_conversations_are_searched_by_title_and_inside(page: Page, web: Any) -> None:
    sign_in(page, web)
    # The title is the beginning of the question.
    word = f"quokka{secrets.token_hex(4)}"
    ask(page, f"{word.title()}: {QUESTION} I ask because the train leaves soon, and a wombat waits for me there.")
    finished_answer(page)
    search = page.get_by_label("Search conversations")
    titles = page.locator("#conversation-list .title")

    search.fill(word)
    expect(titles).to_have_count(1)
    expect(page.get_by_role("navigation").get_by_role("status")).to_have_text("1 conversation found")
    search.fill("WOMBAT waits")
    expect(titles).to_have_count(0)
    page.get_by_role("button", name="Search inside them too").click()
    expect(titles.filter(has_text=re.compile(word, re.IGNORECASE))).to_have_count(1)


def test_a_conversation_is_exported_as_text_and_as_data(page: Page, web: Any) -> None:
    sign_in(page, web)
    ask(page, QUESTION)
    finished_answer(page)
    contents = {}
    for name in ("As text (Markdown)", "As data (JSON)"):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as downloaded:
            page.get_by_role("button", name=name).click()
        contents[Path(downloaded.value.suggested_filename).suffix] = downloaded.value.path().read_text()

    assert QUESTION in contents[".md"]
    assert re.search(r"^- \[1\] \S+\.md", contents[".md"], re.MULTILINE)
    exported = json.loads(contents[".json"])
    assert [turn["role"] for turn in exported["turns"]] == ["user", "assistant"]


def test_a_conversation_is_deleted_after_a_question(page: Page, web: Any) -> None:
    sign_in(page, web)
    ask(page, f"{QUESTION} Numbat.")
    finished_answer(page)
    listed = page.locator("#conversation-list .title", has_text="Numbat")
    expect(listed).to_have_count(1)

    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(listed).to_have_count(1)
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()

    expect(listed).to_have_count(0)
    expect(page.locator("article")).to_have_count(0)
    expect(page.get_by_label("Your message")).to_be_focused()
    page.reload()
    expect(page.locator("#conversation-list button").first).to_be_visible()
    expect(listed).to_have_count(0)


def test_the_theme_can_be_chosen_and_stays(page: Page, web: Any) -> None:
    sign_in(page, web)
    background = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(background) == dark


def test_the_page_says_who_answers_finds_and_listens(page: Page, web: Any) -> None:
    sign_in(page, web)
    config = page.evaluate("fetch('/config.json').then((response) => response.json())")
    about = page.get_by_role("navigation").get_by_role("definition")
    expect(about).to_have_text([config["model"], config["embedder"], config["recogniser"]])
