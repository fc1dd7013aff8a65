"""All texts of the app are translatable, and the German translation is complete."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client, RequestFactory
from django.utils import translation
from django.views.i18n import JavaScriptCatalog

import uploads

APP = Path(uploads.__file__).parent
MARKED = {
    "py": re.compile(r'\b(?:_|gettext|ngettext)\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)'),
    "html": re.compile(r'{% translate "([^"]*)"'),
    "js": re.compile(r'_\("((?:[^"\\]|\\.)*)"\)'),
}


def marked(suffix: str) -> Iterator[str]:
    for path in sorted(APP.rglob(f"*.{suffix}")):
        for text in MARKED[suffix].findall(path.read_text()):
            yield "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)) if suffix == "py" else text


def catalogue(domain: str) -> dict[str, str]:
    text = (APP / "locale" / "de" / "LC_MESSAGES" / f"{domain}.po").read_text()
    pairs = re.findall(r'^msgid "(.+)"\n(?:msgid_plural ".*"\n)?msgstr(?:\[0\])? "(.*)"$', text, re.MULTILINE)
    return dict(pairs)


@pytest.mark.parametrize(("domain", "suffixes"), [("django", ("py", "html")), ("djangojs", ("js",))])
def test_every_text_is_translated(domain: str, suffixes: tuple[str, ...]) -> None:
    found = {text for suffix in suffixes for text in marked(suffix)}
    assert len(found) > 30
    known = catalogue(domain)
    assert [text for text in sorted(found) if not known.get(text)] == []


def test_admin_is_translated_to_german(admin_client: Client) -> None:
    with translation.override("de"):
        page = admin_client.get("/admin/upload_sessions/uploadsession/", headers={"Accept-Language": "de"})
    assert "davon gespeichert" in page.content.decode()


def test_scripts_are_small() -> None:
    """A page loads at most 20 kB of compressed scripts."""
    scripts = APP / "static" / "uploads"
    loaded = [scripts / name for name in ("upload.js", "upload-drop.js", "upload-row.js")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in loaded) <= 20_000


def test_scripts_receive_the_catalog() -> None:
    with translation.override("de"):
        answer = JavaScriptCatalog.as_view(packages=["uploads"])(RequestFactory().get("/"))
    assert "Dateien hier ablegen oder" in getattr(answer, "content", b"").decode()
