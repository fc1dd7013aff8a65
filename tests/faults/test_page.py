"""The ``<upload-drop>`` element in a browser, against the real stack and its faults."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from tests.browser import sign_in
from tests.data import MIB, sha256, some_bytes
from tests.e2e.test_upload import eventually
from tests.faults.conftest import wait_in
from tests.faults.stack import Stack
from tests.proxy import Wire

pytestmark = pytest.mark.usefixtures("nothing_left")
SLOW = 60_000
"""Timeout in milliseconds."""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, line: Wire) -> Page:
    page = context.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}")
    page.on("dialog", lambda dialog: dialog.accept())
    return page


def drop(page: Page, *paths: Path) -> None:
    page.set_input_files("#upload #files", paths)


def row(page: Page, path: Path | str, state: str = "") -> Any:
    name = path if isinstance(path, str) else path.name
    return page.locator(f"#upload li{f'[data-state={state}]' if state else ''}", has_text=name)


def test_files_and_folder_are_uploaded(page: Page, stack: Stack, tmp_path: Path, content: Callable[[str], str]) -> None:
    """Upload all files, show each in the list, and recreate the folders."""
    files = {f"several {size}.bin": some_bytes(size, seed=size) for size in (0, 1, 11 * MIB)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    drop(page, *(tmp_path / name for name in files))
    for name in files:
        expect(row(page, name, "completed")).to_be_visible(timeout=SLOW)
        assert content(name) == sha256([files[name]])
    expect(page.locator("#upload #summary")).to_have_text("3 uploaded")
    expect(page.locator("#listing a", has_text="several 0.bin")).to_be_visible()

    inner = tmp_path / "holiday" / "day one"
    inner.mkdir(parents=True)
    for number in range(40):
        (inner / f"photo {number}.txt").write_text(str(number))
    page.set_input_files("#upload #tree", tmp_path / "holiday")
    expect(page.locator("#upload #summary")).to_have_text("43 uploaded", timeout=SLOW)
    assert stack.ask("File.objects.filter(folder__title='day one', folder__parent__title='holiday').count()") == 40


@pytest.mark.parametrize("fault", ["cut", "kill"])
def test_upload_resumes_automatically(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], content: Callable[[str], str], fault: str
) -> None:
    """Cut the connection, or kill all workers, halfway through the file."""
    path = file(24 * MIB)
    done = line.at(12 * MIB, (lambda: line.cut(0.2)) if fault == "cut" else stack.kill_workers)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert done.is_set()
    assert content(path.name) == sha256([path.read_bytes()])


def test_upload_resumes_after_offline_period(
    page: Page, context: BrowserContext, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    """Resume automatically when the network is back.

    The page does not retry while it is offline, so no attempts are used up.
    """
    path = file(24 * MIB)
    began = line.at(6 * MIB, lambda: None, pause=0.3)
    drop(page, path)
    wait_in(page, began)
    context.set_offline(True)
    line.cut(0.1)
    expect(row(page, path, "offline")).to_contain_text("Waiting for the network", timeout=SLOW)
    context.set_offline(False)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])


def begun(page: Page, stack: Stack, line: Wire, path: Path, at: int = 12 * MIB) -> None:
    """Begin an upload and pause it in the middle."""
    reached = line.at(at, lambda: None, pause=0.5)
    drop(page, path)
    wait_in(page, reached)
    row(page, path).get_by_role("button", name="Pause").click()
    expect(row(page, path, "paused")).to_be_visible()
    stored = f"[s.bytes_stored for s in UploadSession.objects.open().filter(file_name={path.name!r}, lease_until=None)]"
    eventually(lambda: sum(stack.ask(stored)) > 0)


def begun_in_parallel(page: Page, line: Wire, path: Path, side_by_side: Callable[[Path], None]) -> None:
    """Begin a parallel upload of a large file and pause it.

    The file must exceed the system's send buffers; otherwise nothing is left to pause.
    """
    seen = threading.Event()
    reached = line.at(28 * MIB, lambda: seen.wait(60))
    side_by_side(path)
    wait_in(page, reached)
    page.get_by_role("button", name="Pause").click()
    seen.set()
    expect(row(page, path, "paused")).to_be_visible()


def test_paused_upload_resumes(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    path = file(32 * MIB)
    begun(page, stack, line, path)
    row(page, path).get_by_role("button", name="Resume").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["reloaded", "in-another-browser"])
def test_upload_resumes_after_page_was_closed(
    page: Page,
    stack: Stack,
    browser: Browser,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    *,
    elsewhere: bool,
) -> None:
    """List unfinished uploads, and resume one when its file is chosen again."""
    path = file(32 * MIB)
    begun(page, stack, line, path)
    if elsewhere:
        page = browser.new_context().new_page()
        sign_in(page, f"http://127.0.0.1:{line.port}")
    else:
        page.reload()
    expect(row(page, path, "open")).to_contain_text("Choose the file again to resume")
    passed = line.at(32 * MIB, lambda: None)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert not passed.is_set(), "all of it was sent again"
    assert stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}).count()") == 1
    assert content(path.name) == sha256([path.read_bytes()])
    page.close()


def test_changed_file_is_sent_again(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    path = file(32 * MIB)
    begun(page, stack, line, path)
    page.reload()
    expect(row(page, path, "open")).to_be_visible()
    path.write_bytes(some_bytes(32 * MIB, seed=9))
    drop(page, path)
    done = row(page, path, "completed")
    expect(done).to_contain_text("has changed", timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])
    row(page, path, "open").get_by_role("button", name="Cancel").click()
    eventually(
        lambda: stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}, state='aborted').count()") == 1
    )


@pytest.mark.parametrize("parallel", [False, True], ids=["in-order", "parallel"])
def test_resume_compares_stored_bytes(
    page: Page,
    stack: Stack,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    side_by_side: Callable[[Path], None],
    *,
    parallel: bool,
) -> None:
    """Detect a change that keeps the size, the time and the first MiB.

    Databases and containers of encrypted disks change in this way.
    """
    path = file(160 * MIB if parallel else 32 * MIB)
    if parallel:
        begun_in_parallel(page, line, path, side_by_side)
    else:
        begun(page, stack, line, path)
    page.reload()
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[2 * MIB : 3 * MIB] = bytes(MIB)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    if parallel:
        side_by_side(path)
    else:
        drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([bytes(data)])
    # Expire the session of the original file: other tests inspect all open sessions.
    old = f"UploadSession.objects.open().filter(file_name={path.name!r})"
    assert stack.ask(f"[sessions.expire_now(session).state for session in {old}]") == ["expired"]


def test_drop_without_folders_refuses_folders(page: Page, stack: Stack) -> None:
    """Refuse folders: without paths, files of the same name would become versions of one file."""
    page.evaluate("""async () => {
        const drop = document.getElementById("upload");
        await customElements.whenDefined("upload-drop");
        drop.removeAttribute("folders");
        const file = (name) => ({ isFile: true, name, file: (done) => done(new File(["x"], name)) });
        let read = 0;
        const folder = { isFile: false, name: "site", createReader: () => ({
            readEntries: (done) => done(read++ ? [] : [file("index.html"), file("about.html")]) }) };
        const items = [folder, file("beside.txt")].map((entry) => ({ webkitGetAsEntry: () => entry }));
        await drop.dropFrom({ items, files: [] });
    }""")
    expect(row(page, "site", "failed")).to_contain_text("Folders are not accepted")
    expect(row(page, "beside.txt", "completed")).to_be_visible(timeout=SLOW)
    assert stack.ask("File.objects.filter(title__in=['index.html', 'about.html']).count()") == 0


@pytest.mark.parametrize("begun_below", [False, True])
def test_file_goes_into_current_folder(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], *, begun_below: bool
) -> None:
    """Do not resume an upload of the same file in a parent or child folder."""
    path = file(31 * MIB)
    top, title = page.url, f"for {path.name}"
    if not begun_below:
        begun(page, stack, line, path)
    page.get_by_role("button", name="New folder").click()
    page.locator("#new-folder [name=title]").fill(title)
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name=title).click()
    expect(page.locator("h1")).to_have_text(title)
    if begun_below:
        begun(page, stack, line, path)
        page.goto(top)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert (stack.ask(f"File.objects.get(title={path.name!r}).folder.title") == title) != begun_below
    assert stack.ask(f"UploadSession.objects.open().filter(file_name={path.name!r}).count()") == 1


def test_refused_file_can_be_sent_again(page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    """Show the reason of the refusal, even if the first response was lost."""
    path = file(25 * MIB)
    begun(page, stack, line, path)
    failed = f"state='failed', bytes_stored={25 * MIB}, check_result='refused', failure='It is bad.'"
    stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}).update({failed})")
    row(page, path).get_by_role("button", name="Resume").click()
    expect(row(page, path, "failed")).to_contain_text("It is bad.")
    row(page, path).get_by_role("button", name="Try again").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)


def test_cancel_leaves_upload_of_other_page(
    page: Page, context: BrowserContext, stack: Stack, line: Wire, file: Callable[[int], Path]
) -> None:
    path = file(49 * MIB)
    other = context.new_page()
    other.goto(page.url)
    reached = line.at(6 * MIB, lambda: None, pause=0.5)
    drop(page, path)
    wait_in(page, reached)
    drop(other, path)
    expect(row(other, path)).to_contain_text("another page")
    row(other, path).get_by_role("button", name="Cancel").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=2 * SLOW)
    assert stack.ask(f"[s.state for s in UploadSession.objects.filter(file_name={path.name!r})]") == ["completed"]


def test_session_works_without_queue(page: Page, content: Callable[[str], str]) -> None:
    script = """async () => {
        const { UploadSession } = await import("/static/uploads/upload.js");
        const session = new UploadSession(new File(["abc"], "alone.txt"), { endpoint: "/tus/" });
        const over = new Promise((resolve) => {
            session.addEventListener("state", () => session.state === "completed" && resolve());
        });
        session.start();
        session.pause();
        session.resume();
        await over;
        return session.result.file.size;
    }"""
    assert page.evaluate(script) == 3
    assert content("alone.txt") == sha256([b"abc"])


def test_cancel_before_session_exists(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """Abort the session even if the server creates it during the cancellation."""
    path = file(16)

    def slowly(route: Route) -> None:
        if route.request.method == "POST":
            row(page, path).get_by_role("button", name="Cancel").click()
        route.continue_()

    page.route("**/tus/", slowly)
    drop(page, path)
    expect(row(page, path)).to_have_count(0)
    states = f"[s.state for s in UploadSession.objects.filter(file_name={path.name!r})]"

    def ended() -> bool:
        page.wait_for_timeout(20)  # The route handler runs only while the page waits.
        return bool(stack.ask(states) == ["aborted"])

    eventually(ended)


def test_two_tabs_store_same_file_once(
    page: Page,
    context: BrowserContext,
    stack: Stack,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
) -> None:
    """Store the file once: the second page joins the first upload, and both succeed."""
    path = file(48 * MIB)
    other = context.new_page()
    other.goto(page.url)
    reached = line.at(6 * MIB, lambda: None, pause=0.5)
    drop(page, path)
    wait_in(page, reached)
    drop(other, path)
    for shown in (page, other):
        expect(row(shown, path, "completed")).to_be_visible(timeout=2 * SLOW)
    assert stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}).count()") == 1
    assert content(path.name) == sha256([path.read_bytes()])


def test_cancel_aborts_session(page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    path = file(64 * MIB)
    begun(page, stack, line, path, at=6 * MIB)
    row(page, path).get_by_role("button", name="Cancel").click()
    expect(row(page, path)).to_have_count(0)
    eventually(lambda: stack.ask(f"UploadSession.objects.get(file_name={path.name!r}).state") == "aborted")


def test_upload_resumes_after_new_sign_in(
    page: Page, context: BrowserContext, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    """Resume once the user has signed in again in another tab."""
    path = file(32 * MIB)
    reached = line.at(9 * MIB, lambda: None, pause=0.5)
    drop(page, path)
    wait_in(page, reached)
    context.clear_cookies()
    expect(row(page, path, "failed")).to_contain_text("You are no longer signed in", timeout=SLOW)
    other = context.new_page()
    sign_in(other, f"http://127.0.0.1:{line.port}")
    row(page, path).get_by_role("button", name="Try again").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])


@pytest.fixture
def side_by_side(page: Page) -> Callable[[Path], None]:
    """Return a function that chooses a file in an element with parallel parts."""

    def choose(path: Path) -> None:
        page.goto(address(page, "/"))
        page.evaluate("""() => {
            const drop = document.getElementById("upload");
            const html = drop.outerHTML.replace("<upload-drop", '<upload-drop parallel="3" parts="uppy/"');
            drop.insertAdjacentHTML("afterend", html);
            drop.remove();
        }""")
        drop(page, path)

    return choose


@pytest.mark.parametrize("fault", ["none", "cut", "kill"])
def test_parallel_parts_use_three_connections(
    page: Page,
    stack: Stack,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    side_by_side: Callable[[Path], None],
    fault: str,
) -> None:
    """Send three parts at a time; after a fault, send only the missing parts."""
    path = file(48 * MIB + 3)
    faults = {"none": lambda: None, "cut": lambda: line.cut(0.2), "kill": stack.kill_workers}
    begun = line.at(20 * MIB, faults[fault])
    sent: list[str] = []
    under_way: set[Request] = set()
    most = [0]

    def note(request: Request) -> None:
        if request.method == "PUT":
            sent.append(request.url.rpartition("/")[2])
            under_way.add(request)
            most.append(len(under_way))

    page.on("request", note)
    page.on("requestfinished", lambda request: under_way.discard(request))
    page.on("requestfailed", lambda request: under_way.discard(request))
    side_by_side(path)
    wait_in(page, begun)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert max(most) == 3
    assert content(path.name) == sha256([path.read_bytes()])
    assert set(sent) == {str(number) for number in range(1, 8)}
    assert len(sent) <= 7 + (0 if fault == "none" else 6)
    (mode,) = stack.ask(f"[s.mode for s in UploadSession.objects.filter(file_name={path.name!r})]")
    assert mode == "numbered"


def test_parallel_parts_resume_after_reload(
    page: Page,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    side_by_side: Callable[[Path], None],
) -> None:
    path = file(160 * MIB)
    begun_in_parallel(page, line, path, side_by_side)
    passed = line.at(156 * MIB, lambda: None)
    side_by_side(path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])
    assert not passed.is_set(), "all of it was sent again"


def test_parallel_parts_are_canceled(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], side_by_side: Callable[[Path], None]
) -> None:
    path = file(160 * MIB)
    begun = line.at(10 * MIB, lambda: None, pause=0.5)
    side_by_side(path)
    wait_in(page, begun)
    page.get_by_role("button", name="Cancel").click()
    eventually(lambda: stack.ask(f"UploadSession.objects.get(file_name={path.name!r}).state") == "aborted")


def test_hundreds_of_files_are_uploaded(page: Page, stack: Stack, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(500):
        (many / f"{number:04}.txt").write_text(str(number))
    page.set_input_files("#upload #tree", many)
    expect(page.locator("#upload #summary")).to_have_text("500 uploaded", timeout=5 * SLOW)
    assert stack.ask("File.objects.filter(folder__title='many').count()") == 500


def test_upload_list_is_accessible(page: Page, file: Callable[[int], Path]) -> None:
    """Find no axe violations in a list with rows, in light and dark mode."""
    path = file(10)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    page.keyboard.press("Tab")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert findings(page) == []
    bar = page.get_by_role("progressbar", name=path.name)
    assert bar.get_attribute("aria-valuenow") == "100"
    assert page.locator("#upload #summary").get_attribute("role") == "status"


# Forms


def choose(page: Page, name: str, *paths: Path) -> Any:
    """Choose files in a field, wait until they are stored, and return the field."""
    field = page.locator(f"upload-drop[name={name}]")
    field.locator("#files").set_input_files(paths)
    for path in paths:
        done = field.locator("li[data-state=completed]", has_text=path.name)
        expect(done).to_be_visible(timeout=SLOW)
    return field


def address(page: Page, path: str) -> str:
    return "/".join(page.url.split("/")[:3]) + path


def test_form_keeps_and_replaces_large_file(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """Submit a small body, keep the file of an invalid form, replace earlier choices."""
    path, wrong = file(24 * MIB), file(10)
    page.goto(address(page, "/documents/"))
    choose(page, "file", wrong)
    field = choose(page, "file", path)
    expect(field.locator("li")).to_have_count(1)
    choose(page, "attachments", wrong)
    page.locator("[name=title]").evaluate("input => input.required = false")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".errorlist")).to_have_text("Enter a title.")
    expect(page.locator("upload-drop[name=file] li", has_text=path.name)).to_contain_text("Uploaded")
    page.fill("[name=title]", path.name)
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/documents/")) as post:
        page.get_by_role("button", name="Save").click()
    expect(page.locator(".message")).to_contain_text("saved")
    body = post.value.post_data_buffer
    assert body is not None
    assert len(body) < 3000
    assert path.name.encode() in body
    size = f"[d.file.size for d in Document.objects.filter(title={path.name!r})]"
    assert stack.ask(size) == [24 * MIB]
    assert stack.ask(f"Attachment.objects.filter(document__title={path.name!r}).count()") == 1
    eventually(lambda: stack.ask(f"PendingFile.objects.filter(session__file_name={path.name!r}).count()") == 0)


def test_form_waits_for_running_upload(page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    path = file(24 * MIB)
    page.goto(address(page, "/documents/"))
    page.fill("[name=title]", path.name)
    seen = threading.Event()
    line.at(5 * MIB, lambda: seen.wait(60))
    page.locator("upload-drop[name=file] #files").set_input_files(path)
    page.get_by_role("button", name="Save").click()
    summary = page.locator("upload-drop[name=file] #summary")
    expect(summary).to_contain_text("when all uploads are complete")
    expect(page.locator("upload-drop[name=file] li[data-state=sending]")).to_be_visible()
    expect(summary).to_contain_text("when all uploads are complete")
    seen.set()
    expect(page.locator(".message")).to_contain_text("saved", timeout=SLOW)
    assert stack.ask(f"Document.objects.filter(title={path.name!r}).count()") == 1


def test_form_waits_for_paused_upload(page: Page, line: Wire, file: Callable[[int], Path]) -> None:
    """Do not submit the form without the file that the user has chosen."""
    path = file(24 * MIB)
    page.goto(address(page, "/documents/"))
    page.fill("[name=title]", path.name)
    seen = threading.Event()
    line.at(5 * MIB, lambda: seen.wait(60))
    field = page.locator("upload-drop[name=file]")
    field.locator("#files").set_input_files(path)
    page.get_by_role("button", name="Save").click()
    field.get_by_role("button", name="Pause").click()
    seen.set()
    expect(field.locator("li[data-state=paused]")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".message")).to_have_count(0)
    expect(field.locator("#summary")).to_contain_text("The form is not submitted")
    expect(field.get_by_role("button", name="Resume")).to_be_focused()
    field.get_by_role("button", name="Resume").click()
    expect(page.locator(".message")).to_contain_text("saved", timeout=SLOW)


def test_file_removed_from_form_is_gone(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    path = file(20)
    page.goto(address(page, "/documents/"))
    field = choose(page, "file", path)
    field.get_by_role("button", name="Remove").click()
    expect(field.locator("li")).to_have_count(0)
    expect(field.locator("input[type=hidden]")).to_have_count(0)
    eventually(lambda: stack.ask(f"PendingFile.objects.filter(session__file_name={path.name!r}).count()") == 0)


def test_form_works_without_javascript(browser: Browser, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}")
    path = file(30)
    page.goto(address(page, "/documents/"))
    page.fill("[name=title]", path.name)
    page.set_input_files("input[name=file]", path)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".message")).to_contain_text("saved")
    assert stack.ask(f"[d.file.size for d in Document.objects.filter(title={path.name!r})]") == [30]
    context.close()


@pytest.fixture
def boss(browser: Browser, stack: Stack, line: Wire) -> Iterator[Page]:
    """Yield a page signed in as admin."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}", "admin")
    yield page
    context.close()


