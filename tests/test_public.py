"""Portals import only public names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "public.md"
PORTALS = [*(ROOT / "portal").rglob("*.py"), *(ROOT / "tests" / "hosts").glob("*/**/*.py")]


def listed() -> dict[str, str]:
    """Return each public module with its entry on the page."""
    return dict(re.findall(r"^\| `(uploads[\w.]*)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import from the app, including dotted paths in strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(module)) if re.match(r"uploads(\.|$)", module):
                for name in node.names:
                    whole = f"{module}.{name.name}"
                    yield (whole, "") if whole in listed() else (module, name.name)
            case ast.Constant(value=str(text)) if re.fullmatch(r"uploads(\.[a-zA-Z_]+)+", text):
                yield (text, "") if text in listed() else tuple(text.rsplit(".", 1))  # type: ignore[misc]


@pytest.mark.parametrize("path", PORTALS, ids=[str(path.relative_to(ROOT)) for path in PORTALS])
def test_portals_import_public_names_only(path: Path) -> None:
    public = listed()
    for module, name in imports(path):
        payload = public.get(module)
        assert payload is not None, f"{module} is not public"
        assert not name or f"`{name}`" in payload or re.search(r"^(all|auth|URLs)", payload), (
            f"{module}.{name} is not public"
        )


@pytest.mark.parametrize("module", listed())
def test_public_names_exist(module: str) -> None:
    found = import_module(module)
    for name in re.findall(r"`([A-Za-z_]+)`", listed()[module]):
        if name != "handler404":
            assert hasattr(found, name), f"{module}.{name}"
