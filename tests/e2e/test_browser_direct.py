"""The browser's client (``upload.js``) sends parts straight to the store, which is another origin."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from devstack import weed
from tests.browser import needs_browser, sign_in
from tests.data import MIB, some_bytes
from tests.e2e.conftest import Demo
from tests.faults.conftest import wait_in
from tests.faults.test_protocols import InPage, packages
from tests.proxy import Wire, wired
from uploads._internal.direct_probe import cors_rule

pytestmark = needs_browser
SLOW = 180_000
"""Timeout in milliseconds."""
STORE = "**/*X-Amz-Signature*"
SIZES = {"empty": 0, "one-byte": 1, "one-part": 5 * MIB, "nine-parts": 64 * MIB + 7}
__all__ = ["packages"]
CORS = {"Access-Control-Allow-Origin": "*"}


class Store:
    """SeaweedFS behind a relay, so that its address stays when it starts again."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.weed = directory, weed.start(directory)
        self.line: Wire

    @property
    def place(self) -> tuple[str, int]:
        url = urlsplit(self.weed.endpoint)
        return str(url.hostname), int(url.port or 0)

    def restart(self) -> None:
        self.weed.kill()
        self.weed = weed.start(self.directory)
        self.line.address = self.place

    def allow(self, origin: str) -> None:
        """Let only pages of ``origin`` send parts; without any rule, SeaweedFS allows all."""
        s3 = boto3.client(
            "s3",
            endpoint_url=self.weed.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.weed.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.weed.environment["AWS_SECRET_ACCESS_KEY"],
        )
        rules: Any = {"CORSRules": [cors_rule(origin) | {"MaxAgeSeconds": 1}]}
        s3.put_bucket_cors(Bucket=weed.BUCKET, CORSConfiguration=rules)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    with wired(store.place) as store.line:
        yield store
    store.weed.kill()
    shutil.rmtree(store.directory)  # pytest would keep gigabytes.


