"""The browser's client (``upload.js``) against answers of proxies, foreign servers and browsers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.browser import needs_browser
from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import Demo
from tests.proxy import Wire, wired

pytestmark = needs_browser
SLOW = 60_000
"""Timeout in milliseconds."""
OFFLINE = "Object.defineProperty(navigator, 'onLine', { get: () => false })"
SIZES = """const { send } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.send = function (body) {
    this.setRequestHeader("X-Size", body.size);
    send.call(this, body);
};"""
"""Requests tell the size of their chunk: Playwright does not see the bodies that a browser reads from files."""
UPLOAD = """async ([name, options, leaves]) => {
    const { UploadQueue } = await import("/static/uploads/upload.js");
    const file = new File([new Uint8Array(9 * 2 ** 20)], name, { lastModified: 1 });
    const session = new UploadQueue(options).add(file);
    await new Promise((resolve) => session.addEventListener("state", () => {
        if (session.isOver || session.state === leaves) resolve();
    }));
    if (leaves) session.pause();
    return [session.state, session.error?.code ?? ""];
}"""


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that makes a file whose name belongs to the test."""

    def make(size: int) -> Path:
        path = tmp_path / f"{abs(hash(request.node.name)):x}-{size}.bin"
        path.write_bytes(some_bytes(size))
        return path

    return make


def drop(page: Page, *paths: Path) -> None:
    page.set_input_files("#upload #files", paths)


def row(page: Page, path: Path, state: str = "") -> Locator:
    return page.locator(f"#upload li{f'[data-state={state}]' if state else ''}", has_text=path.name)


def creations(page: Page) -> list[Request]:
    """Return the list of the requests that begin uploads, which grows."""
    seen: list[Request] = []
    page.on("request", lambda sent: seen.append(sent) if sent.method == "POST" else None)
    return seen


def test_browser_offline_hint_is_tested(page: Page, file: Callable[[int], Path]) -> None:
    page.add_init_script(OFFLINE)
    page.reload()
    drop(page, path := file(10))
    expect(row(page, path, "completed")).to_be_visible()


def test_offline_period_uses_no_attempts(page: Page, file: Callable[[int], Path]) -> None:
    """Try again every 30 seconds, more often than the 12 attempts of other failures."""
    page.add_init_script(OFFLINE)
    page.clock.install()
    page.reload()
    page.route("**/tus/**", lambda route: route.abort())
    path = file(10)
    with page.expect_event("requestfailed"):
        drop(page, path)
    for _ in range(14):
        expect(row(page, path, "offline")).to_be_visible()
        with page.expect_event("requestfailed"):
            page.clock.fast_forward(31_000)
    page.unroute_all()
    expect(row(page, path, "offline")).to_be_visible()
    page.clock.fast_forward(31_000)
    expect(row(page, path, "completed")).to_be_visible()


@pytest.mark.parametrize("status", [404, 410, 501, 520, 530])
def test_foreign_errors_are_retried(page: Page, file: Callable[[int], Path], status: int) -> None:
    """Continue the same upload after two answers of a proxy, such as Cloudflare's."""
    answers = ["<h1>Error</h1>", '{"code": 1}']
    begun = creations(page)

    def proxy(route: Route) -> None:
        if answers:
            route.fulfill(status=status, body=answers.pop())
        else:
            route.continue_()

    page.route(re.compile(r"/tus/\w"), proxy)
    drop(page, path := file(9 * MIB))
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert (answers, len(begun)) == ([], 1)


def test_foreign_404_refuses_creation(page: Page, file: Callable[[int], Path]) -> None:
    page.route("**/tus/", lambda route: route.fulfill(status=404, body="<h1>Not found</h1>"))
    drop(page, path := file(10))
    expect(row(page, path, "failed")).to_be_visible()


