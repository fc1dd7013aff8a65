"""Take pictures of every page: light and dark, on desktop and phone.

``make screenshots`` writes them to ``var/screenshots``. The four pictures of the README are copied to ``docs/images``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from devstack.weed import free_ports
from tests.browser import launched, sign_in
from tests.data import MIB, some_bytes

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "var" / "screenshots"
SHOWN = ROOT / "docs" / "images"
UPPY = ROOT / "var" / "uppy" / "node_modules" / "uppy" / "dist"
"""Created by ``make uppy``; without it the Uppy page is skipped."""
SIZES: dict[str, ViewportSize] = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
LIST = "/admin/upload_sessions/uploadsession/"
BEST = {
    "folder-desk-light": "folder",
    "sessions-desk-light": "sessions",
    "session-open-desk-light": "session",
    "documents-phone-light": "form",
}
QUOTA = 20 * 2**30


def _picture() -> bytes:
    """Return a picture of an evening sky."""
    sky, file = (
        Image.merge(
            "RGB",
            [
                Image.linear_gradient("L").point(lambda y, c=c: c[0] + y * (c[1] - c[0]) // 255)
                for c in ((60, 255), (50, 150), (110, 60))
            ],
        ),
        BytesIO(),
    )
    sky.resize((1200, 800)).save(file, "png")
    return file.getvalue()


CHOSEN: dict[str, bytes | int] = {
    "sunset.png": _picture(),
    "Complete archive.zip": QUOTA,
    "Drone footage.mp4": 48 * MIB,
    "Sound recording.wav": 32 * MIB,
    "Site scan.e57": 25 * MIB,
    "Setup.exe": 500_000,
}
"""The files that the user chooses, with their content or size."""
AGE = """
from datetime import timedelta
from django.utils import timezone
from portal.models import Folder
from uploads.models import UploadSession
now = timezone.now()
Folder.objects.filter(title="Measurements").update(trashed=now)
UploadSession.objects.filter(file_name="Site survey.las").update(
    created_at=now - timedelta(hours=4), updated_at=now - timedelta(hours=3))
