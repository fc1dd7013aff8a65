"""``<upload-drop>`` with several files, and what it tells the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser import needs_browser, sign_in
from tests.e2e.conftest import Demo

pytestmark = needs_browser
SLOW = 60_000
"""Timeout in milliseconds."""
TRANSFER = """(names, type, event) => {
    const data = new DataTransfer();
    for (const name of names) data.items.add(new File(["x"], name));
    const Event = type === "paste" ? ClipboardEvent : DragEvent;
    const options = { clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true };
    document.querySelector("h1").dispatchEvent(new Event(type, options));
}"""


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    sign_in(page, demo.url)
    yield page
    context.close()


@pytest.fixture
def choose(page: Page, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that chooses small files by their names."""

    def choose(*names: str, body: bytes = b"x", kind: str = "text/plain") -> None:
        files: list[Any] = [{"name": name, "mimeType": kind, "buffer": body} for name in names]
        page.set_input_files("#upload #files", files)

    return choose


def row(page: Page, name: str, state: str = "") -> Locator:
    return page.locator(f"#upload li{f'[data-state={state}]' if state else ''}", has_text=name)


def replaced(page: Page, attributes: str) -> None:
    """Put an element with these attributes in place of the page's."""
    page.evaluate(
        """attributes => {
        const drop = document.getElementById("upload");
        const endpoint = drop.getAttribute("endpoint");
        const html = `<upload-drop id="upload" endpoint="${endpoint}" ${attributes}></upload-drop>`;
        drop.insertAdjacentHTML("afterend", html);
        drop.remove();
    }""",
        attributes,
    )


def transfer(page: Page, kind: str, *names: str) -> None:
    """Dispatch an event of dragging or of the clipboard beside the element."""
    page.evaluate(f"([names, type]) => ({TRANSFER})(names, type)", [list(names), kind])


class Gate:
    """Holds the requests that begin uploads, from the nth on."""

    def __init__(self, page: Page, after: int) -> None:
        self.left, self.held = after, list[Route]()
        page.route("**/tus/", self._pass)

    def _pass(self, route: Route) -> None:
        if route.request.method == "POST":
            self.left -= 1
            if self.left < 0:
                self.held.append(route)
                return
        route.continue_()

    def open(self) -> None:
        self.left = 10**6
        for route in self.held:
            route.continue_()


def button(page: Page, name: str) -> Locator:
    return page.locator("#upload #actions").get_by_role("button", name=name)


def test_buttons_act_on_all_files(page: Page, choose: Callable[..., None]) -> None:
    visible = page.locator("#upload #actions button:visible")
    expect(visible).to_have_count(0)
    gate = Gate(page, 2)
    names = [f"batch {number}.txt" for number in range(4)]
    choose(*names[:1])
    expect(row(page, names[0], "completed")).to_be_visible(timeout=SLOW)
    expect(visible).to_have_count(0)
    choose(*names[1:])
    expect(row(page, names[1], "completed")).to_be_visible(timeout=SLOW)
    expect(page.locator("#upload #summary")).to_have_text("Uploading 2 files, 2 uploaded")
    bar = page.get_by_role("progressbar", name="All uploads")
    expect(bar).to_have_attribute("aria-valuenow", "33")
    button(page, "Pause all").click()
    expect(page.locator("#upload li[data-state=paused]")).to_have_count(2)
    expect(button(page, "Pause all")).to_be_hidden()
    expect(button(page, "Resume all")).to_be_focused()
    gate.open()
    button(page, "Resume all").click()
    expect(page.locator("#upload #summary")).to_have_text("4 uploaded", timeout=SLOW)
    expect(bar).to_be_hidden()
    button(page, "Clear finished").click()
    expect(page.locator("#upload li:not([data-state=open])")).to_have_count(0)
    expect(page.locator("#upload #choose")).to_be_focused()


def test_failed_uploads_are_retried_or_canceled(page: Page, choose: Callable[..., None]) -> None:
    """A failure tells an id by which support finds the upload."""
    refusal = {"title": "It is bad.", "code": "refused"}
    page.route(re.compile(r"/tus/\w"), lambda route: route.fulfill(status=422, json=refusal))
    choose("bad 1.txt", "bad 2.txt")
    for name in ("bad 1.txt", "bad 2.txt"):
        expect(row(page, name, "failed")).to_contain_text("It is bad. Upload ID: ")
    assert row(page, "bad 1.txt").locator(".status").inner_text().rpartition(" ")[2].isalnum()
    page.unroute_all()
    gate = Gate(page, 0)
    button(page, "Retry failed").click()
    expect(button(page, "Retry failed")).to_be_hidden()
    button(page, "Cancel all").click()
    expect(page.locator("#upload li:not([data-state=open])")).to_have_count(0)
    gate.open()


