from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from portal.models import File, Folder
from tests.helpers import Uploader
from uploads._internal.stores.base import Store

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
def browser(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def test_home_page_shows_the_root_folder(browser: Client, user: User) -> None:
    response = browser.get("/", follow=True)
    assert response.request["PATH_INFO"] == Folder.objects.get(owner=user).get_absolute_url()
    assert "My documents" in response.content.decode()


def test_visitors_are_redirected_to_login(client: Client, db: None) -> None:
    assert client.get("/", follow=True).request["PATH_INFO"] == "/login/"


def test_folder_page_lists_files_and_folders(browser: Client, uploader: Uploader, file_store: Store) -> None:
    uploader.send(uploader.create(2048, name="one.txt"), bytes(2048))
    uploader.send(uploader.create(1, name="two.txt", RelativePath="sub"), b"x")
    page = browser.get("/", follow=True).content.decode()
    assert "one.txt" in page
    assert "2.0\xa0KB" in page
    assert "sub" in page
    assert "two.txt" not in page


def test_foreign_folders_and_files_are_not_found(
    client: Client, other_user: User, uploader: Uploader, file_store: Store, root: Folder
) -> None:
    uploader.send(uploader.create(1), b"x")
    client.force_login(other_user)
    assert client.get(root.get_absolute_url()).status_code == 404
    assert client.get(File.objects.get().get_absolute_url()).status_code == 404


def test_expired_form_says_what_to_do(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    answer = client.post("/trash/", {"empty": "1"})
    assert (answer.status_code, "reload the page, and try again" in answer.content.decode()) == (403, True)
    assert "CSRF" not in answer.content.decode()


@pytest.mark.parametrize(
    ("title", "message"), [("", "Enter a title."), ("x" * 201, "Shorten the title to 200 characters.")]
)
def test_document_form_names_the_problem(browser: Client, file_store: Store, title: str, message: str) -> None:
    page = browser.post("/documents/", {"title": title}).content.decode()
    assert message in page
    assert "Choose a file." in page
    assert "This field" not in page


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-100", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_downloads_support_byte_ranges(
    store: Store,
    api: APIClient,
    uploader: Uploader,
    header: str | None,
    status: int,
    body: bytes,
    content_range: str | None,
) -> None:
    uploader.send(uploader.create(10), b"0123456789")
    headers: Any = {"Range": header} if header else {}
    response = api.get(File.objects.get().get_absolute_url(), headers=headers)
    assert response.status_code == status
    assert response.get("Content-Range") == content_range
    assert b"".join(response) == body


def test_etags_prevent_stale_or_mixed_versions(file_store: Store, api: APIClient, uploader: Uploader) -> None:
    uploader.send(uploader.create(10), b"0123456789")
    url = File.objects.get().get_absolute_url()
    first = api.get(url)
    assert first["Cache-Control"] == "private, no-cache"
    assert api.get(url, headers={"If-None-Match": first["ETag"]}).status_code == 304
    resumed: Any = {"Range": "bytes=2-4", "If-Range": first["ETag"]}
    assert api.get(url, headers=resumed).status_code == 206
    assert api.get(url, headers=resumed | {"If-Range": '"older"'}).status_code == 200
    assert api.get(url, headers={"If-None-Match": '"older"'}).status_code == 200
    assert api.head(url, headers={"Range": "bytes=2-4"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("page.html", 'attachment; filename="page.html"'),
        ("drawing.svg", 'attachment; filename="drawing.svg"'),
        ("photo.png", 'inline; filename="photo.png"'),
        ("übel.bin", "attachment; filename*=utf-8''%C3%BCbel.bin"),
    ],
)
def test_only_safe_types_are_shown_inline(
    file_store: Store, api: APIClient, uploader: Uploader, settings: Any, name: str, disposition: str
) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "SecurityMiddleware" not in name]
    response = api.get(uploader.send(uploader.create(1, name=name), b"x").json()["data"]["file"]["viewUrl"])
    assert response["Content-Disposition"] == disposition
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
def health(client: Client, transactional_db: None) -> Iterator[Callable[[], Any]]:
    """Return a function that requests /healthz.

    Only the garbage collector closes its threads' connections to an in-memory database.
    """
    yield lambda: client.get("/healthz")
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_health_answers_ok(health: Callable[[], Any], store: Store) -> None:
    response = health()
    assert (response.status_code, response.json()["store"]) == (200, "ok")


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_health_names_the_store_error(
    health: Callable[[], Any], s3_storage: dict[str, Any], use_storage: Callable[..., Store]
) -> None:
    s3_storage["OPTIONS"]["endpoint_url"] = "http://127.0.0.1:9"
    use_storage(s3_storage)
    response = health()
    assert response.status_code == 503
    assert json.loads(response.content)["store"] == "EndpointConnectionError"
