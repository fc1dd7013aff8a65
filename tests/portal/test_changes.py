"""Manual changes to folders, names and versions, and their effect on stored objects."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client

from portal.models import File, Folder, PreviousVersion
from tests.helpers import Uploader
from uploads._internal.stores.base import Store

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
def browser(client: Client, user: User, file_store: Store, root: Folder) -> Client:
    client.force_login(user)
    return client


def upload(uploader: Uploader, content: bytes, name: str = "a.txt") -> File:
    uploader.send(uploader.create(len(content), name=name), content)
    return File.objects.get(title=name)


def test_folders_are_created_renamed_moved_and_deleted(
    browser: Client, root: Folder, uploader: Uploader, file_store: Store, django_capture_on_commit_callbacks: Any
) -> None:
    for title in ("one", "two", "one"):
        page = browser.post(f"/folders/{root.pk}/", {"title": title}, follow=True).content.decode()
    assert "already exists" in page
    one, two = Folder.objects.get(title="one"), Folder.objects.get(title="two")
    uploader.send(uploader.create(1, name="deep.txt", RelativePath="one/deeper"), b"x")
    browser.post(f"/folders/{one.pk}/change", {"title": "first", "parent": two.pk})
    one.refresh_from_db()
    assert (one.title, one.path) == ("first", [root.pk, two.pk, one.pk])
    deeper = Folder.objects.get(title="deeper")
    assert deeper.path == [root.pk, two.pk, one.pk, deeper.pk]
    # A folder cannot move into itself.
    browser.post(f"/folders/{two.pk}/change", {"title": "two", "parent": deeper.pk})
    two.refresh_from_db()
    assert two.parent == root
    name = str(File.objects.get().content.name)
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(f"/folders/{two.pk}/change", {"delete": "1"})
    assert list(Folder.objects.all()) == [root]
    assert not file_store.stat(name)
    assert browser.post(f"/folders/{root.pk}/change", {"delete": "1"}).status_code == 404


def test_file_is_renamed_restored_and_deleted(
    browser: Client, uploader: Uploader, file_store: Store, django_capture_on_commit_callbacks: Any
) -> None:
    upload(uploader, b"old")
    file = upload(uploader, b"newer")
    url = f"/files/{file.pk}/"
    assert "Previous versions" in browser.get(url).content.decode()
    assert b"".join(browser.get(f"{url}versions/1")) == b"old"
    browser.post(url, {"restore": "1"})
    file.refresh_from_db()
    assert (file.version, file.size) == (3, 3)
    assert b"".join(browser.get(file.get_absolute_url())) == b"old"
    assert PreviousVersion.objects.get().version == 2
    assert browser.post(url, {"restore": "1"}).status_code == 404
    browser.post(url, {"title": "b.txt"})
    file.refresh_from_db()
    assert file.title == "b.txt"
    names = [str(file.content.name), str(PreviousVersion.objects.get().content.name)]
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(url, {"delete": "1"})
    assert not any(file_store.stat(name) for name in names)


def test_foreign_files_and_folders_cannot_be_changed(browser: Client, other_user: User, uploader: Uploader) -> None:
    file = upload(uploader, b"mine")
    browser.force_login(other_user)
    for url in (f"/files/{file.pk}/", f"/folders/{file.folder_id}/", f"/folders/{file.folder_id}/change"):
        assert browser.post(url, {"title": "x", "delete": "1"}).status_code == 404
    assert File.objects.get().title == "a.txt"


def test_only_safe_images_are_shown(browser: Client, uploader: Uploader) -> None:
    assert "<img" in browser.get(f"/files/{upload(uploader, b'x', 'a.png').pk}/").content.decode()
    assert "<img" not in browser.get(f"/files/{upload(uploader, b'x', 'a.svg').pk}/").content.decode()


def test_unknown_page_answers_404(browser: Client) -> None:
    page = browser.get("/nowhere")
    assert (page.status_code, "Not found" in page.content.decode()) == (404, True)


def test_downloads_redirect_to_the_store(
    client: Client, user: User, root: Folder, uploader: Uploader, s3_store: Store, settings: Any
) -> None:
    """Redirect to an uncached link valid for one minute; the portal itself answers HEAD."""
    settings.PRESIGNED_DOWNLOADS = True
    file = upload(uploader, b"0123456789", "a page.html")
    client.force_login(user)
    answer = client.get(file.get_absolute_url())
    assert (answer.status_code, answer["Cache-Control"]) == (302, "no-store")
    got = requests.get(answer["Location"], headers={"Range": "bytes=2-4"}, timeout=10)
    assert (got.status_code, got.content) == (206, b"234")
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert client.head(file.get_absolute_url()).status_code == 200
    assert requests.get(answer["Location"].replace("Expires=60", "Expires=61"), timeout=10).status_code == 403
