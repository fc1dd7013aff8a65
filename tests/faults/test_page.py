"""People in a browser: ``<upload-drop>`` on the portal's page, against the real stack and its faults."""

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
"""Milliseconds."""


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


def test_several_files_and_a_folder(page: Page, stack: Stack, tmp_path: Path, content: Callable[[str], str]) -> None:
    """All arrive; the list says so; files of folders lie in folders."""
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
def test_it_goes_on_by_itself(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], content: Callable[[str], str], fault: str
) -> None:
    """The line ends, or all workers die, in the middle."""
    path = file(24 * MIB)
    done = line.at(12 * MIB, (lambda: line.cut(0.2)) if fault == "cut" else stack.kill_workers)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert done.is_set()
    assert content(path.name) == sha256([path.read_bytes()])


def test_offline_for_a_while(
    page: Page, context: BrowserContext, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    """Nothing is tried while there is no network, so no patience is used up; it goes on by itself."""
    path = file(24 * MIB)
    began = line.at(6 * MIB, lambda: None, pause=0.3)
    drop(page, path)
    wait_in(page, began)
    context.set_offline(True)
    line.cut(0.1)
    expect(row(page, path, "offline")).to_contain_text("waiting for the network", timeout=SLOW)
    context.set_offline(False)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])


def begun(page: Page, stack: Stack, line: Wire, path: Path, at: int = 12 * MIB) -> None:
    """Begin to upload, and stop somewhere in the middle."""
    reached = line.at(at, lambda: None, pause=0.5)
    drop(page, path)
    wait_in(page, reached)
    row(page, path).get_by_role("button", name="Pause").click()
    expect(row(page, path, "paused")).to_be_visible()
    stored = f"[s.bytes_stored for s in UploadSession.objects.open().filter(file_name={path.name!r}, lease_until=None)]"
    eventually(lambda: sum(stack.ask(stored)) > 0)


def begun_in_parallel(page: Page, line: Wire, path: Path, side_by_side: Callable[[Path], None]) -> None:
    """The same for a large file in parallel: nothing is paused any more once the system has taken all of it."""
    seen = threading.Event()
    reached = line.at(28 * MIB, lambda: seen.wait(60))
    side_by_side(path)
    wait_in(page, reached)
    page.get_by_role("button", name="Pause").click()
    seen.set()
    expect(row(page, path, "paused")).to_be_visible()


def test_pause_and_resume(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    path = file(32 * MIB)
    begun(page, stack, line, path)
    row(page, path).get_by_role("button", name="Resume").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert content(path.name) == sha256([path.read_bytes()])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["reloaded", "in-another-browser"])
def test_a_page_that_was_closed(
    page: Page,
    stack: Stack,
    browser: Browser,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    *,
    elsewhere: bool,
) -> None:
    """The page tells what is unfinished; the file, chosen again, goes on where it was."""
    path = file(32 * MIB)
    begun(page, stack, line, path)
    if elsewhere:
        page = browser.new_context().new_page()
        sign_in(page, f"http://127.0.0.1:{line.port}")
    else:
        page.reload()
    expect(row(page, path, "open")).to_contain_text("Choose the file again to go on")
    passed = line.at(32 * MIB, lambda: None)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert not passed.is_set(), "all of it was sent again"
    assert stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}).count()") == 1
    assert content(path.name) == sha256([path.read_bytes()])
    page.close()


def test_a_file_that_has_changed_is_sent_anew(
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
    """Containers of encrypted disks and databases change without another size, time or first MiB."""
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
    # That of the file before: other tests look at all that is open.
    old = f"UploadSession.objects.open().filter(file_name={path.name!r})"
    assert stack.ask(f"[sessions.expire_now(session).state for session in {old}]") == ["expired"]


def test_drop_without_folders_refuses_folders(page: Page, stack: Stack) -> None:
    """Without their paths, files of one name would become versions of one file."""
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
    expect(row(page, "site", "failed")).to_contain_text("Folders are not accepted here")
    expect(row(page, "beside.txt", "completed")).to_be_visible(timeout=SLOW)
    assert stack.ask("File.objects.filter(title__in=['index.html', 'about.html']).count()") == 0


@pytest.mark.parametrize("begun_below", [False, True])
def test_a_file_goes_where_it_is_dropped(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], *, begun_below: bool
) -> None:
    """The upload of the same file that is unfinished in another folder is left alone, also in one below."""
    path = file(31 * MIB)
    top, title = page.url, f"for {path.name}"
    if not begun_below:
        begun(page, stack, line, path)
    page.locator("summary", has_text="New folder").click()
    page.locator(".tools [name=title]").fill(title)
    page.get_by_role("button", name="Make").click()
    page.get_by_role("link", name=title).click()
    expect(page.locator("h1")).to_have_text(title)
    if begun_below:
        begun(page, stack, line, path)
        page.goto(top)
    drop(page, path)
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)
    assert (stack.ask(f"File.objects.get(title={path.name!r}).folder.title") == title) != begun_below
    assert stack.ask(f"UploadSession.objects.open().filter(file_name={path.name!r}).count()") == 1