def test_running_rows_stay_in_sight(page: Page, choose: Callable[..., None]) -> None:
    gate = Gate(page, 40)
    choose(*(f"many {number:02}.txt" for number in range(60)))
    expect(row(page, "many 42.txt", "creating")).to_be_visible(timeout=SLOW)
    for number in (40, 41, 42):
        expect(row(page, f"many {number}.txt").locator(".bar")).to_be_in_viewport()
    button(page, "Cancel all").click()
    gate.open()


def test_files_are_pasted_and_dragged(page: Page) -> None:
    """Show the target while files are dragged over the page; a second screenshot gets a name of its own."""
    border = "getComputedStyle(document.getElementById('upload').shadowRoot.getElementById('drop')).borderTopColor"
    before = page.evaluate(border)
    transfer(page, "dragover", "a.txt")
    assert page.evaluate(border) != before
    transfer(page, "dragleave", "a.txt")
    assert page.evaluate(border) == before
    transfer(page, "paste", "pasted.txt")
    transfer(page, "paste", "image.png")
    expect(row(page, "pasted.txt", "completed")).to_be_visible(timeout=SLOW)
    expect(row(page, "image 20", "completed")).to_be_visible(timeout=SLOW)


def test_folder_leaves_out_system_files(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "from a mac"
    folder.mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "kept.txt"):
        (folder / name).write_text("x")
    page.set_input_files("#upload #tree", folder)
    expect(page.locator("#upload #summary")).to_have_text("1 uploaded", timeout=SLOW)


def test_row_names_stored_file_and_version(page: Page, choose: Callable[..., None]) -> None:
    choose("minutes: may.txt")
    expect(row(page, "minutes: may.txt", "completed")).to_contain_text("Stored as minutes_ may.txt", timeout=SLOW)
    choose("minutes_ may.txt", body=b"newer")
    version = "New version 2 of minutes_ may.txt"
    expect(page.locator("#upload li").last).to_contain_text(version, timeout=SLOW)


def test_accepted_types_and_size_are_shown(page: Page, choose: Callable[..., None]) -> None:
    replaced(page, 'multiple accept=".txt,image/*" max-size="2048"')
    expect(page.locator("#upload #hint")).to_have_text("Accepted types: .txt, image. At most 2 KB per file.")
    choose("program.exe", kind="application/x-msdownload")
    expect(row(page, "program.exe", "failed")).to_contain_text("not accepted. Accepted types: .txt, image.")
    choose("long.txt", body=bytes(3000))
    expect(row(page, "long.txt", "failed")).to_contain_text("too large. At most 2 KB per file.")
    expect(page.locator("#upload #folder")).to_be_hidden()


@pytest.mark.parametrize("policy", ["", "default-src 'self'"])
def test_images_have_thumbnails(page: Page, choose: Callable[..., None], policy: str) -> None:
    """Keep the icon under a policy that forbids pictures of files."""
    picture = page.screenshot()

    def restrict(route: Route) -> None:
        answer = route.fetch()
        headers = answer.headers | ({"content-security-policy": policy} if policy else {})
        route.fulfill(response=answer, headers=headers)

    page.route(page.url, restrict)
    page.reload()
    choose("picture.png", body=picture, kind="image/png")
    shown = row(page, "picture.png").locator(".icon svg" if policy else ".icon img")
    expect(shown).to_be_visible()
    expect(row(page, "picture.png").locator(".icon > *")).to_have_count(1)
    expect(row(page, "picture.png", "completed")).to_be_visible(timeout=SLOW)


def test_touch_devices_are_not_told_to_drop(browser: Browser, demo: Demo) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True)
    page = context.new_page()
    sign_in(page, demo.url)
    expect(page.locator("#upload #choose")).to_be_visible()
    expect(page.get_by_text("Drop files here")).to_be_hidden()
    context.close()


def test_list_of_several_files_is_accessible(page: Page, choose: Callable[..., None]) -> None:
    """Find no axe violations in running, failed and stored rows; the page is not wider than a phone."""
    replaced(page, 'multiple accept=".txt"')
    choose("no.exe", "stored.txt")
    expect(row(page, "stored.txt", "completed")).to_be_visible(timeout=SLOW)
    gate = Gate(page, 0)
    choose("running.txt", "paused, with a name that is much too long for the width of a phone.txt")
    row(page, "paused").get_by_role("button", name="Pause: ").click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    gate.open()
