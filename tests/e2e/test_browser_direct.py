"""The browser's client (``upload.js``) sends parts straight to the store, which is another origin."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser import needs_browser
from tests.data import MIB, some_bytes
from tests.e2e.conftest import Demo

pytestmark = needs_browser
SLOW = 120_000
"""Timeout in milliseconds."""
STORE = "**/*X-Amz-Signature*"
SIZES = {"one-byte": 1, "one-part": 5 * MIB, "nine-parts": 64 * MIB + 7}


@pytest.fixture(scope="module")
def demo(start_demo: Callable[..., Demo]) -> Iterator[Demo]:
    started = start_demo(UPLOADS_DIRECT="true")
    yield started
    started.stop()


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, size = request.node.name, SIZES.get(request.node.callspec.id if hasattr(request.node, "callspec") else "", 0)
    path = tmp_path / f"{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:8]}.bin"
    path.write_bytes(some_bytes(size or 40 * MIB + 5))
    return path


def drop(page: Page, path: Path) -> None:
    page.locator("upload-drop #files").set_input_files(path)


def uploaded(page: Page, demo: Demo, path: Path) -> str:
    """Wait for the file, compare its bytes, and return the mode of its session."""
    row = page.locator("upload-drop li[data-state=completed]", has_text=path.name)
    expect(row).to_be_visible(timeout=SLOW)
    program = (
        "from portal.models import File; from uploads.models import UploadSession; import hashlib;"
        f"file = File.objects.get(title={path.name!r}); file.content.open();"
        "print(hashlib.file_digest(file.content, 'sha256').hexdigest(),"
        f"UploadSession.objects.filter(file_name={path.name!r}, state='completed').get().mode)"
    )
    digest, mode = demo.manage("shell", "-v0", "-c", program).split()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    return str(mode)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_parts_go_to_the_store(page: Page, demo: Demo, path: Path, size: int) -> None:
    bodies: list[Request] = []
    page.on("request", lambda request: bodies.append(request) if request.method in ("PUT", "PATCH") else None)
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"
    assert {urlsplit(request.url).netloc for request in bodies} != {urlsplit(demo.url).netloc}
    assert len(bodies) == max(1, -(-size // (8 * MIB)))


def test_expired_url_is_signed_anew(page: Page, demo: Demo, path: Path) -> None:
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        if len(refused) < 2:
            refused.append(route)
            route.fulfill(status=403, body="<Error><Code>AccessDenied</Code></Error>", headers=CORS)
        else:
            route.continue_()

    page.route(STORE, refuse)
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"


def test_unreachable_store_is_bypassed(page: Page, demo: Demo, path: Path) -> None:
    """Without a CORS rule, or behind a filter, files go through the portal."""
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text) if message.type == "warning" else None)
    page.route(STORE, lambda route: route.abort())
    drop(page, path)
    assert uploaded(page, demo, path) == "sequential"
    assert [text for text in warnings if "Uploads go through the portal" in text] == warnings


def test_upload_resumes_after_a_reload(page: Page, demo: Demo, path: Path) -> None:
    seen: list[Route] = []

    def stop(route: Route) -> None:
        seen.append(route)
        if len(seen) <= 2:
            route.continue_()

    page.route(STORE, stop)
    with page.expect_response(lambda response: "X-Amz-Signature" in response.url and response.ok):
        drop(page, path)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.unroute(STORE)
    again: list[Request] = []
    page.on("request", lambda request: again.append(request) if request.method == "PUT" else None)
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"
    assert 0 < len(again) < 6


CORS = {"Access-Control-Allow-Origin": "*"}
