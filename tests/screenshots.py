"""Take pictures of every page: light and dark, on desktop and phone.

``make screenshots`` writes them to ``var/screenshots``. The four pictures of the README are copied to ``docs/images``.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page

from devstack.weed import free_ports
from tests.browser import launched, sign_in
from tests.data import MIB, some_bytes

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "var" / "screenshots"
SHOWN = ROOT / "docs" / "images"
UPPY = ROOT / "var" / "uppy" / "node_modules" / "uppy" / "dist"
"""Created by ``make uppy``; without it the Uppy page is skipped."""
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
LIST = "/admin/upload_sessions/uploadsession/"
BEST = {
    "folder-desk-light": "folder",
    "sessions-desk-light": "sessions",
    "session-desk-dark": "session",
    "documents-phone-light": "form",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC"


def main() -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    SHOWN.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as directory:
        environment = {"UPPY_DIR": str(UPPY)} | os.environ | {"PORT": str(port), "DATA_DIR": directory}
        command = [sys.executable, "-m", "devstack.run"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as portal:
            assert portal.stdout
            block = ""
            while "curl" not in block:
                block += portal.stdout.readline()
            token = block.split("Token")[1].split()[0]
            url = f"http://127.0.0.1:{port}"
            fill(url, token)
            try:
                with launched() as browser:
                    for scheme in ("light", "dark"):
                        for place, size in (("desk", DESK), ("phone", PHONE)):
                            take_all(browser, url, f"{place}-{scheme}", scheme, size)
            finally:
                portal.send_signal(signal.SIGTERM)
    for name, kept in BEST.items():
        shutil.copy(PICTURES / f"{name}.jpg", SHOWN / f"{kept}.jpg")


def fill(url: str, token: str) -> None:
    """Upload sample files, so that the pages have content."""
    http = requests.Session()
    http.headers["Authorization"] = f"Token {token}"

    def upload(name: str, size: int, send: int, kind: str = "") -> None:
        payload = {"FileName": name, "FileSize": size}
        location = http.post(f"{url}/api/2.0/files/1/upload/create_session", json=payload, timeout=60).json()
        location, sent = location["data"]["location"], 0
        while sent < send:
            chunk = some_bytes(min(10 * MIB, send - sent))
            http.post(location, data=chunk, headers={"Content-Type": "application/octet-stream"}, timeout=60)
            sent += len(chunk)

    upload("Annual report 2026.pdf", 3 * MIB, 3 * MIB)
    upload("Interview, uncut.mov", 48 * MIB, 48 * MIB)
    upload("Interview, uncut.mov", 20 * MIB, 20 * MIB)
    upload("Minutes of the meeting.txt", 4000, 4000)
    upload("Site survey.las", 8 * 2**30, 60 * MIB)
    upload("Backup of the lab.tar", 120 * MIB, 90 * MIB)
    http.post(f"{url}/api/2.0/files/1/upload", files={"file": ("sunset.png", _picture())}, timeout=60)


def _picture() -> bytes:
    return base64.b64decode(PNG)


def take_all(browser: Browser, url: str, suffix: str, scheme: str, size: dict[str, int]) -> None:
    def take(name: str, page: Page) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=PICTURES / f"{name}-{suffix}.jpg", type="jpeg", quality=80)
        if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            print(f"{name}-{suffix} is wider than the window", file=sys.stderr)

    def visit(page: Page, name: str, path: str, act: Callable[[Page], object] = lambda page: None) -> None:
        page.goto(url + path)
        act(page)
        take(name, page)

    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    visit(page, "sign-in", "/login/")
    sign_in(page, url)
    files = [
        {"name": "Drone footage.mp4", "mimeType": "video/mp4", "buffer": some_bytes(40 * MIB)},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"notes"},
    ]

    def drop(page: Page) -> None:
        page.route("**/tus/*", lambda route: route.abort() if route.request.method == "PATCH" else route.continue_())
        page.set_input_files("#upload #files", files[:1])  # type: ignore[arg-type]
        page.wait_for_selector("#upload li[data-state=retrying]")
        page.unroute_all()
        page.set_input_files("#upload #files", files[1:])  # type: ignore[arg-type]
        page.wait_for_selector("#upload li[data-state=completed]")

    visit(page, "folder", "/", drop)
    page.locator("#upload li").first.get_by_role("button", name="Cancel").click()
    visit(page, "file", "/", lambda page: page.click("text=Interview, uncut.mov"))
    visit(page, "image", "/", lambda page: page.click("text=sunset.png"))
    visit(page, "menu", "/", lambda page: page.get_by_role("button", name="Actions for Minutes").click())
    page.get_by_role("button", name="Delete …").click()
    take("delete", page)
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    page.wait_for_selector("text=to the trash.")
    visit(page, "trash", "/trash/")
    page.get_by_role("button", name="Restore Minutes").click()
    page.wait_for_selector("text=Restored")

    def choose(page: Page) -> None:
        page.fill("[name=title]", "Drone footage")
        page.locator("upload-drop[name=file] #files").set_input_files(files[:1])  # type: ignore[arg-type]
        page.wait_for_selector("upload-drop[name=file] li[data-state=completed]")

    visit(page, "documents", "/documents/", choose)
    if UPPY.exists():
        visit(page, "uppy", "/", lambda page: page.get_by_role("link", name="dashboard").click())
    visit(page, "nowhere", "/nowhere")
    context.close()
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    sign_in(page, url, "admin")
    visit(page, "sessions", LIST)
    visit(page, "session", f"{LIST}?q=Backup", lambda page: page.click("#result_list tbody th a"))
    page.get_by_role("button", name="Abort").click()
    take("confirm", page)
    visit(page, "admin-form", "/admin/portal/document/add/")
    context.close()


if __name__ == "__main__":
    main()