"""
"""Delete the folder of a running upload, so that it fails, and make another upload old, so that it is stalled."""


def main() -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    SHOWN.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as directory:
        given = {"UPPY_DIR": str(UPPY), "QUOTA": str(QUOTA)} | os.environ
        environment = given | {"PORT": str(port), "DATA_DIR": f"{directory}/data"}
        files = Path(directory, "files")
        files.mkdir()
        for name, content in CHOSEN.items():
            with (files / name).open("wb") as file:
                file.truncate(content) if isinstance(content, int) else file.write(content)
        command = [sys.executable, "-m", "devstack.run"]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as portal:
            assert portal.stdout
            try:
                block = ""
                while "curl" not in block:
                    block += portal.stdout.readline()
                url = f"http://127.0.0.1:{port}"
                fill(url, block.split("Token")[1].split()[0], environment)
                with launched() as browser:
                    for scheme in ("light", "dark"):
                        for place in SIZES:
                            Camera(browser, url, place, scheme, files).take_all()
            finally:
                portal.send_signal(signal.SIGTERM)
                portal.stdout.read()
    for name, kept in BEST.items():
        shutil.copy(PICTURES / f"{name}.jpg", SHOWN / f"{kept}.jpg")


def fill(url: str, token: str, environment: dict[str, str]) -> None:
    """Upload sample files, so that the pages have content."""
    http = requests.Session()
    http.headers["Authorization"] = f"Token {token}"

    def create(name: str, size: int, **fields: str) -> str:
        payload = {"FileName": name, "FileSize": size} | fields
        created = http.post(f"{url}/api/2.0/files/1/upload/create_session", json=payload, timeout=60)
        return str(created.json()["data"]["location"])

    def send(location: str, size: int, suffix: str = "") -> None:
        while size > 0:
            chunk = some_bytes(min(10 * MIB, size))
            headers = {"Content-Type": "application/octet-stream"}
            http.post(f"{location}{suffix}", data=chunk, headers=headers, timeout=60)
            size -= len(chunk)

    def upload(name: str, size: int, **fields: str) -> None:
        send(create(name, size, **fields), size)

    upload("Annual report 2026.pdf", 3 * MIB)
    upload("Interview, uncut.mov", 48 * MIB)
    upload("Interview, uncut.mov", 20 * MIB)
    upload("Minutes of the meeting.txt", 4000)
    upload("Floor plan.pdf", 2 * MIB, RelativePath="Drawings/")
    upload("Sensor 1.csv", 1 * MIB, RelativePath="Measurements/")
    late = create("Sensor 2.csv", 12 * MIB, RelativePath="Measurements/")
    send(late, 10 * MIB)
    send(create("Site survey.las", 8 * 2**30), 60 * MIB)
    send(create("Backup of the lab.tar", 120 * MIB), 90 * MIB)
    numbered = create("Scan of the archive.tif", 75 * MIB)
    for number in (1, 2, 4, 6):
        send(numbered, 10 * MIB, f"&upload=true&chunkNumber={number}")
    http.post(f"{url}/api/2.0/files/1/upload", files={"file": ("sunset.png", _picture())}, timeout=60)
    subprocess.run([sys.executable, "manage.py", "shell", "-v0", "-c", AGE], cwd=ROOT, env=environment, check=True)
    send(late, 2 * MIB)


class Camera:
    """Takes all pictures in one color scheme and one size of the window."""

    def __init__(self, browser: Browser, url: str, place: str, scheme: Any, files: Path) -> None:
        self.url, self.suffix, self.files = url, f"{place}-{scheme}", files
        self.size = SIZES[place]
        self.browser, self.scheme = browser, scheme

    def new_page(self) -> Page:
        is_phone = self.size == SIZES["phone"]
        options: dict[str, Any] = {"viewport": self.size, "color_scheme": self.scheme}
        return self.browser.new_context(is_mobile=is_phone, has_touch=is_phone, **options).new_page()

    def take(self, name: str, page: Page) -> None:
        page.wait_for_timeout(400)  # for animations
        picture = f"{name}-{self.suffix}"
        page.screenshot(path=PICTURES / f"{picture}.jpg", type="jpeg", quality=80, full_page=picture not in BEST)
        if page.evaluate("document.documentElement.scrollWidth") > self.size["width"]:
            print(f"{picture} is wider than the window", file=sys.stderr)

    def visit(self, page: Page, name: str, path: str, act: Callable[[Page], object] = lambda page: None) -> None:
        page.goto(self.url + path)
        act(page)
        self.take(name, page)

    def choose(self, page: Page, element: str, *names: str) -> None:
        page.locator(f"upload-drop{element} #files").set_input_files([self.files / name for name in names])

    def take_all(self) -> None:
        self.operate()
        page = self.new_page()
        self.visit(page, "sign-in", "/login/")
        sign_in(page, self.url)
        self.upload(page)
        self.manage_files(page)
        self.fill_form(page)
        if UPPY.exists():
            self.visit(page, "uppy", "/", lambda page: page.get_by_role("link", name="dashboard").click())
        self.visit(page, "nowhere", "/nowhere")
        page.context.close()

    def upload(self, page: Page) -> None:
        """Show uploads that run, wait, are paused, failed, offline, completed; then those of an earlier day."""
        network = page.context.new_cdp_session(page)
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": 8 * MIB}
        network.send("Network.emulateNetworkConditions", limits | {"offline": False})
        self.choose(page, "", *(name for name in CHOSEN if name != "Setup.exe"))
        page.get_by_role("button", name="Pause: Sound").click()
        page.mouse.move(0, 0)
        page.wait_for_selector("#upload li[data-state=failed]")
        page.wait_for_selector(r"#upload li[data-state=sending] >> text=/[1-9][\d.]* MB of .* left/")
        self.take("folder", page)
        network.send("Network.emulateNetworkConditions", limits | {"offline": True})
        page.wait_for_selector("#upload li[data-state=offline]")
        self.take("offline", page)
        network.send("Network.emulateNetworkConditions", limits | {"offline": False})
        page.get_by_role("button", name="Pause all").click()
        page.wait_for_selector("#upload li[data-state=completed]")
        self.visit(page, "resume", "/")
        while page.locator("#upload li").count():
            page.get_by_role("button", name=re.compile("^Cancel: ")).first.click()

    def manage_files(self, page: Page) -> None:
        self.visit(page, "file", "/", lambda page: page.click("text=Interview, uncut.mov"))
        self.visit(page, "image", "/", lambda page: page.click("text=sunset.png"))
        self.visit(page, "new-folder", "/", lambda page: page.get_by_role("button", name="New folder").click())
        self.visit(page, "menu", "/", lambda page: page.get_by_role("button", name="Actions for Drawings").click())
        page.get_by_role("button", name="Delete …").click()
        self.take("delete", page)
        page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
        page.wait_for_selector("text=to the trash.")
        self.take("deleted", page)
        self.visit(page, "trash", "/trash/")
        page.get_by_role("button", name="Empty trash").click()
        self.take("empty-trash", page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Restore Drawings").click()
        page.wait_for_selector("text=Restored")

    def fill_form(self, page: Page) -> None:
        def refused(page: Page) -> None:
            page.fill("[name=title]", "Drone footage")
            self.choose(page, "[name=file]", "Setup.exe")

        self.visit(page, "refused", "/documents/", refused)
        self.choose(page, "[name=file]", "Drone footage.mp4")
        page.wait_for_selector("upload-drop[name=file] li[data-state=completed]")
        self.take("documents", page)

    def operate(self) -> None:
        """Take the admin's pages."""
        page = self.new_page()
        sign_in(page, self.url, "admin")
        self.visit(page, "sessions", LIST)
        for name, words in {
            "completed": "Interview",
            "failed": "Sensor 2",
            "stalled": "survey",
            "numbered": "archive.tif",
            "open": "Backup",
        }.items():
            self.visit(page, f"session-{name}", f"{LIST}?q={words}", lambda page: page.click("#result_list tbody th a"))
        page.get_by_role("button", name="Abort").click()
        self.take("confirm", page)
        self.visit(page, "user", "/admin/auth/user/?q=demo", lambda page: page.click("#result_list tbody th a"))
        self.visit(page, "admin-form", "/admin/portal/document/add/")
        page.context.close()


if __name__ == "__main__":
    main()