def test_admin_form_and_inlines_upload_files(boss: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """Make fields work in added rows, each with its own name."""
    path = file(6 * MIB)
    boss.goto(address(boss, "/admin/portal/document/add/"))
    boss.fill("[name=title]", path.name)
    boss.select_option("[name=owner]", label="admin")
    choose(boss, "file", path)
    boss.locator(".add-row a").first.click()
    choose(boss, "attachments-0-file", file(11))
    choose(boss, "attachments-2-0-file", file(12))
    boss.locator(".add-row a").last.click()
    choose(boss, "attachments-2-1-file", file(13))
    boss.get_by_role("button", name="Save", exact=True).click()
    expect(boss.locator(".messagelist .success")).to_be_visible()
    sizes = stack.ask(f"[a.file.size for a in Attachment.objects.filter(document__title={path.name!r})]")
    assert sorted(sizes) == [11, 12, 13]
    pk, name = stack.ask(f"[(d.pk, d.file.name) for d in Document.objects.filter(title={path.name!r})]")[0]
    boss.goto(address(boss, f"/admin/portal/document/{pk}/change/"))
    boss.check("[name=file-clear]")
    boss.get_by_role("button", name="Save", exact=True).click()
    expect(boss.locator(".messagelist .success")).to_be_visible()
    assert stack.ask(f"Document.objects.get(pk={pk}).file.name") == ""
    # Django leaves the file of a cleared FileField to the portal; other tests inspect the whole store.
    stack.ask(f"Document.file.field.storage.delete({name!r})")


def test_form_works_in_admin_popup(boss: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    path = file(14)
    boss.goto(address(boss, "/admin/portal/document/add/?_popup=1"))
    boss.fill("[name=title]", path.name)
    boss.select_option("[name=owner]", label="admin")
    choose(boss, "file", path)
    boss.get_by_role("button", name="Save", exact=True).click()
    eventually(lambda: stack.ask(f"[d.file.size for d in Document.objects.filter(title={path.name!r})]") == [14])


def test_element_inserted_later_works(page: Page, file: Callable[[int], Path]) -> None:
    """Work after insertion, as by htmx, even if scripts cannot read the CSRF cookie."""
    page.goto(address(page, "/documents/"))
    page.evaluate("""() => {
        const form = document.querySelector("form.fields");
        const html = form.outerHTML;
        form.remove();
        document.querySelector("h1").insertAdjacentHTML("afterend", html);
    }""")
    choose(page, "file", file(15))


# The operator's page


def test_operator_page_is_live(boss: Page, page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    """Update progress and state without a reload, and ask for confirmation of actions.

    The list and the page of one upload both do so.
    """
    path = file(48 * MIB)
    begun(page, stack, line, path)
    boss.goto(address(boss, "/admin/upload_sessions/uploadsession/"))
    assert boss.evaluate("document.documentElement.scrollWidth") <= 1280
    shown = boss.locator("#result_list tr", has_text=path.name)
    expect(shown.locator(".upload-state")).to_have_text("open")
    before = shown.locator(".upload-progress").inner_text()
    row(page, path).get_by_role("button", name="Resume").click()
    expect(shown.locator(".upload-state")).to_have_text("completed", timeout=SLOW)
    assert shown.locator(".upload-progress").inner_text() != before
    for scheme in ("light", "dark"):
        boss.emulate_media(color_scheme=scheme)
        # The admin's links change their color slowly.
        boss.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
        assert findings(boss, ".upload-numbers") == []

    other = file(47 * MIB)
    begun(page, stack, line, other)
    boss.reload()
    boss.locator("#result_list a", has_text=other.name).click()
    expect(boss.locator(".upload-now .upload-state")).to_have_text("open")
    assert findings(boss, ".upload-now") == []
    boss.get_by_role("button", name="Abort").click()
    expect(boss.locator(".upload-confirm")).to_contain_text(other.name)
    boss.get_by_role("button", name="Abort").click()
    expect(boss.locator(".messagelist")).to_contain_text("1 upload session was changed")
    assert stack.ask(f"UploadSession.objects.get(file_name={other.name!r}).state") == "aborted"
    row(page, other).get_by_role("button", name="Resume").click()
    expect(row(page, other, "completed")).to_be_visible(timeout=SLOW)  # in a new session


@pytest.mark.parametrize("path", ["/login/", "/documents/", "/nowhere"])
def test_pages_have_no_axe_violations(page: Page, path: str) -> None:
    if path == "/login/":
        page.context.clear_cookies()
    page.goto(address(page, path))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert findings(page) == []


def findings(page: Page, part: str = "") -> list[Any]:
    found = Axe().run(page, part or None).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
