"""Run the examples of the documentation as written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Demo

PAGES = sorted((ROOT / "docs" / "protocols").glob("*.md"))
ANYTHING = "…"


def commands(page: Path) -> list[tuple[str, str]]:
    """Return each command of a page and its documented output."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            else:
                found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_examples_produce_documented_output(demo: Demo, page: Path) -> None:
    written = commands(page)
    environment = demo.environment | {"URL": demo.url, "TOKEN": demo.token}
    script = "\n".join(f"{command}\nprintf '\\0'" for command, _ in written)
    ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=False, timeout=120)
    answers = ran.stdout.decode().replace("\r", "").split("\0")
    for (command, expected), answer in zip(written, answers, strict=False):
        pattern = ".*".join(re.escape(text) for text in expected.split(ANYTHING))
        assert re.fullmatch(pattern, answer), f"{command}\n{answer}{ran.stderr.decode()}"
    assert len(answers) == len(written) + 1