def test_a_file_that_was_refused_at_the_end_can_be_sent_once_more(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]
) -> None:
    """Its row says why, also if nobody heard the first answer."""
    path = file(25 * MIB)
    begun(page, stack, line, path)
    failed = f"state='failed', bytes_stored={25 * MIB}, check_result='refused', failure='It is bad.'"
    stack.ask(f"UploadSession.objects.filter(file_name={path.name!r}).update({failed})")
    row(page, path).get_by_role("button", name="Resume").click()
    expect(row(page, path, "failed")).to_contain_text("It is bad.")
    row(page, path).get_by_role("button", name="Try again").click()
    expect(row(page, path, "completed")).to_be_visible(timeout=SLOW)


def test_cancelling_here_ends_nothing_that_is_sent_elsewhere(
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


def test_a_session_without_a_queue(page: Page, content: Callable[[str], str]) -> None:
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


def test_cancelled_before_it_has_begun(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """The server may have opened the session just then: it is ended all the same."""
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
        page.wait_for_timeout(20)  # Only then the route goes on.
        return bool(stack.ask(states) == ["aborted"])

    eventually(ended)


def test_the_same_file_in_two_tabs(
    page: Page,
    context: BrowserContext,
    stack: Stack,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
) -> None:
    """It arrives once: the second page finds the upload of the first, and both end well."""
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


def test_cancel(page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    path = file(64 * MIB)
    begun(page, stack, line, path, at=6 * MIB)
    row(page, path).get_by_role("button", name="Cancel").click()
    expect(row(page, path)).to_have_count(0)
    eventually(lambda: stack.ask(f"UploadSession.objects.get(file_name={path.name!r}).state") == "aborted")


def test_a_token_that_ran_out(
    page: Page, context: BrowserContext, line: Wire, file: Callable[[int], Path], content: Callable[[str], str]
) -> None:
    """The upload waits for its owner to sign in again, in another tab, and goes on."""
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
    """Choose a file in an element that sends several parts of one at a time."""

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
def test_parts_side_by_side(
    page: Page,
    stack: Stack,
    line: Wire,
    file: Callable[[int], Path],
    content: Callable[[str], str],
    side_by_side: Callable[[Path], None],
    fault: str,
) -> None:
    """Each has a connection of its own; after a fault only those that are missing are sent."""
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


def test_parts_side_by_side_go_on_after_a_reload(
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


def test_parts_side_by_side_are_cancelled(
    page: Page, stack: Stack, line: Wire, file: Callable[[int], Path], side_by_side: Callable[[Path], None]
) -> None:
    path = file(160 * MIB)
    begun = line.at(10 * MIB, lambda: None, pause=0.5)
    side_by_side(path)
    wait_in(page, begun)
    page.get_by_role("button", name="Cancel").click()
    eventually(lambda: stack.ask(f"UploadSession.objects.get(file_name={path.name!r}).state") == "aborted")


def test_hundreds_of_files(page: Page, stack: Stack, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(500):
        (many / f"{number:04}.txt").write_text(str(number))
    page.set_input_files("#upload #tree", many)
    expect(page.locator("#upload #summary")).to_have_text("500 uploaded", timeout=5 * SLOW)
    assert stack.ask("File.objects.filter(folder__title='many').count()") == 500


def test_keyboard_and_screen_reader(page: Page, file: Callable[[int], Path]) -> None:
    """Everything is reached by the keyboard and named; axe finds nothing, with rows in the list, light and dark."""
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


def test_a_form_with_a_large_file(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """Its post is small; a form that is invalid at first keeps the file; a second one replaces it."""
    path, wrong = file(24 * MIB), file(10)
    page.goto(address(page, "/documents/"))
    choose(page, "file", wrong)
    field = choose(page, "file", path)
    expect(field.locator("li")).to_have_count(1)
    choose(page, "attachments", wrong)
    page.locator("[name=title]").evaluate("input => input.required = false")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".errorlist")).to_have_text("This field is required.")
    expect(page.locator("upload-drop[name=file] li", has_text=path.name)).to_contain_text("uploaded")
    page.fill("[name=title]", path.name)
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/documents/")) as post:
        page.get_by_role("button", name="Save").click()
    expect(page.locator(".message")).to_contain_text("is saved")
    body = post.value.post_data_buffer
    assert body is not None
    assert len(body) < 3000
    assert path.name.encode() in body
    size = f"[d.file.size for d in Document.objects.filter(title={path.name!r})]"
    assert stack.ask(size) == [24 * MIB]
    assert stack.ask(f"Attachment.objects.filter(document__title={path.name!r}).count()") == 1
    eventually(lambda: stack.ask(f"HeldFile.objects.filter(session__file_name={path.name!r}).count()") == 0)


def test_a_form_that_is_sent_too_early_waits(page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    path = file(24 * MIB)
    page.goto(address(page, "/documents/"))
    page.fill("[name=title]", path.name)
    seen = threading.Event()
    line.at(5 * MIB, lambda: seen.wait(60))
    page.locator("upload-drop[name=file] #files").set_input_files(path)
    page.get_by_role("button", name="Save").click()
    summary = page.locator("upload-drop[name=file] #summary")
    expect(summary).to_contain_text("when all uploads are done")
    expect(page.locator("upload-drop[name=file] li[data-state=sending]")).to_be_visible()
    expect(summary).to_contain_text("when all uploads are done")
    seen.set()
    expect(page.locator(".message")).to_contain_text("is saved", timeout=SLOW)
    assert stack.ask(f"Document.objects.filter(title={path.name!r}).count()") == 1


def test_a_form_waits_for_what_is_paused(page: Page, line: Wire, file: Callable[[int], Path]) -> None:
    """It is not sent without the file that its user has chosen."""
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
    field.get_by_role("button", name="Resume").click()
    expect(page.locator(".message")).to_contain_text("is saved", timeout=SLOW)


def test_a_file_removed_from_a_form_is_gone(page: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    path = file(20)
    page.goto(address(page, "/documents/"))
    field = choose(page, "file", path)
    field.get_by_role("button", name="Remove").click()
    expect(field.locator("li")).to_have_count(0)
    expect(field.locator("input[type=hidden]")).to_have_count(0)
    eventually(lambda: stack.ask(f"HeldFile.objects.filter(session__file_name={path.name!r}).count()") == 0)


def test_without_a_script(browser: Browser, stack: Stack, line: Wire, file: Callable[[int], Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}")
    path = file(30)
    page.goto(address(page, "/documents/"))
    page.fill("[name=title]", path.name)
    page.set_input_files("input[name=file]", path)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".message")).to_contain_text("is saved")
    assert stack.ask(f"[d.file.size for d in Document.objects.filter(title={path.name!r})]") == [30]
    context.close()


@pytest.fixture
def boss(browser: Browser, stack: Stack, line: Wire) -> Iterator[Page]:
    """A page of the admin's."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}", "admin")
    yield page
    context.close()


def test_the_admins_form_and_both_kinds_of_inlines(boss: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    """Rows that are added by hand have fields that work, with names of their own."""
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
    # As Django has it, what a cleared FileField had is the portal's to delete; other tests look at all of the store.
    stack.ask(f"Document.file.field.storage.delete({name!r})")


def test_in_a_popup(boss: Page, stack: Stack, file: Callable[[int], Path]) -> None:
    path = file(14)
    boss.goto(address(boss, "/admin/portal/document/add/?_popup=1"))
    boss.fill("[name=title]", path.name)
    boss.select_option("[name=owner]", label="admin")
    choose(boss, "file", path)
    boss.get_by_role("button", name="Save", exact=True).click()
    eventually(lambda: stack.ask(f"[d.file.size for d in Document.objects.filter(title={path.name!r})]") == [14])


def test_inserted_later(page: Page, file: Callable[[int], Path]) -> None:
    """As htmx swaps in a form: it begins to work by itself, also where the CSRF cookie is hidden from scripts."""
    page.goto(address(page, "/documents/"))
    page.evaluate("""() => {
        const form = document.querySelector("form.fields");
        const html = form.outerHTML;
        form.remove();
        document.querySelector("h1").insertAdjacentHTML("afterend", html);
    }""")
    choose(page, "file", file(15))


# The operator's page


def test_the_operators_page_is_live(
    boss: Page, page: Page, stack: Stack, line: Wire, file: Callable[[int], Path]
) -> None:
    """Progress and state change without a reload, in the list and on the page of one upload; actions ask first."""
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
    expect(row(page, other, "completed")).to_be_visible(timeout=SLOW)  # anew, because it was ended


@pytest.mark.parametrize("path", ["/login/", "/documents/", "/nowhere"])
def test_no_page_has_findings(page: Page, path: str) -> None:
    if path == "/login/":
        page.context.clear_cookies()
    page.goto(address(page, path))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert findings(page) == []


def findings(page: Page, part: str = "") -> list[Any]:
    found = Axe().run(page, part or None).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
