"""The code on the page of recipes is the code of the portals."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_recipes_show_code_of_portals() -> None:
    page = (HERE.parents[1] / "docs" / "recipes.md").read_text()
    files = [path.read_text() for path in HERE.glob("*/**/*.py")]
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 8
    assert [block for block in blocks if not any(block in file for file in files)] == []
