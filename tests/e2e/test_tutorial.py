"""The steps of the tutorial and of the README, run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.weed import free_ports
from tests import browser
from tests.e2e.conftest import ROOT, Demo

pytestmark = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="the pages have databases of their own")
STEP = re.compile(
    r"`(?P<file>[\w/]+\.(?:py|html))`:\n\n```(?:python|html)\n(?P<code>.*?)```|```console\n(?P<console>.*?)```",
    re.DOTALL,
)
APPENDED = ("settings.py", "urls.py")


def run(script: str, place: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATA_DIR"))}
    environment["PATH"] = f"{place / 'env' / 'bin'}:{environment['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", f"set -e\n{script}"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.replace("\r", "")


def follow(text: str, place: Path) -> None:
    """Write the files and run the commands of a page; compare what they print."""
    shown = ""
    for step in STEP.finditer(text):
        if step["file"]:
            path = place / step["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text() if path.name in APPENDED else ""
            path.write_text(before + step["code"])
            continue
        lines = step["console"].splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        shown = "".join(f"{line}\n" for line in lines if not line.startswith("$ "))
        assert run("\n".join(commands), place) == shown


def test_tutorial_ends_with_an_upload_page(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    page = (ROOT / "docs" / "tutorial.md").read_text()
    try:
        follow(page.replace("/path/to/this/checkout", str(ROOT)).replace("8001", str(port)), tmp_path)
        with browser.launched() as chromium:
            tab = chromium.new_page()
            tab.goto(f"http://127.0.0.1:{port}/upload/")
            tab.fill("[name=username]", "ada")
            tab.fill("[name=password]", "secret")
            tab.click("[type=submit]")
            file = {"name": "dropped.txt", "mimeType": "text/plain", "buffer": b"dropped"}
            tab.locator("upload-drop input[type=file]").first.set_input_files(file)  # type: ignore[arg-type]
            tab.locator("upload-drop li[data-state=completed]").wait_for()
        (stored,) = (tmp_path / "media").rglob("dropped.txt")
        assert stored.read_bytes() == b"dropped"
    finally:
        subprocess.run(["pkill", "-f", f"manage.py runserver {port}"], check=False)


def test_readme_uploads_to_demo(demo: Demo, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().partition("## One upload to the demo\n")[2].partition("\n## ")[0]
    follow(section.replace("http://127.0.0.1:8000", demo.url), tmp_path)


def test_readme_embeds_in_a_new_project(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## Embed it\n")[2].partition("\n## ")[0]
    run(
        f"{sys.executable} -m venv env\npip install -q '{ROOT}[s3,celery]'\n"
        "django-admin startproject mysite .\npython manage.py startapp documents",
        tmp_path,
    )
    follow(section, tmp_path)
