"""Unmodified clients of all protocols: whole files, cut connections, killed servers, cancellation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, Route, expect

from tests.data import MIB, sha256
from tests.e2e.test_upload import eventually
from tests.faults.conftest import wait_in
from tests.faults.stack import ROOT, Stack
from tests.proxy import Wire

CLIENTS = Path(__file__).with_name("clients")
IN_PAGE = ["tus-js-client", "uppy-tus", "uppy-s3", "filepond", "upchunk", "uppy-adapter", "filepond-adapter"]
ALONE = ["tus-js-client-node", "tus-js-client-parallel", "tuspy", "curl"]
ABORTING = [*[name for name in IN_PAGE if name != "upchunk"], "tus-js-client-node", "curl"]
"""Clients that notify the server when they are stopped."""
SMALLEST = {"upchunk": 1, "mux-uploader": 1, "tus-js-client-parallel": 4}
"""Number of bytes below which a client fails by itself."""
SIZES = [0, 1, 10 * MIB, 64 * MIB + 7]
TUSPY = """
import sys
from tusclient.client import TusClient
endpoint, token, path = sys.argv[1:]
uploader = TusClient(endpoint, headers={"Authorization": f"Token {token}"}).uploader(
    path, metadata={"filename": path.rpartition("/")[2]}, retries=20, retry_delay=0.3
)
uploader.upload()
"""


pytestmark = pytest.mark.usefixtures("nothing_left")


class Client(Protocol):
    def upload(self, path: Path) -> None: ...

    def stop_after(self, path: Path, begun: threading.Event) -> None:
        """Start an upload, and stop it once ``begun`` is set."""


@pytest.fixture(scope="session")
def packages() -> Path:
    """Install the clients from npm, and keep them between runs."""
    directory = ROOT / "var" / "clients"
    if not (directory / "node_modules" / "@mux" / "mux-uploader").exists():
        if not shutil.which("npm"):
            pytest.skip("needs npm")
        shutil.copytree(CLIENTS, directory, dirs_exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=directory, check=True)
    for name in ("page.html", "tus.mjs"):
        shutil.copy(CLIENTS / name, directory)
    return directory


class InPage:
    """A client in the browser."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    def open(self, url: str, packages: Path) -> None:
        """Serve the page of the clients from the portal's origin."""

        def serve(route: Route) -> None:
            name = route.request.url.split("/clients/")[1]
            path = packages / (name or "page.html")
            route.fulfill(path=path, content_type="text/javascript" if name else "text/html")

        self.page.unroute_all()
        self.page.route("**/clients/**", serve)
        self.page.goto(f"{url}/clients/")

    def _start(self, path: Path) -> None:
        self.page.set_input_files("#input", path)
        self.page.evaluate("name => { window.run(name); }", self.name)

    def upload(self, path: Path) -> None:
        self._start(path)
        self.page.wait_for_function("window.result", timeout=90_000)
        assert "error" not in self.page.evaluate("window.result"), self.page.evaluate("window.result")

    def stop_after(self, path: Path, begun: threading.Event) -> None:
        self._start(path)
        wait_in(self.page, begun)
        self.page.evaluate("() => { window.stop(); }")


class Node:
    def __init__(self, url: str, token: str, packages: Path, parallel: int) -> None:
        self.command: list[Any] = ["node", packages / "tus.mjs", f"{url}/tus/", token]
        self.environment = os.environ | {"PARALLEL": str(parallel)}

    def upload(self, path: Path) -> None:
        subprocess.run([*self.command, path], check=True, timeout=90, env=self.environment)

    def stop_after(self, path: Path, begun: threading.Event) -> None:
        subprocess.run([*self.command, path, str(5 * MIB)], check=True, timeout=90, capture_output=True)


class Tuspy:
    def __init__(self, url: str, token: str) -> None:
        self.command = [sys.executable, "-c", TUSPY, f"{url}/tus/", token]

    def upload(self, path: Path) -> None:
        subprocess.run([*self.command, str(path)], check=True, timeout=90, capture_output=True)

    def stop_after(self, path: Path, begun: threading.Event) -> None:
        raise NotImplementedError