def test_removed_upload_begins_anew(page: Page, demo: Demo, file: Callable[[int], Path]) -> None:
    """The code is in the response to GET: responses to HEAD have no body."""
    begun = creations(page)
    removed: list[str] = []

    def remove(route: Route) -> None:
        if removed or route.request.method != "PATCH":
            route.continue_()
            return
        removed.append(route.request.url)
        assert demo.http().delete(route.request.url, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
        route.abort()

    page.route(re.compile(r"/tus/\w"), remove)
    drop(page, path := file(9 * MIB))
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert len(begun) == 2


def refuse_above(page: Page, most: int) -> list[tuple[str, int, bool]]:
    """Refuse larger chunks as a proxy does; return method, size and acceptance of each chunk."""
    chunks: list[tuple[str, int, bool]] = []

    def proxy(route: Route) -> None:
        if route.request.method not in ("PATCH", "PUT"):
            route.continue_()
            return
        size = int(route.request.headers["x-size"])
        chunks.append((route.request.method, size, size <= most))
        if size <= most:
            route.continue_()
        else:
            route.fulfill(status=413, body="<h1>Request Entity Too Large</h1>", content_type="text/html")

    page.add_init_script(SIZES)
    page.reload()
    page.route("**/{tus,uppy}/**", proxy)
    return chunks


def test_refused_size_limits_later_chunks(page: Page, file: Callable[[int], Path]) -> None:
    """Neither the same upload nor another one of the page sends a chunk of a refused size again."""
    chunks = refuse_above(page, 4 * MIB)
    for path in (file(30 * MIB), file(9 * MIB)):
        drop(page, path)
        expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    refused = [size for _, size, accepted in chunks if not accepted]
    assert len(refused) == 1
    assert max(size for _, size, accepted in chunks if accepted) > MIB


def test_refused_part_size_ends_parallel_upload(page: Page, demo: Demo, file: Callable[[int], Path]) -> None:
    chunks = refuse_above(page, 4 * MIB)
    page.evaluate("""() => {
        const drop = document.getElementById("upload");
        const html = drop.outerHTML.replace("<upload-drop", '<upload-drop parallel="2" parts="uppy/"');
        drop.insertAdjacentHTML("afterend", html);
        drop.remove();
    }""")
    ended: list[str] = []
    page.on("request", lambda sent: ended.append(sent.url) if sent.method == "DELETE" else None)
    for path in (file(17 * MIB), file(18 * MIB)):
        drop(page, path)
        expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert {method for method, _, accepted in chunks if not accepted} == {"PUT"}
    assert len(ended) == 1, "the second file went in order from the start"
    page.reload()
    page.click(f"td a:text('{path.name}')")
    stored = page.request.get(f"{page.url}download").body()
    assert sha256([stored]) == sha256([path.read_bytes()])


@pytest.mark.parametrize("parallel", [1, 2])
def test_missing_location_is_an_error(page: Page, parallel: int) -> None:
    page.route("**/tus/", lambda route: route.fulfill(status=201 if route.request.method == "POST" else 404))
    page.route("**/s3/multipart", lambda route: route.fulfill(status=200, json={"key": "a"}))
    assert page.evaluate(UPLOAD, ["a.bin", {"parallel": parallel}, ""]) == ["failed", "invalid_response"]


def test_foreign_origin_gets_no_csrf_token(page: Page, demo: Demo) -> None:
    """Decide by the URL of each request: Location may name another origin."""
    elsewhere = "https://store.example/uploads/1"
    sent: list[Request] = []

    def begin(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request)
            route.fulfill(status=201, headers={"Location": elsewhere})
        else:
            route.continue_()

    def store(route: Route) -> None:
        sent.append(route.request)
        route.fulfill(status=403, headers={"Access-Control-Allow-Origin": demo.url})

    page.route("**/tus/", begin)
    page.route(elsewhere, store)
    assert page.evaluate(UPLOAD, ["a.bin", {}, ""]) == ["failed", "http_403"]
    tokens = {urlsplit(request.url).hostname: request.headers.get("x-csrftoken", "") != "" for request in sent}
    assert tokens == {"127.0.0.1": True, "store.example": False}


def test_decomposed_file_name_resumes(page: Page) -> None:
    """Resume on macOS, which decomposes the letters of names."""
    begun = creations(page)
    assert page.evaluate(UPLOAD, ["Gr\u00f6\u00dfe.bin", {}, "sending"]) == ["paused", ""]
    assert page.evaluate(UPLOAD, ["Gro\u0308\u00dfe.bin", {}, ""]) == ["completed", ""]
    assert len(begun) == 1


@pytest.fixture
def line(demo: Demo) -> Iterator[Wire]:
    """Yield a relay between the browser and the demo."""
    parts = urlsplit(demo.url)
    with wired((str(parts.hostname), int(parts.port or 0))) as wire:
        yield wire


def test_bar_shows_what_is_stored(page: Page, line: Wire, file: Callable[[int], Path]) -> None:
    """Show 100 % while the server completes the file, and no unconfirmed bytes during a retry."""
    page.goto(f"http://127.0.0.1:{line.port}")
    path = file(2 * MIB)
    line.at(2 * MIB, line.flows.clear)
    drop(page, path)
    bar = page.get_by_role("progressbar", name=path.name)

    def widths() -> Any:
        return bar.evaluate("bar => [...bar.children].map(part => part.style.width)")

    expect(row(page, path, "completing")).to_contain_text("100 %")
    assert (bar.get_attribute("aria-valuenow"), widths()) == ("100", ["100%", "100%"])
    line.cut(0)
    line.flows.set()
    expect(row(page, path, "retrying")).to_be_visible()
    assert (bar.get_attribute("aria-valuenow"), widths()) == ("0", ["0%", "0%"])
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