@pytest.fixture(scope="module")
def demo(start_demo: Callable[..., Demo], store: Store) -> Iterator[Demo]:
    endpoint = {"AWS_S3_ENDPOINT_URL": f"http://127.0.0.1:{store.line.port}"}
    started = start_demo(**store.weed.environment | endpoint, UPLOADS_DIRECT="true")
    yield started
    started.stop()


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that creates a file; large ones are sparse, with a mark in each MiB."""
    path = tmp_path / f"{hashlib.md5(request.node.name.encode(), usedforsecurity=False).hexdigest()[:8]}.bin"

    def make(size: int = 40 * MIB + 5) -> Path:
        if size < 100 * MIB:
            path.write_bytes(some_bytes(size))
        else:
            with path.open("wb") as file:
                for start in range(0, size, MIB):
                    file.seek(start)
                    file.write(start.to_bytes(8, "big"))
                file.truncate(size)
        return path

    yield make
    path.unlink()


def drop(page: Page, path: Path) -> None:
    page.locator("upload-drop #files").set_input_files(path)


def uploaded(page: Page, demo: Demo, path: Path) -> str:
    """Wait for the file, compare its bytes, and return the mode of its session."""
    row = page.locator("upload-drop li[data-state=completed]", has_text=path.name)
    expect(row).to_be_visible(timeout=SLOW)
    return compared(demo, path)


def compared(demo: Demo, path: Path) -> str:
    """Compare the bytes of the portal's file, and return the mode of its session."""
    program = (
        "from portal.models import File; from uploads.models import UploadSession;"
        f"print(File.objects.get(title={path.name!r}).pk,"
        f"UploadSession.objects.filter(file_name={path.name!r}, state='completed').get().mode)"
    )
    pk, mode = demo.manage("shell", "-v0", "-c", program).split()
    digest = hashlib.sha256()
    with demo.http().get(f"{demo.url}/files/{pk}/download", stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        for block in answer.iter_content(MIB):
            digest.update(block)
    with path.open("rb") as file:
        assert digest.hexdigest() == hashlib.file_digest(file, "sha256").hexdigest()
    return mode


@pytest.mark.parametrize(
    "size",
    [
        *(pytest.param(size, id=name) for name, size in SIZES.items()),
        pytest.param(2048 * MIB, id="2-gib", marks=pytest.mark.slow),
    ],
)
def test_parts_go_to_the_store(page: Page, demo: Demo, file: Callable[[int], Path], size: int) -> None:
    path, bodies = file(size), list[Request]()
    page.on("request", lambda request: bodies.append(request) if request.method in ("PUT", "PATCH") else None)
    drop(page, path)
    assert uploaded(page, demo, path) == ("direct" if size else "sequential")
    assert urlsplit(demo.url).netloc not in {urlsplit(request.url).netloc for request in bodies}
    assert len(bodies) == -(-size // (8 * MIB))


def kill_workers(demo: Demo) -> None:
    """Kill the processes of the web server with SIGKILL; gunicorn starts new ones."""
    for child in children(demo.process.pid):
        if b"gunicorn" in Path(f"/proc/{child}/cmdline").read_bytes():
            for worker in children(child):
                os.kill(worker, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("fault", ["portal-killed", "store-killed", "line-cut"])
def test_upload_survives_faults(page: Page, demo: Demo, store: Store, file: Callable[[], Path], fault: str) -> None:
    """After a short fault, the parts that are missing go to the store, too."""
    faults = {
        "portal-killed": lambda: kill_workers(demo),
        "store-killed": store.restart,
        "line-cut": lambda: store.line.cut(0.2),
    }
    path = file()
    happened = store.line.at(20 * MIB, faults[fault])
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"
    assert happened.is_set()


def test_upload_waits_for_the_network(page: Page, demo: Demo, store: Store, file: Callable[[], Path]) -> None:
    path = file()
    begun = store.line.at(10 * MIB, lambda: None, pause=0.3)
    drop(page, path)
    wait_in(page, begun)
    page.context.set_offline(True)
    store.line.cut(0.1)
    row = page.locator("upload-drop li[data-state=offline]", has_text=path.name)
    expect(row).to_contain_text("Waiting for the network", timeout=SLOW)
    page.context.set_offline(False)
    assert uploaded(page, demo, path) == "direct"


@pytest.fixture
def own_rule(store: Store, demo: Demo) -> Iterator[Callable[[str], None]]:
    """Let only the portal's pages send parts; return a function that changes the rule."""
    store.allow(demo.url)
    yield store.allow
    store.allow("*")


@pytest.mark.parametrize("returns", [False, True], ids=["for-good", "for-a-moment"])
def test_cors_rule_is_removed_in_the_middle(
    page: Page, demo: Demo, store: Store, file: Callable[[int], Path], own_rule: Callable[[str], None], *, returns: bool
) -> None:
    """The rest goes through the portal, unless the rule returns."""
    path = file(72 * MIB)
    removed = store.line.at(18 * MIB, lambda: own_rule("http://elsewhere.example"), pause=1)
    drop(page, path)
    wait_in(page, removed)
    if returns:
        page.wait_for_event("requestfailed", lambda request: request.method == "PUT")
        own_rule(demo.url)
    assert uploaded(page, demo, path) == ("direct" if returns else "sequential")


def test_expired_url_is_signed_anew(page: Page, demo: Demo, file: Callable[[], Path]) -> None:
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        if len(refused) < 2:
            refused.append(route)
            route.fulfill(status=403, body="<Error><Code>AccessDenied</Code></Error>", headers=CORS)
        else:
            route.continue_()

    page.route(STORE, refuse)
    path = file()
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"


@pytest.mark.parametrize("cause", ["no-cors-rule", "filter"])
def test_unreachable_store_is_bypassed(
    page: Page, demo: Demo, file: Callable[[], Path], own_rule: Callable[[str], None], cause: str
) -> None:
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text) if message.type == "warning" else None)
    if cause == "filter":
        page.route(STORE, lambda route: route.abort())
    else:
        own_rule("http://elsewhere.example")
    path = file()
    drop(page, path)
    assert uploaded(page, demo, path) == "sequential"
    assert [text for text in warnings if "Uploads go through the portal" in text] == warnings


def test_portal_without_signed_urls_takes_the_file(page: Page, demo: Demo, file: Callable[[], Path]) -> None:
    problem = {"code": "direct_unsupported", "title": "The storage has no signed URLs."}
    page.route("**/parts", lambda route: route.fulfill(status=409, json=problem), times=1)
    path = file()
    drop(page, path)
    assert uploaded(page, demo, path) == "sequential"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["reloaded", "in-another-browser"])
def test_upload_resumes_after_page_was_closed(
    page: Page, demo: Demo, browser: Browser, file: Callable[[], Path], *, elsewhere: bool
) -> None:
    path, seen, again = file(), list[Route](), list[Request]()

    def stop(route: Route) -> None:
        seen.append(route)
        if len(seen) <= 2:
            route.continue_()

    page.route(STORE, stop)
    with page.expect_response(lambda response: "X-Amz-Signature" in response.url and response.ok):
        drop(page, path)
    page.on("dialog", lambda dialog: dialog.accept())
    if elsewhere:
        page.close()
        page = browser.new_context().new_page()
        sign_in(page, demo.url)
    else:
        page.reload()
        page.unroute(STORE)
    page.on("request", lambda request: again.append(request) if request.method == "PUT" else None)
    drop(page, path)
    assert uploaded(page, demo, path) == "direct"
    assert 0 < len(again) < 6
    page.context.close()


@pytest.mark.parametrize(
    ("client", "mode"), [("uppy-s3-direct", "direct"), ("uppy-s3", "numbered"), ("uppy-s3-single", "sequential")]
)
def test_uppy_sends_parts_to_the_store(
    page: Page, demo: Demo, packages: Path, file: Callable[[int], Path], client: str, mode: str
) -> None:
    """The plugin's single requests, and its parts if the page does not say their size, go through the portal."""
    path, uppy = file(20 * MIB + 5), InPage(page, client)
    uppy.open(demo.url, packages)
    page.context.grant_permissions(["local-network-access"])  # Chromium takes a page that a test serves for public.
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url) if request.method in ("PUT", "POST") else None)
    uppy.upload(path)
    assert compared(demo, path) == mode
    assert any("X-Amz-Signature" in host for host in hosts) == (mode == "direct")