class Curl:
    """Resumable Uploads for HTTP with curl: create, query the offset, send the rest.

    The 104 response carries the location, so a cut upload can be resumed.
    """

    def __init__(self, url: str, token: str, find: Callable[[str], str]) -> None:
        self.url, self.find = f"{url}/tus/", find
        self.headers = ["-H", f"Authorization: Token {token}", "-H", "Upload-Draft-Interop-Version: 9"]

    def _curl(self, *arguments: str, data: bytes | None = None) -> tuple[int, dict[str, str]]:
        """Return the last status (0 if none) and the headers of all responses."""
        body = [] if data is None else ["-H", "Expect:", "--data-binary", "@-"]
        command = ["curl", "-s", "-m", "60", "-D", "-", "-o", "/dev/null", *self.headers, *arguments, *body]
        answer = subprocess.run(command, input=data, capture_output=True, timeout=90, check=False)
        lines = answer.stdout.decode().splitlines()
        statuses = [int(line.split()[1]) for line in lines if line.startswith("HTTP/")]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if value}
        return (statuses[-1] if statuses and not answer.returncode else 0), headers

    def _begin(self, path: Path) -> tuple[int, str]:
        name = ["-H", f'Content-Disposition: inline; filename="{path.name}"']
        complete = ["-H", "Upload-Complete: ?1", "-H", "Content-Type: application/octet-stream"]
        status, headers = self._curl("-X", "POST", *name, *complete, self.url, data=path.read_bytes())
        return status, headers["location"]

    def upload(self, path: Path) -> None:
        status, location = self._begin(path)
        while status != 201:
            _, headers = self._curl("--head", location)
            if "upload-offset" in headers:
                rest = path.read_bytes()[int(headers["upload-offset"]) :]
                payload = [f"Upload-Offset: {headers['upload-offset']}", "Upload-Complete: ?1"]
                payload.append("Content-Type: application/partial-upload")
                arguments = [text for header in payload for text in ("-H", header)]
                status, _ = self._curl("-X", "PATCH", *arguments, location, data=rest)

    def stop_after(self, path: Path, begun: threading.Event) -> None:
        process = threading.Thread(target=self._begin, args=(path,))
        process.start()
        begun.wait(30)
        self._curl("-X", "DELETE", f"{self.url}{self.find(path.name)}")
        process.join()


@pytest.fixture
def client(request: pytest.FixtureRequest, stack: Stack, line: Wire, packages: Path) -> Client:
    url, name = f"http://127.0.0.1:{line.port}", request.param
    if name in IN_PAGE or name == "mux-uploader":
        in_page = InPage(request.getfixturevalue("page"), name)
        in_page.open(url, packages)
        return in_page
    if name == "tuspy":
        return Tuspy(url, stack.token)
    if name == "curl":

        def find(title: str) -> str:
            sessions = f"[session.pk.hex for session in UploadSession.objects.filter(file_name={title!r})]"
            eventually(lambda: stack.ask(sessions))  # the relay may see bytes before the session exists
            return str(stack.ask(sessions)[0])

        return Curl(url, stack.token, find)
    return Node(url, stack.token, packages, 4 if name == "tus-js-client-parallel" else 1)


@pytest.fixture
def elsewhere(packages: Path) -> Iterator[str]:
    """Serve the page of the clients from another origin; yield its URL."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(packages))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("client", [*IN_PAGE, "mux-uploader", *ALONE], indirect=True)
def test_client_uploads_whole_files(
    request: pytest.FixtureRequest, client: Client, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    name = request.node.callspec.params["client"]
    for size in SIZES:
        if size < SMALLEST.get(name, 0):
            continue
        path = file(size)
        client.upload(path)
        assert content(path.name) == sha256([path.read_bytes()])


@pytest.mark.parametrize("fault", ["cut", "kill"])
@pytest.mark.parametrize("client", IN_PAGE + ALONE, indirect=True)
def test_client_resumes_after_fault(
    stack: Stack, line: Wire, client: Client, file: Callable[[int], Path], content: Callable[[str], str], fault: str
) -> None:
    """Cut the connection, or kill all workers, in the middle of the file."""
    path = file(24 * MIB)
    done = line.at(12 * MIB, (lambda: line.cut(0.2)) if fault == "cut" else stack.kill_workers)
    client.upload(path)
    assert done.is_set()
    assert content(path.name) == sha256([path.read_bytes()])


@pytest.mark.parametrize("fault", [False, True], ids=["whole", "cut"])
def test_upload_from_another_origin(
    stack: Stack,
    page: Page,
    line: Wire,
    elsewhere: str,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    *,
    fault: bool,
) -> None:
    client = InPage(page, "tus-js-client-elsewhere")
    query = urlencode({"token": stack.token, "endpoint": f"http://127.0.0.1:{line.port}/tus/"})
    page.unroute_all()
    page.goto(f"{elsewhere}/page.html?{query}")
    path = file(24 * MIB)
    if fault:
        line.at(12 * MIB, lambda: line.cut(0.2))
    client.upload(path)
    assert content(path.name) == sha256([path.read_bytes()])


@pytest.mark.parametrize("client", ABORTING, indirect=True)
def test_stopped_client_aborts_session(stack: Stack, line: Wire, client: Client, file: Callable[[int], Path]) -> None:
    path = file(64 * MIB)
    begun = line.at(6 * MIB, lambda: None, pause=0.5)
    client.stop_after(path, begun)
    eventually(lambda: stack.ask(f"UploadSession.objects.get(file_name={path.name!r}).state") == "aborted")
    assert stack.ask(f"File.objects.filter(title={path.name!r}).count()") == 0


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("protocol", ["tus", "s3", "own"])
def test_uppy_dashboard_uploads_file(
    page: Page, line: Wire, file: Callable[[int], Path], content: Callable[[str], str], protocol: str
) -> None:
    path = file(12 * MIB)
    page.unroute_all()
    page.goto(f"http://127.0.0.1:{line.port}/")
    page.get_by_role("link", name="dashboard").click()
    page.goto(f"{page.url}?protocol={protocol}")
    page.locator("#dashboard input[type=file]").first.set_input_files(path)
    page.get_by_role("button", name="Upload 1 file").click()
    expect(page.locator("#dashboard")).to_contain_text("Complete", timeout=60_000)
    assert content(path.name) == sha256([path.read_bytes()])
