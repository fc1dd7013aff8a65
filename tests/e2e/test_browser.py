"""The portal's upload form and the older web client's uploader in a real browser.

The uploader is unmodified and comes from npm.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser import needs_browser, sign_in
from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import ROOT, Demo

PACKAGES = {"jquery@3.7.1": "dist/jquery.js", "blueimp-file-upload@10.32.0": "js"}

pytestmark = needs_browser

# The older web client posts create_session synchronously as a form, then sends chunks in order.
PAGE = """
<input type="file" id="input">
<script src="jquery.js"></script>
<script src="vendor/jquery.ui.widget.js"></script>
<script src="jquery.fileupload.js"></script>
<script>
  window.chunks = 0;
  $("#input").fileupload({
    dataType: "json", maxChunkSize: 10485760, sequentialUploads: true, singleFileUploads: true, paramName: "files[]",
    add: function (e, data) {
      var file = data.files[0];
      var created = $.ajax({
        type: "POST", async: false, dataType: "json", url: "/api/2.0/files/1/upload/create_session.json",
        data: { fileName: file.name, fileSize: file.size, relativePath: "" }
      }).responseJSON.response;
      if (!created.success) { window.result = created; return; }
      data.url = created.data.location;
      window.request = data.submit();
    },
    chunkdone: function (e, data) { window.chunks += 1; if (data.result.data.uploaded) window.result = data.result; },
    done: function (e, data) { window.result = data.result; },
    fail: function (e, data) {
      $.post(data.url + "&abort=true").always(function (answer) { window.result = answer; });
    }
  });
</script>
"""


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    """Yield a page signed in as demo."""
    page = browser.new_page()
    sign_in(page, demo.url)
    yield page
    page.close()


@pytest.fixture(scope="session")
def blueimp() -> Path:
    """Install the older client's scripts from npm, and keep them between runs."""
    directory = ROOT / "var" / "npm"
    if not (directory / "jquery.fileupload.js").exists():
        if not shutil.which("npm"):
            pytest.skip("needs npm")
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", *PACKAGES], cwd=directory, check=True, capture_output=True)
        for archive in directory.glob("*.tgz"):
            with tarfile.open(archive) as tar:
                tar.extractall(directory / "packages" / archive.stem, filter="data")
        for script in directory.glob("packages/*/package/*/**/*.js"):
            if script.name in ("jquery.js", "jquery.fileupload.js", "jquery.ui.widget.js"):
                target = directory / ("vendor" if "widget" in script.name else "") / script.name
                target.parent.mkdir(exist_ok=True)
                shutil.copy(script, target)
    return directory


@pytest.fixture
def older_client(page: Page, demo: Demo, blueimp: Path) -> Page:
    """Serve the older client's page from the portal's origin."""

    def serve(route: Route) -> None:
        name = route.request.url.split("/older/")[1]
        if name:
            route.fulfill(path=blueimp / name, content_type="text/javascript")
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    page.route("**/older/**", serve)
    page.goto(f"{demo.url}/older/")
    return page


def result_of(page: Page) -> Any:
    page.wait_for_function("window.result", timeout=60_000)
    return page.evaluate("window.result")


@pytest.mark.parametrize(("size", "chunks"), [(25 * MIB + 3, 3), (1000, 0)])
def test_older_client_uploads_file(older_client: Page, demo: Demo, tmp_path: Path, size: int, chunks: int) -> None:
    data = some_bytes(size)
    (tmp_path / f"older {size}.pdf").write_bytes(data)
    older_client.set_input_files("#input", tmp_path / f"older {size}.pdf")
    result = result_of(older_client)
    assert (result["success"], result["data"]["uploaded"], result["data"]["title"]) == (True, True, f"older {size}.pdf")
    assert older_client.evaluate("window.chunks") == chunks
    assert sha256([demo.http().get(result["data"]["file"]["viewUrl"]).content]) == sha256([data])


def test_older_client_cancels(older_client: Page, tmp_path: Path) -> None:
    (tmp_path / "cancelled.pdf").write_bytes(bytes(60 * MIB))
    older_client.set_input_files("#input", tmp_path / "cancelled.pdf")
    older_client.wait_for_function("window.chunks > 0")
    older_client.evaluate("void window.request.abort()")
    assert result_of(older_client) == {"success": True, "data": None, "message": ""}


def test_upload_form_uploads_files(page: Page, tmp_path: Path) -> None:
    for name, size in [("first one.bin", 21 * MIB), ("second.txt", 0)]:
        (tmp_path / name).write_bytes(bytes(size))
    page.set_input_files("#upload #files", [tmp_path / "first one.bin", tmp_path / "second.txt"])
    page.wait_for_selector("td a:text('first one.bin')", timeout=60_000)
    page.wait_for_selector("td a:text('second.txt')")


def test_upload_form_shows_failure_reason(page: Page, tmp_path: Path) -> None:
    refusal = {"title": "The folder is closed.", "code": "not_accepted", "status": 403}
    page.route(
        "**/tus/",
        lambda route: route.fulfill(status=403, body=json.dumps(refusal), content_type="application/problem+json"),
    )
    (tmp_path / "refused.txt").write_text("x")
    page.set_input_files("#upload #files", tmp_path / "refused.txt")
    page.wait_for_selector("#upload li[data-state=failed] >> text=The folder is closed.")


def test_api_docs_work_offline(page: Page, demo: Demo) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{demo.url}/api/docs")
    page.wait_for_selector("text=create_session")
    assert [url for url in asked if not url.startswith((demo.url, "data:"))] == []
