"""The tutorial, as it is written, with the app from its wheel."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from devstack.weed import free_ports
from tests.e2e.conftest import ROOT
from tests.hosts.run import build_wheel

pytestmark = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="the tutorial has a database of its own")
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
STEP = re.compile(r"`(?P<file>[\w/]+\.py)`:\n\n```python\n(?P<code>.*?)```|```console\n(?P<console>.*?)```", re.DOTALL)


def test_the_tutorial(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheel")
    (port,) = free_ports(1)
    place = tmp_path / "portal"
    place.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATA_DIR"))}
    shell = ["bash", "-c"]
    try:
        for step in STEP.finditer(PAGE.replace("8000", str(port))):
            if step["file"]:
                path = place / step["file"]
                before = path.read_text() if "settings" in step["file"] or "urls" in step["file"] else ""
                path.write_text(before + step["code"])
                continue
            commands, answers = [], ""
            for line in step["console"].splitlines():
                if line.startswith("$ "):
                    commands.append(line[2:].replace('"django-upload-sessions"', str(wheel)))
                else:
                    answers += f"{line}\n"
            ran = subprocess.run(
                [*shell, "set -e\n" + "\n".join(commands)],
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert ran.stdout.replace("\r", "") == answers
    finally:
        subprocess.run(["pkill", "-f", f"runserver --noreload {port}"], check=False)
