from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page

from tests.browser import sign_in
from tests.data import sha256, some_bytes
from tests.faults.client import Client
from tests.faults.stack import Stack, running
from tests.proxy import Wire, wired


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("faults"), os.environ.get("DATABASE_URL")) as stack:
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """Yield the shared stack; remove all faults after the test."""
    yield whole_stack
    whole_stack.proxy.heal()


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client([stack.url()], stack.token)


@pytest.fixture
def upload(stack: Stack, client: Client) -> Callable[..., Any]:
    """Return a function that uploads bytes and verifies portal and store."""

    def upload(size: int, *sizes: int, client: Client = client, leaves: bool = False, **fields: Any) -> Any:
        data = some_bytes(size)
        file = client.upload(data, itertools.cycle(sizes or (size,)), **fields)
        stack.proxy.heal()
        check(stack, client, file, data, leaves=leaves)
        return file

    return upload


@pytest.fixture(scope="module")
def nothing_left(whole_stack: Stack) -> Iterator[None]:
    """Expire unfinished and failed sessions, and delete orphans of killed workers.

    Other tests compare the content of the whole store.
    """
    yield
    whole_stack.ask("[sessions.expire_now(session).state for session in UploadSession.objects.filter(MAY_EXPIRE)]")
    whole_stack.ask("sessions.audit(fix=True).freed")


@pytest.fixture(scope="module")
def line(whole_stack: Stack) -> Iterator[Wire]:
    """Yield the relay between the clients and the portal."""
    with wired(("127.0.0.1", whole_stack.ports["web"])) as wire:
        yield wire


@pytest.fixture(scope="module")
def page(browser: Browser, line: Wire) -> Iterator[Page]:
    """Yield a page of the portal, signed in as demo."""
    page = browser.new_page()
    sign_in(page, f"http://127.0.0.1:{line.port}")
    yield page
    page.close()


@pytest.fixture
def content(stack: Stack) -> Callable[[str], str]:
    """Return a function that downloads the only file of a title and hashes it."""

    def content(title: str) -> str:
        (pk,) = stack.ask(f"[f.pk for f in File.objects.filter(title={title!r})]")
        address = f"{stack.url()}/files/{pk}/download"
        answer = requests.get(address, headers={"Authorization": f"Token {stack.token}"}, timeout=60)
        assert answer.status_code == 200
        return sha256([answer.content])

    return content


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Path]:
    def make(size: int) -> Path:
        path = tmp_path / f"{abs(hash(request.node.name)):x}-{size}.bin"
        path.write_bytes(some_bytes(size))
        return path

    return make


def wait_in(page: Page, event: threading.Event) -> None:
    """Wait for an event of a relay while the page keeps running."""
    while not event.is_set():
        page.wait_for_timeout(10)


def check(stack: Stack, client: Client, file: Any, data: bytes, *, leaves: bool = False) -> None:
    """Verify that the portal has the file once and intact, and the store nothing else.

    With ``leaves``, the audit may find orphans, because the fault makes them unavoidable.
    """
    assert client.download(file) == sha256([data])
    stack.ask("sessions.expire_stale(batch_size=100)")
    found = stack.ask("vars(sessions.audit(fix=True))")
    assert found["lost"] == []
    assert leaves or found["orphans"] == 0
    files = stack.ask("[[f.pk, f.content.name] for f in File.objects.all()]")
    assert [pk for pk, _ in files].count(file["id"]) == 1
    open_uploads = stack.ask("[s.object_name for s in UploadSession.objects.unfinished() if s.upload_id]")
    fragments = stack.ask("[f.name for f in Fragment.objects.filter(session__in=UploadSession.objects.unfinished())]")
    others = stack.ask(
        "[v.content.name for v in PreviousVersion.objects.all()] + [d.file.name for d in Document.objects.all()]"
        " + [a.file.name for a in Attachment.objects.all()]"
        " + [f.session.object_name for f in PendingFile.objects.all()]"
    )
    objects, uploads = stack.stored()
    names = {name for _, name in files} | {*others, *fragments} - {""}
    # Compare differences only: the listing of a store that many tests share is long.
    assert (objects - names, names - objects) == (set(), set())
    assert uploads == set(open_uploads)
    assert len(files) == stack.ask(
        "UploadSession.objects.filter(state='completed', destination='default').values('file_id').distinct().count()"
    )
