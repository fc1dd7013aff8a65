"""The portal's pages in a browser: menus, the questions before a deletion, the trash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import needs_browser, sign_in
from tests.e2e.conftest import Demo

pytestmark = needs_browser
POLICY = "default-src 'self'; img-src 'self' data:"


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    """Yield a page signed in as demo; all pages have a strict Content Security Policy."""
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    sign_in(page, demo.url)

    def protect(route: Route) -> None:
        if route.request.resource_type != "document":
            return route.continue_()
        answer = route.fetch(max_redirects=0)
        return route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})

    page.route("**", protect)
    page.goto(demo.url)
    yield page
    page.close()
    assert not [text for text in complaints if "Content Security Policy" in text]


@pytest.fixture
def name(demo: Demo) -> str:
    """Upload a file with two versions into a folder of its own; return the name of both."""
    name = f"pages {uuid4().hex[:8]}"
    for content in (b"old", b"newer"):
        session = demo.create(len(content), FileName=f"{name}.txt", RelativePath=name)
        assert demo.http().post(session["location"], data=content).status_code == 201
    return name


def open_menu(page: Page, name: str) -> Any:
    page.reload()
    page.get_by_role("button", name=f"Actions for {name}", exact=True).click()
    menu = page.get_by_role("dialog", name=f"Actions for {name}", exact=True)
    expect(menu).to_be_visible()
    return menu


@pytest.mark.parametrize("way", ["Escape", "outside"])
def test_menus_close(page: Page, name: str, way: str) -> None:
    menu = open_menu(page, name)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.mouse.click(5, 5)
    expect(menu).to_be_hidden()


def test_refresh_keeps_an_open_menu(page: Page, name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.bin").write_text("x")
    menu = open_menu(page, name)
    menu.get_by_label("Name").fill("half a na")
    with page.expect_response(lambda answer: answer.url == page.url):
        page.set_input_files("#upload #files", tmp_path / f"{name}.bin")
    page.evaluate("new Promise(requestAnimationFrame)")  # The page handles the response.
    expect(menu.get_by_label("Name")).to_have_value("half a na")
    expect(menu).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name=f"{name}.bin")).to_be_visible()


def test_rename_and_move_stay_on_page(page: Page, name: str) -> None:
    top = page.url
    menu = open_menu(page, name)
    menu.get_by_label("Name").fill(f"{name} b")
    menu.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("status").first).to_have_text(f"Renamed “{name}” to “{name} b”.")
    assert page.url == top
    page.get_by_role("link", name=f"{name} b").click()
    menu = open_menu(page, f"{name}.txt")
    inside = page.url
    menu.get_by_label("Folder").select_option("My documents")
    menu.get_by_role("button", name="Move").click()
    expect(page.get_by_role("status").first).to_have_text(f"Moved “{name}.txt” to “My documents”.")
    assert page.url == inside


def test_deletion_asks_and_can_be_undone(page: Page, name: str) -> None:
    menu = open_menu(page, name)
    menu.get_by_role("button", name="Delete").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text(f"Delete “{name}” and the 1 file in it?")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    menu.get_by_role("button", name="Delete").click()
    question.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_have_text(f"Moved “{name}” with 1 file to the trash.")
    expect(page.get_by_role("link", name=name)).to_have_count(0)
    page.get_by_role("link", name="Trash").click()
    page.get_by_role("button", name=f"Restore {name}").click()
    expect(page.get_by_role("status").first).to_have_text(f"Restored “{name}” to “My documents”.")


def test_emptying_the_trash_asks_first(page: Page, name: str) -> None:
    open_menu(page, name).get_by_role("button", name="Delete").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_contain_text("to the trash")
    page.get_by_role("link", name="Trash").click()
    page.get_by_role("button", name="Empty trash").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text(re.compile(r"Delete \d+ files? with all versions\?"))
    question.get_by_role("button", name="Empty trash").click()
    expect(page.get_by_role("main")).to_contain_text("The trash is empty.")


def test_user_page_links_to_uploads(browser: Browser, demo: Demo, name: str) -> None:
    page = browser.new_page()
    sign_in(page, demo.url, "admin")
    page.goto(f"{demo.url}/admin/auth/user/?q=demo")
    page.click("#result_list tbody th a")
    page.get_by_role("link", name="Upload sessions", exact=True).and_(page.locator(".object-tools a")).click()
    expect(page.locator("#result_list .upload-owner").first).to_contain_text("demo")
    expect(page.locator("#changelist-filter")).to_contain_text("By owner")
    page.close()
