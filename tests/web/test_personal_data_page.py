"""All that is the user's in Chromium, to have and to be rid of, with a stand-in for the service behind the page.

Nobody who is deployed is deleted, and the stand-in fails as no deployed service does on request.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
PATIENCE_MS = 30_000
KEY = "parley_key1_secret"
PICTURES = os.environ.get("PARLEY_PICTURES")

pytestmark = pytest.mark.xdist_group("browser")


class Service:
    """What the page asks of the API: who it is signed in as, and everything below `/me`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.export: str | None = None
        self.deletion: str | None = None
        self.refusals: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        """What the next requests below `/me` are answered instead."""
        self.account = True

    def refuse(self, status: int, code: str, message: str = "No.", **headers: str) -> None:
        """Refuse the next request below `/me`."""
        self.refusals.append((status, {"error": {"code": code, "message": message, "request_id": "r1"}}, headers))

    def answer(self, route: Route) -> None:
        """Answer one request of the page."""
        request = route.request
        path = urlsplit(request.url).path.removeprefix("/api")
        asked = f"{request.method} {path}"
        if path.startswith("/me"):
            self.asked.append(asked)
            if self.refusals:
                status, body, headers = self.refusals.pop(0)
                return route.fulfill(status=status, json=body, headers=headers)
        if not self.account:
            return route.fulfill(status=403, json={"message": "Forbidden"})
        match asked:
            case "POST /tickets":
                return route.fulfill(json={"ticket": "t1", "session_id": "s1"})
            case "GET /conversations":
                return route.fulfill(json={"conversations": [], "cursor": None})
            case "POST /me/export":
                self.export = "running"
            case "DELETE /me":
                self.deletion = "deleting"
        return self._record(route, path)

    def _record(self, route: Route, path: str) -> None:
        state = self.export if path == "/me/export" else self.deletion
        if state is None:
            return route.fulfill(
                status=404, json={"error": {"code": "not_found", "message": "None.", "request_id": "r"}}
            )
        if path != "/me/export":
            return route.fulfill(json={"state": state, "deleted": {"conversations": 1234}})
        # Of the page's own origin, so that no other server is needed.
        archive = {"name": "parley-2026-11-21-1.zip", "size": 12_345_678, "url": "/archive?number=1"}
        ready = [archive] if state == "ready" else []
        return route.fulfill(
            json={"export_id": "e1", "state": state, "kept_until": "2099-11-28T10:00:00Z", "archives": ready}
        )


def open_socket(route: WebSocketRoute) -> None:
    """A session that nothing happens in."""
    ready = {"session.start": {"type": "session.ready", "session_id": "s1"}, "ping": {"type": "pong"}}
    route.on_message(lambda message: route.send(json.dumps(ready[json.loads(message)["action"]])))


def send_archive(route: Route) -> None:
    """The file as S3 sends it by a link of the service."""
    disposition = 'attachment; filename="parley-2026-11-21-1.zip"'
    route.fulfill(body=b"PK", headers={"Content-Type": "application/zip", "Content-Disposition": disposition})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=["wide and light", "phone and dark"])
def page(browser: Browser, web: Any, service: Service, request: pytest.FixtureRequest) -> Iterator[Page]:
    phone = request.param == "phone and dark"
    context = browser.new_context(
        viewport={"width": 360, "height": 700} if phone else {"width": 1200, "height": 800},
        color_scheme="dark" if phone else "light",
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    page.route("**/config.json", lambda route: route.fulfill(json={"auth": "api-key", "environment": "local"}))
    page.route("**/api/**", service.answer)
    page.route("**/archive?*", send_archive)
    page.route_web_socket(re.compile(r"/ws\?ticket="), open_socket)
    page.goto(web.url)
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("Connected")
    yield page
    context.close()


def picture(page: Page, name: str) -> None:
    """A screenshot, where somebody wants to see one; and nothing is ever wider than the screen or its dialog."""
    if PICTURES:
        width = (page.viewport_size or {"width": 0})["width"]
        page.screenshot(path=Path(PICTURES) / f"{name}-{width}.png")
    boxes = "[document.documentElement, ...document.querySelectorAll('dialog[open]')]"
    assert page.evaluate(f"{boxes}.every((box) => box.scrollWidth <= box.clientWidth)")


def show_my_data(page: Page) -> None:
    """Open the dialog as it is opened on this screen, by the keyboard alone."""
    drawer = page.get_by_role("button", name="Conversations")
    if drawer.is_visible() and drawer.get_attribute("aria-expanded") == "false":
        drawer.press("Enter")
    page.get_by_role("button", name="My data").press("Enter")
    expect(page.get_by_role("dialog", name="My data")).to_be_visible()


def test_a_user_takes_everything_along(page: Page, service: Service) -> None:
    service.refuse(404, "not_found")
    service.refuse(429, "throttled", **{"Retry-After": "42"})
    show_my_data(page)
    dialog = page.get_by_role("dialog", name="My data")
    export = dialog.get_by_role("button", name="Export my data")

    export.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("That was too much in a short time. Try again in 42 seconds.")
    picture(page, "export-throttled")
    export.press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("Your export is being made.")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    expect(export).to_be_focused()
    service.export = "ready"
    expect(dialog.get_by_role("status")).to_contain_text("Your export is ready")
    expect(dialog.get_by_role("listitem")).to_contain_text("12.3 MB")
    picture(page, "export-ready")
    with page.expect_download() as downloaded:
        dialog.get_by_role("link", name="Download parley-2026-11-21-1.zip").press("Enter")
    assert downloaded.value.suggested_filename == "parley-2026-11-21-1.zip"

    # It is found again, and Escape closes this dialog and nothing else.
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="My data")).to_be_focused()
    show_my_data(page)
    expect(dialog.get_by_role("link")).to_be_visible()
    assert service.asked.count("POST /me/export") == 2


def test_a_user_deletes_everything_and_is_signed_out(page: Page, service: Service) -> None:
    show_my_data(page)
    page.get_by_role("button", name="Delete my data").press("Enter")
    question = page.get_by_role("dialog", name="Delete all your data?")
    word, sure = (
        question.get_by_label("Type “delete” to confirm"),
        question.get_by_role("button", name="Delete everything"),
    )
    expect(word).to_be_focused()
    page.keyboard.type("delet")
    page.keyboard.press("Enter")
    expect(sure).to_be_disabled()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(page.get_by_role("button", name="Delete my data")).to_be_focused()
    assert "DELETE /me" not in service.asked

    page.keyboard.press("Enter")
    expect(word).to_have_value("")
    service.refuse(503, "store_unavailable")
    page.keyboard.type("Delete")
    page.keyboard.press("Enter")
    expect(question.get_by_role("alert")).to_have_text("Your data cannot be reached just now. Try again in a moment.")
    picture(page, "delete-question")
    sure.press("Enter")
    expect(page.get_by_role("heading", name="Deleting your data")).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("1,234 entries are gone so far.")
    expect(page.get_by_label("Your message")).to_have_count(0)
    service.deletion = "failed"
    expect(page.get_by_role("alert")).to_contain_text("An operator has been told")
    picture(page, "delete-failed")
    page.get_by_role("button", name="Try again").press("Enter")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("heading", name="Deleting your data")).to_be_focused()

    # The key goes with everything else.
    service.account = False
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Your data is deleted.")
    picture(page, "deleted")
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_text("Your data is deleted.")).to_have_count(0)
