"""Find and start the browser of the tests: Chromium, Google Chrome or Edge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

COMMANDS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge"),
    *("microsoft-edge-stable", "chrome", "msedge"),
    *(f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Microsoft Edge")),
)
MISSING = "No browser tests: there is no Chromium, Google Chrome or Microsoft Edge."
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def find() -> str | None:
    """Return the path of a browser that Playwright can drive, or None."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)


needs_browser = pytest.mark.skipif(find() is None, reason=MISSING)


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a headless browser; skip the test if none is installed."""
    path = find()
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def sign_in(page: Page, url: str, name: str = "demo") -> None:
    page.goto(url)
    page.fill("[name=username]", name)
    page.fill("[name=password]", name)
    page.click("main button")
    page.wait_for_selector("#listing")
